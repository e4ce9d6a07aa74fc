"""Relational layers, the typed graphs that they are called on, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import FastRGCNConv, HGTConv, RGATConv, RGCNConv

N, R, WIDTH, OUT, EDGE = 8, 4, 6, 4, 3
SELF = "multiplicative-self-attention"
# name -> (layer, what its x is, whether edges have attributes)
CASES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "rgcn": (lambda: RGCNConv(WIDTH, OUT, R), "x", ""),
    "rgcn sum, sorted, no root": (
        lambda: RGCNConv(WIDTH, OUT, R, aggr="sum", root_weight=False, is_sorted=True),
        "x",
        "sorted",
    ),
    "rgcn max": (lambda: RGCNConv(WIDTH, OUT, R, aggr="max"), "x", ""),
    "rgcn min, bases, pair": (lambda: RGCNConv((WIDTH, 5), OUT, R, num_bases=2, aggr="min"), "pair", ""),
    "rgcn bases": (lambda: RGCNConv(WIDTH, OUT, R, num_bases=2, bias=False), "x", ""),
    "rgcn blocks, pair": (lambda: RGCNConv((WIDTH, 5), OUT, R, num_blocks=2), "pair", ""),
    "rgcn blocks, max": (lambda: RGCNConv(WIDTH, OUT, R, num_blocks=2, aggr="max"), "x", ""),
    "rgcn ids": (lambda: RGCNConv(N, OUT, R, num_bases=3), "none", ""),
    "rgcn some ids": (lambda: RGCNConv(2 * N, OUT, R, aggr="sum"), "ids", ""),
    "rgcn ids, pair": (lambda: RGCNConv((N, N), OUT, R), "none pair", ""),
    "fast rgcn": (lambda: FastRGCNConv(WIDTH, OUT, R), "x", ""),
    "fast rgcn sum, bases": (lambda: FastRGCNConv(WIDTH, OUT, R, num_bases=2, aggr="add", bias=False), "x", ""),
    "fast rgcn blocks, pair": (
        lambda: FastRGCNConv((WIDTH, 5), OUT, R, num_blocks=2, root_weight=False),
        "pair",
        "",
    ),
    "fast rgcn ids": (lambda: FastRGCNConv(N, OUT, R), "none", ""),
    "fast rgcn some ids": (lambda: FastRGCNConv(2 * N, OUT, R, num_bases=2), "ids", ""),
    "rgat": (lambda: RGATConv(WIDTH, OUT, R), "x", ""),
    "rgat bases, attributes, dropout": (
        lambda: RGATConv(WIDTH, OUT, R, num_bases=2, heads=2, edge_dim=EDGE, dropout=0.3),
        "x",
        "attr",
    ),
    "rgat blocks, mean of heads": (
        lambda: RGATConv(WIDTH, OUT, R, num_blocks=2, heads=3, concat=False, negative_slope=0.5),
        "x",
        "",
    ),
    "rgat within": (
        lambda: RGATConv(WIDTH, OUT, R, heads=2, attention_mechanism="within-relation", mod="additive"),
        "x",
        "",
    ),
    "rgat product": (
        lambda: RGATConv(WIDTH, OUT, R, heads=2, dim=3, attention_mode=SELF, mod="additive", edge_dim=EDGE),
        "x",
        "attr",
    ),
    "rgat product within, mean": (
        lambda: RGATConv(
            *(WIDTH, OUT, R),
            heads=2,
            dim=2,
            concat=False,
            bias=False,
            mod="scaled",
            attention_mode=SELF,
            attention_mechanism="within-relation",
        ),
        "x",
        "",
    ),
    "rgat scaled": (lambda: RGATConv(WIDTH, OUT, R, heads=2, mod="scaled", edge_dim=1), "x", "number"),
    "rgat f-additive": (lambda: RGATConv(WIDTH, OUT, R, heads=2, mod="f-additive", edge_dim=EDGE), "x", "attr"),
    "rgat f-scaled": (lambda: RGATConv(WIDTH, OUT, R, mod="f-scaled", attention_mode=SELF, dim=2), "x", ""),
}


def draw(seed: int, pair: bool = False) -> tuple[Tensor, Tensor, int, int]:
    """A small typed graph: empty, with isolated nodes, without some relations, with parallel edges, in turn."""
    rng = torch.Generator().manual_seed(seed)
    num_src, num_dst = N, N - 3 if pair else N
    num_edges = (0, 1, N, 3 * N, 8 * N)[seed % 5]
    src = torch.randint(num_src // (1 + seed % 3), (num_edges,), generator=rng)
    dst = torch.randint(num_dst // (1 + seed % 2), (num_edges,), generator=rng)
    relation = torch.randint(1 + seed % R, (num_edges,), generator=rng)
    if seed % 7 == 1:  # every edge twice, of the same relation
        src, dst, relation = (torch.cat([t, t]) for t in (src, dst, relation))
    if seed % 7 == 2:  # many more sources than destinations, or the other way, by relation
        src, dst = torch.where(relation % 2 == 0, src, src[:1]), torch.where(relation % 2 == 0, dst[:1], dst)
    return torch.stack([src, dst]), relation, num_src, num_dst


def arguments(takes: str, more: str, seed: int, dtype: torch.dtype) -> tuple[list[Any], list[Tensor]]:
    """What a layer's forward is called with, and the tensors whose gradients count."""
    edge_index, relation, num_src, num_dst = draw(seed, "pair" in takes)
    rng = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=dtype).requires_grad_()

    if more == "sorted":
        order = relation.argsort(stable=True)
        edge_index, relation = edge_index[:, order], relation[order]
    if takes == "none":
        return [None, edge_index, relation], []
    if takes == "none pair":
        return [(None, torch.randperm(N, generator=rng)[:num_dst]), edge_index, relation], []
    if takes == "ids":
        return [torch.randperm(2 * N, generator=rng)[:N], edge_index, relation], []
    leaves = [leaf(num_src, WIDTH)] + ([leaf(num_dst, 5)] if takes == "pair" else [])
    args = [tuple(leaves) if takes == "pair" else leaves[0], edge_index, relation]
    if more in ("attr", "number"):
        attr = leaf(len(relation), EDGE) if more == "attr" else leaf(len(relation))
        return [*args, attr], [*leaves, attr]
    return args, leaves


