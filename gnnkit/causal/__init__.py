"""Causal effects on networks: learners of heterogeneous effects, and simulated data whose effects are known.

Importing it is cheap: a module is loaded when one of its names is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.causal._average import AverageEffect
    from gnnkit.causal._curves import Calibration, UpliftCurve, calibration, uplift_curve
    from gnnkit.causal._data import CausalData
    from gnnkit.causal._linear_stages import ConstantStage, EstimatorStage, KnownStage, LinearStage
    from gnnkit.causal._meta_learners import GraphDRLearner, GraphSLearner, GraphTLearner, GraphXLearner
    from gnnkit.causal._overlap import Overlap
    from gnnkit.causal._paired import Comparison, compare
    from gnnkit.causal._paper import simulate_paper
    from gnnkit.causal._r_learner import GraphRLearner
    from gnnkit.causal._simulate import simulate
    from gnnkit.causal._stages import NetworkStage
    from gnnkit.causal._study import Study, run_seed

_HOME = {
    "AverageEffect": "_average",
    "Calibration": "_curves",
    "CausalData": "_data",
    "Comparison": "_paired",
    "ConstantStage": "_linear_stages",
    "EstimatorStage": "_linear_stages",
    "GraphDRLearner": "_meta_learners",
    "GraphRLearner": "_r_learner",
    "GraphSLearner": "_meta_learners",
    "GraphTLearner": "_meta_learners",
    "GraphXLearner": "_meta_learners",
    "KnownStage": "_linear_stages",
    "LinearStage": "_linear_stages",
    "NetworkStage": "_stages",
    "Overlap": "_overlap",
    "Study": "_study",
    "UpliftCurve": "_curves",
    "calibration": "_curves",
    "compare": "_paired",
    "run_seed": "_study",
    "simulate": "_simulate",
    "simulate_paper": "_paper",
    "uplift_curve": "_curves",
}
__all__ = [
    "AverageEffect",
    "Calibration",
    "CausalData",
    "Comparison",
    "ConstantStage",
    "EstimatorStage",
    "GraphDRLearner",
    "GraphRLearner",
    "GraphSLearner",
    "GraphTLearner",
    "GraphXLearner",
    "KnownStage",
    "LinearStage",
    "NetworkStage",
    "Overlap",
    "Study",
    "UpliftCurve",
    "calibration",
    "compare",
    "run_seed",
    "simulate",
    "simulate_paper",
    "uplift_curve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.causal' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnkit.causal.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
