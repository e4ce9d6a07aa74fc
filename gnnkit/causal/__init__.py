"""Causal effects on networks: simulated data whose effects are known.

Importing it is cheap: a module is loaded when one of its names is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.causal._data import CausalData
    from gnnkit.causal._paper import simulate_paper
    from gnnkit.causal._simulate import simulate

_HOME = {"CausalData": "_data", "simulate": "_simulate", "simulate_paper": "_paper"}
__all__ = ["CausalData", "simulate", "simulate_paper"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.causal' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnkit.causal.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
