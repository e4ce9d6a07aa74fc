"""The benchmark: protocol, recipes, results store, tables, plots and report."""

import importlib
from typing import TYPE_CHECKING, Any

from gnnkit.bench._inputs import FeaturesConfig, LoaderConfig
from gnnkit.bench._link_models import LinkConfig
from gnnkit.bench._models import LINK_MODELS, MODELS, ModelConfig
from gnnkit.bench._pipeline import run_pipeline
from gnnkit.bench._recipes import BenchConfig, recipe
from gnnkit.bench._run import Progress, run_benchmark
from gnnkit.bench._store import RunRecord, find_runs, read_run
from gnnkit.bench._summary import Summary, summarise

if TYPE_CHECKING:
    from gnnkit.bench._concentration_plots import write_concentration
    from gnnkit.bench._gantt import write_gantt
    from gnnkit.bench._report import write_report

__all__ = [
    "run_benchmark",
    "run_pipeline",
    "Progress",
    "recipe",
    "BenchConfig",
    "ModelConfig",
    "LoaderConfig",
    "FeaturesConfig",
    "LinkConfig",
    "MODELS",
    "LINK_MODELS",
    "RunRecord",
    "read_run",
    "find_runs",
    "Summary",
    "summarise",
    "write_report",
    "write_gantt",
    "write_concentration",
]


def __getattr__(name: str) -> Any:
    # matplotlib loads only for those who draw
    homes = {"write_report": "_report", "write_gantt": "_gantt", "write_concentration": "_concentration_plots"}
    if name in homes:
        return getattr(importlib.import_module(f"gnnkit.bench.{homes[name]}"), name)
    raise AttributeError(f"module 'gnnkit.bench' has no attribute {name!r}")
