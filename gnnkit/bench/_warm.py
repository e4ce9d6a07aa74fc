"""Compiling the CPU loops before they are needed: what a first call costs, and whether Numba's cache has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit import Adjacency, kernels
from gnnkit.kernels import _loops, _loops_edges, _loops_gat, _loops_gatv2, _loops_spmm

_MODULES = _loops, _loops_spmm, _loops_edges, _loops_gat, _loops_gatv2
Call = Callable[[], Any]


@dataclass(frozen=True)
class Warmed:
    """What the first call of an entry took.

    Attributes:
        name: The entry.
        seconds: The time of its call.
        compiled: How many loops it compiled.
        loaded: How many it read from Numba's cache; those that an earlier call brought are in neither number.
    """

    name: str
    seconds: float
    compiled: int
    loaded: int


def common_set() -> dict[str, Call]:
    """The kernels that accelerated GCN, GraphSAGE, GIN, GAT and GATv2 layers call, on a graph of three nodes.

    float32 rows, int32 sources as `Adjacency` keeps them, forward and backward, without attention dropout.
    """
    edge_index = torch.tensor([[1, 2, 0, 1], [0, 0, 2, 2]])
    adj = Adjacency.from_edge_index(edge_index.int(), 3)
    csr: dict[str, Any] = {"indptr": adj.indptr, "indices": adj.indices}
    x, weight, heads, scores = (torch.ones(s, requires_grad=True) for s in ((3, 8), (4,), (3, 2, 4), (3, 2)))
    logits, att = torch.ones(4, 2, requires_grad=True), torch.ones(2, 4, requires_grad=True)
    calls: dict[str, Call] = {
        "group_by": lambda: (kernels.group_by(edge_index[1], 3), kernels.transpose_csr(num_src=3, **csr)),
        "content_hash": lambda: (kernels.content_hash(edge_index), kernels.content_hash(weight)),
        "gather_rows": lambda: (kernels.gather_rows(x, adj.indices), kernels.gather_rows(x, edge_index[0])),
    }
    for reduce in ("sum", "mean", "max"):
        spmm = partial(kernels.spmm, adj.indptr, adj.indices, reduce=reduce)
        calls[f"spmm {reduce}"] = _both_ways(spmm, x)
        calls[f"spmm {reduce}, weighted"] = _both_ways(spmm, x, weight)
    scale = torch.ones(3)
    return calls | {
        "spmm_scaled": _both_ways(lambda rows: kernels.spmm_scaled(x=rows, src_scale=scale, dst_scale=scale, **csr), x),
        "sddmm": _both_ways(lambda a: kernels.sddmm(a=a, b=a, **csr), heads),
        "segment_softmax": _both_ways(lambda rows: kernels.segment_softmax(rows, adj.indptr), logits),
        "gat_attention": _both_ways(lambda r, s: kernels.gat_attention(x=r, a_src=s, a_dst=s, **csr), heads, scores),
        "gatv2_attention": _both_ways(
            lambda r, a: kernels.gatv2_attention(x_src=r, x_dst=r, att=a, **csr),
            heads,
            att,
        ),
    }


def _both_ways(function: Callable[..., Tensor], *inputs: Tensor) -> Call:
    """A call that also asks for the gradients of all inputs."""

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(*inputs).sum(), inputs)

    return call


def warm() -> Iterator[Warmed]:
    """Call every entry of the common set once, and say what it took; an entry counts what earlier ones left.

    Raises:
        ValueError: Another backend than Numba serves CPU tensors.
    """
    backend = kernels.backend_name(torch.empty(0))
    if backend != "numba":
        raise ValueError(f"GNNKIT_BACKEND: expected numba, or nothing, to compile its loops (got {backend})")
    compiled, loaded = counts()
    begin = time.perf_counter()
    for name, call in common_set().items():
        call()
        now, (compiled_now, loaded_now) = time.perf_counter(), counts()
        yield Warmed(name, now - begin, compiled_now - compiled, loaded_now - loaded)
        compiled, loaded, begin = compiled_now, loaded_now, time.perf_counter()


def total(done: Sequence[Warmed]) -> Warmed:
    """All entries together."""
    sums = (sum(getattr(each, key) for each in done) for key in ("seconds", "compiled", "loaded"))
    return Warmed("total", *sums)


def loops() -> dict[str, Any]:
    """The compiled loops by name: what Numba keeps on disk, not the pieces that are compiled into them."""
    return {
        f"{module.__name__}.{name}": value
        for module in _MODULES
        for name, value in vars(module).items()
        if "forceinline" not in getattr(value, "targetoptions", {"forceinline": True})
        and value.__module__ == module.__name__
    }


def cache_folder() -> Path | None:
    """Where Numba keeps the compiled loops; None where it found no folder to write to."""
    folder = next(iter(loops().values())).stats.cache_path
    return None if folder is None else Path(folder)


def counts() -> tuple[int, int]:
    """How many loops this process has compiled, and how many it has read from the cache."""
    stats = [loop.stats for loop in loops().values()]
    return sum(sum(s.cache_misses.values()) for s in stats), sum(sum(s.cache_hits.values()) for s in stats)
