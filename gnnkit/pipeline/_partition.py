"""Cuts a graph's nodes into parts of even work with few edges between them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnkit._optional import require
from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._partition_builtin import SLACK, cut

Method = Literal["auto", "metis", "builtin"]
Ints = NDArray[np.int64]


def partition(
    adj: Adjacency,
    parts: int,
    method: Method = "auto",
    seed: int = 0,
    *,
    work: Tensor | None = None,
    least: int = 1,
) -> Tensor:
    """Cut nodes into parts of even work with few edges between them.

    A node's work is its in-degree plus the mean in-degree: what a layer does for a node (dense) and for an edge into it
    (aggregation) count alike over the whole graph. Of 16 parts with equally many nodes, one of Amazon
    computers has 2.5 times the mean number of edges, and all others would wait for it.

    No part works more than 1.03 times the mean, or else than the mean and its lightest node, unless ``least`` makes it.
    The same arguments give the same parts. The cut needs the graph in memory, about 200 bytes an edge.

    Args:
        adj: A graph that is not bipartite. For the cut, edges count in both directions, loops and repeats not.
        parts: How many.
        method: ``"metis"`` (METIS by pymetis, the extra ``metis``), ``"builtin"`` (one of our own in NumPy, which cuts
            somewhat more edges), or ``"auto"``: metis where pymetis is installed.
        seed: A whole number from 0.
        work: ``[N]`` int64 above 0, in place of that above.
        least: The fewest nodes that a part may have.

    Returns:
        ``[N]`` int64, the part of every node.

    Raises:
        ValueError: An argument is out of range, ``parts * least`` exceeds the nodes, or the graph is bipartite.
        ImportError: ``"metis"`` without pymetis; the message holds the install command.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.pipeline import partition
        >>> ring = torch.stack([torch.arange(1000), torch.arange(1000).roll(-1)])
        >>> part = partition(gnnkit.Adjacency.from_edge_index(ring), 4, "builtin")
        >>> bool((part.bincount() <= 1.03 * 250).all()), int((part[ring[0]] != part[ring[1]]).sum()) < 50
        (True, True)
    """
    num_nodes = adj.num_nodes
    if method not in ("auto", "metis", "builtin"):
        raise ValueError(f"method: expected auto, metis or builtin (got {method!r})")
    for name, number, lowest in (("parts", parts, 1), ("least", least, 1), ("seed", seed, 0)):
        whole(name, number, lowest)
    if parts * least > num_nodes:
        got = f"parts={parts}, least={least}"
        raise ValueError(f"parts: expected that many times least nodes among {num_nodes} (got {got})")
    amount = node_work(adj) if work is None else work
    if amount.dtype != torch.int64 or list(amount.shape) != [num_nodes] or int(amount.min()) < 1:
        got = f"{list(amount.shape)} {amount.dtype}"
        raise ValueError(f"work: expected numbers above 0, [{num_nodes}] torch.int64 (got {got})")
    if parts == 1:
        return torch.zeros(num_nodes, dtype=torch.int64)
    if method == "auto":
        method = "builtin" if find_spec("pymetis") is None else "metis"
    load = amount.cpu().numpy()
    part = (_metis if method == "metis" else cut)(_undirected(adj), load, parts, seed)
    return torch.from_numpy(_even(part, load, parts, least))


def whole(name: str, number: int, lowest: int) -> None:
    """Refuse what is no whole number from ``lowest``."""
    if not isinstance(number, int) or number < lowest:
        raise ValueError(f"{name}: expected a whole number from {lowest} (got {number!r})")


def node_work(adj: Adjacency) -> Tensor:
    """Give the work of each node, ``[N]`` int64: its in-degree plus the mean, rounded, at least 1."""
    mean = max(1, round(adj.num_edges / max(adj.num_nodes, 1)))
    return adj.in_degree() + mean


def _undirected(adj: Adjacency) -> Any:
    """Give the simple graph of the edges in both directions, a SciPy CSR of ones."""
    from scipy.sparse import coo_array

    src, dst = adj.to_edge_index().cpu().numpy()
    src, dst = src[src != dst], dst[src != dst]
    ends = np.concatenate([src, dst]), np.concatenate([dst, src])
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(adj.num_nodes, adj.num_nodes)).tocsr()
    graph.data[:] = 1  # repeats were summed
    return graph


def _metis(graph: Any, work: Ints, parts: int, seed: int) -> Ints:
    pymetis = require("pymetis", "metis")
    dtype = pymetis.zero_copy_dtype()
    csr = pymetis.CSRAdjacency(graph.indptr.astype(dtype), graph.indices.astype(dtype))
    options = pymetis.Options(seed=seed % 2**31)
    found = pymetis.part_graph(parts, csr, vweights=work.astype(dtype), options=options)
    return np.asarray(found.vertex_part, np.int64)


def _even(part: Ints, work: Ints, parts: int, least: int) -> Ints:
    """Move few nodes, light ones first, until every part has its ``least`` and none works too much.

    A partitioner leaves little to do here: an empty part of a tiny graph, a part above the slack of a skewed one.
    """
    part = part.copy()
    load, size = np.bincount(part, work, parts), np.bincount(part, minlength=parts)

    def move(node: int, to: int) -> None:
        load[[part[node], to]] += work[node] * np.array([-1, 1])
        size[[part[node], to]] += [-1, 1]
        part[node] = to

    for poor in range(parts):
        while size[poor] < least:
            rich = int(np.where(size > least, load, -1.0).argmax())
            ids = np.flatnonzero(part == rich)
            move(int(ids[work[ids].argmin()]), poor)
    limit, moved = (1 + SLACK) * load.sum() / parts, True
    while moved:
        moved = False
        for heavy in np.flatnonzero(load > limit):
            ids = np.flatnonzero(part == heavy)
            for node in ids[np.argsort(work[ids], kind="stable")]:
                light = int(load.argmin())
                if load[heavy] <= limit or size[heavy] <= least or load[light] + work[node] >= load[heavy]:
                    break
                move(int(node), light)
                moved = True
    return part