def outcome(layer: nn.Module, call: Callable[[nn.Module], Any], leaves: list[Tensor], seed: int) -> list[Tensor]:
    """The outputs, all gradients, and what the random generator gives next."""
    torch.manual_seed(seed)
    out = call(layer)
    outs = list(out.values()) if isinstance(out, dict) else [out]
    wrt = [*leaves, *layer.parameters()]
    loss = sum((one * torch.linspace(-1, 1, one.numel(), dtype=one.dtype).view_as(one)).sum() for one in outs)
    grads: list[Tensor | None] = [None] * len(wrt)
    if loss.requires_grad:
        grads = list(torch.autograd.grad(loss, wrt, allow_unused=True))
    filled = [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wrt, strict=True)]
    return [*(one.detach() for one in outs), *filled, torch.rand(2)]


def randomised(layer: nn.Module, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """Parameters that are nowhere 0 or 1, nor left as memory had them (PyG's RGATConv leaves some)."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng).to(dtype) * 0.4
    return layer


def served(typed_calls: dict[str, int]) -> bool:
    """Whether the kernels served the calls since the last time, all relations at once."""
    ran = typed_calls["spmm"] > 0 and typed_calls["propagate"] == 0
    typed_calls.update(spmm=0, propagate=0)
    return ran


NODES = {"a": 5, "b": 7, "c": 3}
RELATIONS = [("a", "to", "b"), ("b", "back", "a"), ("b", "like", "b"), ("c", "to", "b"), ("b", "to", "c")]
HGT: dict[str, Callable[[], HGTConv]] = {
    "hgt": lambda: HGTConv(OUT, OUT, (list(NODES), RELATIONS)),
    "hgt heads": lambda: HGTConv({"a": 6, "b": 8, "c": 3}, 8, (list(NODES), RELATIONS), heads=2),
    "hgt lazy": lambda: HGTConv(-1, 6, (list(NODES), RELATIONS), heads=3),
}


def typed_graph(seed: int, dtype: torch.dtype, widths: dict[str, int]) -> tuple[dict[str, Tensor], dict[Any, Tensor]]:
    """Rows of all types, edges of some relations, some of them without edges."""
    rng = torch.Generator().manual_seed(seed)
    x = {key: torch.randn(NODES[key], widths[key], generator=rng, dtype=dtype).requires_grad_() for key in NODES}
    present = [key for number, key in enumerate(RELATIONS) if seed % 3 or number % 2]
    edges = {}
    for number, key in enumerate(present):
        count = (0, 1, 6, 30)[(seed + number) % 4] if seed % 10 else 0
        ends = (torch.randint(NODES[key[end]], (count,), generator=rng) for end in (0, 2))
        edges[key] = torch.stack(list(ends))
    return x, edges


def layers() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """One layer of each kind and what it is called with."""
    edge_index, relation, _, _ = draw(3)
    torch.manual_seed(0)
    args = torch.randn(N, WIDTH), edge_index, relation
    made: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
        "rgcn": (RGCNConv(WIDTH, OUT, R), args),
        "fast rgcn": (FastRGCNConv(WIDTH, OUT, R, num_bases=2), args),
        "rgat": (RGATConv(WIDTH, OUT, R, heads=2), args),
    }
    return made | {"hgt": (HGT["hgt"](), typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT)))}
