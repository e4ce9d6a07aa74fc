"""Training: frozen configs, one loop, metrics, atomic checkpoints with exact resume."""

from gnnkit.train._checkpoint import load_checkpoint, save_checkpoint
from gnnkit.train._config import TrainConfig, override
from gnnkit.train._graph import GraphPrediction
from gnnkit.train._layerwise import Step, layerwise
from gnnkit.train._link import LinkPrediction
from gnnkit.train._loop import FitResult, Task, evaluate, fit, seed_everything
from gnnkit.train._metrics import METRICS, Metric
from gnnkit.train._node import NodeClassification
from gnnkit.train._reweighted import ReweightedLinkPredictor
from gnnkit.train._sampled import SampledNodeClassification

__all__ = [
    "TrainConfig",
    "override",
    "fit",
    "evaluate",
    "FitResult",
    "Task",
    "NodeClassification",
    "SampledNodeClassification",
    "Step",
    "layerwise",
    "GraphPrediction",
    "LinkPrediction",
    "ReweightedLinkPredictor",
    "METRICS",
    "Metric",
    "save_checkpoint",
    "load_checkpoint",
    "seed_everything",
]
