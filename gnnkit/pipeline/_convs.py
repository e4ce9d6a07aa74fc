"""Which of PyG's layers a pipeline takes apart, and with which options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from gnnkit.pipeline._hop_attention import GATHop
from gnnkit.pipeline._hops import GCN2Hop, GCNHop, Hop, SAGEHop
from gnnkit.pipeline._network import Edges

_KINDS: dict[str, type[Hop]] = {"GCNConv": GCNHop, "SAGEConv": SAGEHop, "GCN2Conv": GCN2Hop, "GATConv": GATHop}


def hop_of(conv: Any, enter: nn.Module | None, leave: nn.Module | None, residual: bool) -> Hop:
    """Make the hop of a PyG layer; see `gnnkit.pipeline.adapters.adapt`."""
    from torch_geometric import nn as pyg

    if type(conv) is pyg.DeepGCNLayer:
        return _of_block(conv, enter, leave, residual)
    name = type(conv).__name__
    if name not in _KINDS or type(conv) is not getattr(pyg, name):
        names = ", ".join(_KINDS)
        base = next((each.__name__ for each in type(conv).__mro__[1:] if each.__name__ in _KINDS), None)
        got = f"a subclass of {base}: {name}" if base else name
        raise ValueError(f"conv: expected PyG's own {names} or DeepGCNLayer (got {got})")
    lazy = [key for key, each in conv.named_parameters() if isinstance(each, nn.UninitializedParameter)]
    if lazy:
        raise ValueError(f"{name}: expected parameters of known shapes (got {lazy[0]} without one)")
    for part in conv.modules():
        _refuse_hooks(name, part)
    _require(name, conv, "flow", "source_to_target")
    for key in ("lin", "lin_l", "lin_r", "lin_edge", "res"):
        part = getattr(conv, key, None)
        if part is not None and type(part) is not pyg.Linear:
            raise ValueError(f"{name}: expected {key} to be PyG's Linear (got {type(part).__name__})")
    return _KINDS[name](conv, _EDGES[name](conv, enter), enter, leave, residual)


def _of_block(block: Any, enter: nn.Module | None, leave: nn.Module | None, residual: bool) -> Hop:
    if enter is not None or leave is not None or residual:
        raise ValueError("DeepGCNLayer: expected it without enter, leave and residual, which it has (got more)")
    _refuse_hooks("DeepGCNLayer", block)
    drop = nn.Dropout(block.dropout) if block.dropout else None
    rows = [part for part in (block.norm, block.act, drop) if part is not None]
    around = nn.Sequential(*rows) if rows else None
    if block.block == "res+":
        return hop_of(block.conv, around, None, True)
    if block.block == "plain":
        return hop_of(block.conv, None, around, False)
    raise ValueError(f"DeepGCNLayer: expected block res+ or plain (got {block.block!r})")


def _of_gcn(conv: Any, enter: nn.Module | None) -> Edges:
    _require("GCNConv", conv, "aggr", "add", "sum")
    if not conv.normalize:
        return "plain"
    _require("GCNConv", conv, "add_self_loops", True)
    _require("GCNConv", conv, "improved", False)
    return "gcn"


def _of_gcn2(conv: Any, enter: nn.Module | None) -> Edges:
    _require("GCN2Conv", conv, "aggr", "add", "sum")
    if not conv.normalize:
        return "plain"
    _require("GCN2Conv", conv, "add_self_loops", True)
    return "gcn"


def _of_sage(conv: Any, enter: nn.Module | None) -> Edges:
    _require("SAGEConv", conv, "aggr", "mean", "add", "sum", "max", "min")
    if enter is not None and conv.root_weight:
        _require("SAGEConv behind enter", conv, "project", False)  # neighbours do not see the row of the root
    return "mean" if conv.aggr == "mean" else "plain"


def _of_gat(conv: Any, enter: nn.Module | None) -> Edges:
    _require("GATConv", conv, "aggr", "add", "sum")
    if conv.lin is None:
        raise ValueError(f"GATConv: expected one in_channels for both ends (got {conv.in_channels!r})")
    if enter is not None:
        _require("GATConv behind enter", conv, "residual", False)
    if not conv.add_self_loops:
        return "plain"
    _require("GATConv with self-loops", conv, "edge_dim", None)
    return "loops"


_EDGES: dict[str, Callable[[Any, nn.Module | None], Edges]] = {
    "GCNConv": _of_gcn,
    "SAGEConv": _of_sage,
    "GCN2Conv": _of_gcn2,
    "GATConv": _of_gat,
}


def _require(name: str, conv: Any, option: str, *wanted: Any) -> None:
    value = getattr(conv, option)
    if not any(value is each or (isinstance(each, str) and value == each) for each in wanted):
        raise ValueError(f"{name}: expected {option}={' or '.join(map(repr, wanted))} (got {value!r})")


def _refuse_hooks(name: str, part: nn.Module) -> None:
    found = [key for key, value in vars(part).items() if key.endswith("_hooks") and "forward" in key and value]
    if found or part._backward_hooks or part._backward_pre_hooks:
        raise ValueError(f"{name}: expected no hooks, which a hop would not run (got one on {type(part).__name__})")
