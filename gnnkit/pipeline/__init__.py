"""GNNPipe: full-graph training of deep networks, pipelined by layers over processes of torch.distributed.

Importing it is cheap: a module is loaded when one of its names is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.pipeline import adapters
    from gnnkit.pipeline._check import HopShape, inspect
    from gnnkit.pipeline._checkpoint import Checkpoints
    from gnnkit.pipeline._chunks import ChunkedGraph
    from gnnkit.pipeline._costs import Costs, HopSeconds, PassSeconds
    from gnnkit.pipeline._hardware import HARDWARE, Hardware
    from gnnkit.pipeline._history import HistoricalEmbeddings
    from gnnkit.pipeline._measure import LayerCosts, measure_costs
    from gnnkit.pipeline._memory import Memory, memory_of
    from gnnkit.pipeline._network import Neighbourhood, Network, OneHop
    from gnnkit.pipeline._part import Part
    from gnnkit.pipeline._part_files import read_part, write_parts
    from gnnkit.pipeline._partition import partition
    from gnnkit.pipeline._plan import Plan, plan
    from gnnkit.pipeline._predict import Job, Split, predict
    from gnnkit.pipeline._saved import NetworkSaved, Saved, measure_saved
    from gnnkit.pipeline._schedule import Schedule, Task, schedule
    from gnnkit.pipeline._search import Search, replication_model, search
    from gnnkit.pipeline._simulate import Simulation, crossover_link_speed, simulate
    from gnnkit.pipeline._timeline import Event, Timeline
    from gnnkit.pipeline._trainer import PipelineTrainer
    from gnnkit.pipeline._transport import PeerError, Transport
    from gnnkit.pipeline._volume import Volume, communication_volume, volume_formula, volume_ratio
    from gnnkit.pipeline._workload import Workload, replicas

_HOME = {
    **dict.fromkeys(("Network", "OneHop", "Neighbourhood"), "_network"),
    "adapters": "adapters",  # a module
    **dict.fromkeys(("HopShape", "inspect"), "_check"),
    **dict.fromkeys(("plan", "Plan"), "_plan"),
    "partition": "_partition",
    **dict.fromkeys(("measure_costs", "LayerCosts"), "_measure"),
    **dict.fromkeys(("schedule", "Schedule", "Task"), "_schedule"),
    "PipelineTrainer": "_trainer",
    "ChunkedGraph": "_chunks",
    "Part": "_part",
    **dict.fromkeys(("read_part", "write_parts"), "_part_files"),
    "HistoricalEmbeddings": "_history",
    **dict.fromkeys(("Transport", "PeerError"), "_transport"),
    "Checkpoints": "_checkpoint",
    **dict.fromkeys(("Timeline", "Event"), "_timeline"),
    **dict.fromkeys(("communication_volume", "Volume", "volume_formula", "volume_ratio"), "_volume"),
    **dict.fromkeys(("Workload", "replicas"), "_workload"),
    **dict.fromkeys(("memory_of", "Memory"), "_memory"),
    **dict.fromkeys(("measure_saved", "NetworkSaved", "Saved"), "_saved"),
    **dict.fromkeys(("simulate", "Simulation", "crossover_link_speed"), "_simulate"),
    **dict.fromkeys(("Costs", "PassSeconds", "HopSeconds"), "_costs"),
    **dict.fromkeys(("Hardware", "HARDWARE"), "_hardware"),
    **dict.fromkeys(("search", "Search", "replication_model"), "_search"),
    **dict.fromkeys(("Job", "Split", "predict"), "_predict"),
}
__all__ = [
    "Network",
    "OneHop",
    "Neighbourhood",
    "adapters",
    "HopShape",
    "inspect",
    "plan",
    "Plan",
    "partition",
    "measure_costs",
    "LayerCosts",
    "schedule",
    "Schedule",
    "Task",
    "PipelineTrainer",
    "ChunkedGraph",
    "Part",
    "read_part",
    "write_parts",
    "HistoricalEmbeddings",
    "Transport",
    "PeerError",
    "Checkpoints",
    "Timeline",
    "Event",
    "communication_volume",
    "Volume",
    "volume_formula",
    "volume_ratio",
    "Workload",
    "replicas",
    "memory_of",
    "Memory",
    "measure_saved",
    "NetworkSaved",
    "Saved",
    "simulate",
    "Simulation",
    "crossover_link_speed",
    "Costs",
    "PassSeconds",
    "HopSeconds",
    "Hardware",
    "HARDWARE",
    "search",
    "Search",
    "replication_model",
    "Job",
    "Split",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.pipeline' has no attribute {name!r}")
    home = importlib.import_module(f"gnnkit.pipeline.{_HOME[name]}")
    value = home if name == "adapters" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
