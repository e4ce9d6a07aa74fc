"""Modules that no pipeline can cut into chunks, known by their class: torch's, and PyG's without importing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

_NORMALISED = "reads statistics of all nodes, which differ from chunk to chunk; LayerNorm reads one row"
_ATTENTION = "attends to all nodes, not to neighbours"
_POOLING = "gives rows of other nodes than it takes"
_NEIGHBOURS = "makes its own edges between rows"

_TORCH: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.modules.batchnorm._NormBase, _NORMALISED),
    *((each, _ATTENTION) for each in (nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoder)),
    *((each, _ATTENTION) for each in (nn.TransformerEncoderLayer, nn.TransformerDecoder, nn.TransformerDecoderLayer)),
)
_PYG: dict[str, str] = {
    **dict.fromkeys(("BatchNorm", "HeteroBatchNorm", "InstanceNorm", "GraphNorm", "PairNorm"), _NORMALISED),
    **dict.fromkeys(("GraphSizeNorm", "MeanSubtractionNorm", "DiffGroupNorm"), _NORMALISED),
    **dict.fromkeys(("GPSConv", "PerformerAttention", "PolynormerAttention", "SGFormerAttention"), _ATTENTION),
    **dict.fromkeys(("QFormer", "SGFormer", "Polynormer", "LPFormer", "GPSE"), _ATTENTION),
    **dict.fromkeys(("TopKPooling", "SAGPooling", "ASAPooling", "PANPooling", "MemPooling"), _POOLING),
    **dict.fromkeys(("EdgePooling", "ClusterPooling", "GraphUNet"), _POOLING),
    **dict.fromkeys(("DynamicEdgeConv", "GravNetConv", "XConv"), _NEIGHBOURS),
}
# PyG's layers that go several hops in one call, and how to count them
_HOPS: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys(("TAGConv", "SGConv", "SSGConv", "APPNP"), lambda layer: layer.K),
    "ChebConv": lambda layer: len(layer.lins) - 1,
    "MixHopConv": lambda layer: max(layer.powers),
    "PANConv": lambda layer: layer.filter_size,
    "AntiSymmetricConv": lambda layer: layer.num_iters,
    **dict.fromkeys(("ARMAConv", "GatedGraphConv", "BasicGNN", "LabelPropagation"), lambda layer: layer.num_layers),
}


def refuse(part: nn.Module, where: str) -> None:
    """Require that a part of a network, and whatever it holds, is of no class that chunks cannot serve.

    Raises:
        ValueError: One is; the message begins with ``where`` and names the module and its place.
    """
    for path, module in part.named_modules():
        name = type(module).__name__ + (f" at .{path}" if path else "")
        if (hops := _hops(module)) > 1:
            raise ValueError(f"{where}: expected one hop (got {name}, which goes {hops}: make each a layer)")
        if (reason := _reason(module)) is not None:
            raise ValueError(
                f"{where}: expected each node to read itself and its in-neighbours (got {name}, which {reason})"
            )


def _reason(module: nn.Module) -> str | None:
    known = (reason for each, reason in _TORCH if isinstance(module, each))
    return next(known, None) or next((_PYG[name] for name in _pyg_names(module) if name in _PYG), None)


def _hops(module: nn.Module) -> int:
    return max((_HOPS[name](module) for name in _pyg_names(module) if name in _HOPS), default=1)


def _pyg_names(module: nn.Module) -> list[str]:
    return [base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch_geometric.")]
