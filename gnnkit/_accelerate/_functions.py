"""The functions of PyG that accelerated layers call in ours: graphs are normalised once, `softmax` knows its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import (
    add_remaining_self_loops,
    add_self_loops,
    get_laplacian,
    remove_self_loops,
    scatter,
    softmax,
)

from gnnkit._accelerate._cache import Topology
from gnnkit._accelerate._gcn_norm import GCNNorm
from gnnkit._accelerate._marks import topology_of
from gnnkit._accelerate._products import reduced
from gnnkit._accelerate._remembered import Remembered
from gnnkit._accelerate._rows import FLOATS, Rows, materialised

_REDUCES = {"sum": "sum", "add": "sum", "mean": "mean", "max": "max", "min": "min"}


def fast_softmax(src: Any, index: Any = None, ptr: Any = None, num_nodes: Any = None, dim: int = 0) -> Any:
    """PyG's ``softmax``, by row where the graph of ``index`` is known."""
    src, topology = materialised(src), topology_of(index)
    served = topology is not None and ptr is None and num_nodes in (None, topology.adj.num_dst)
    if topology is None or not served or not _fits(src, topology, dim) or src.dim() > 3:
        return softmax(src, index, ptr, num_nodes, dim)
    if src.dim() < 3:
        return topology.adj.softmax(src)
    return topology.adj.softmax(src.flatten(1)).view(src.shape)


def fast_scatter(src: Any, index: Any, dim: int = 0, dim_size: Any = None, reduce: str = "sum") -> Any:
    """PyG's ``scatter``, by row where the graph of ``index`` is known."""
    topology = topology_of(index)
    served = topology is not None and reduce in _REDUCES and dim_size == topology.adj.num_dst
    if topology is None or not served or not _fits(src, topology, dim):
        return scatter(materialised(src), index, dim, dim_size, reduce)
    return reduced(src, topology, _REDUCES[reduce])


def _fits(src: Any, topology: Topology, dim: int) -> bool:
    """Whether these are numbers of the graph's edges, one after the other."""
    rows = type(src) is Tensor or (isinstance(src, Rows) and not src.batched)
    return rows and src.dtype in FLOATS and dim in (0, -src.dim()) and src.shape[:1] == (topology.adj.num_edges,)


_ON_EDGES: dict[Callable[..., Any], Callable[..., Any]] = {softmax: fast_softmax, scatter: fast_scatter}


def _ours(share: bool) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Map PyG's functions to ours; ``share`` as in `Remembered`."""
    of_a_graph = (get_laplacian, add_self_loops, add_remaining_self_loops, remove_self_loops)
    remembered = {function: Remembered(function, share) for function in of_a_graph}
    return {**_ON_EDGES, **remembered, gcn_norm: GCNNorm(share)}


shared, copied = _ours(share=True), _ours(share=False)
