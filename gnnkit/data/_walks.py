"""random_walk: walks along edges, from many nodes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.data._hops import hop_key
from gnnkit.data._keys import random_key
from gnnkit.data._weights import running_sums
from gnnkit.kernels import _check, sample_neighbors
from gnnkit.kernels._csr import row_of_entry


def random_walk(
    adj: Adjacency, start: Tensor, length: int, *, weight: Tensor | None = None, seed: int | None = None
) -> Tensor:
    r"""Walk ``length`` steps from each start along edges, from source to destination, each step to a random one.

    .. math:: P(w_{l+1} = j \mid w_l = i) = a_{ij} / \sum_k a_{ik}

    the walks of DeepWalk (Perozzi et al., 2014). A node that no edge leaves is stayed at. Walks are independent of each
    other, and a function of the arguments and the seed.

    Cost: O(length) draws a walk, each in constant time, or with weights O(log degree), and with weights O(E) a call
    beside; the transpose of ``adj`` is made at the first call, in O(E), and kept.

    Args:
        adj: A graph of one set of nodes.
        start: ``[W]`` int32 or int64, where each walk begins.
        length: How many steps.
        weight: ``[E]`` in the original order of the edges: steps are drawn in proportion to it. Weights are positive.
        seed: What the walks depend on; None for one from PyTorch's default generator.

    Returns:
        ``[W, length + 1]`` int64, the starts first.

    Raises:
        ValueError: A start is not in the graph, a weight is not positive and finite, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit import Adjacency
        >>> from gnnkit.data import random_walk
        >>> adj = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4)  # 0 → 1 → 2 → 3
        >>> random_walk(adj, torch.tensor([0, 2]), 4).tolist()
        [[0, 1, 2, 3, 3], [2, 3, 3, 3, 3]]
    """
    num_nodes = adj.num_nodes
    _check.index_vector("start", start)
    _check.ids("start", start, num_nodes)
    _check.count("length", length)
    key = random_key(seed)
    indptr, destinations, _ = adj.transpose
    cumulative = None if weight is None else _running_sums(adj, weight)
    walks = torch.empty(len(start), length + 1, dtype=torch.int64, device=adj.device)
    here = walks[:, 0] = start.to(adj.device, torch.int64)
    for step in range(length):
        pointers, _, neighbors = sample_neighbors(
            destinations, indptr[here], indptr[here + 1], 1, hop_key(key, step), replace=True, cumulative=cumulative
        )
        moves = pointers.diff() > 0
        here = here.clone()
        here[moves] = neighbors.long()
        walks[:, step + 1] = here
    return walks


def _running_sums(adj: Adjacency, weight: Tensor) -> Tensor:
    """``[E]`` float64: running sums of weights within each source's edges."""
    if not isinstance(weight, Tensor) or weight.shape != (adj.num_edges,):
        raise ValueError(f"weight: expected {adj.num_edges} numbers, one an edge (got {_check.describe(weight)})")
    if not bool((torch.isfinite(weight) & (weight > 0)).all()):
        raise ValueError("weight: expected finite weights > 0 (got another)")
    indptr, _, perm = adj.transpose
    values = weight.to(adj.device, torch.float64)[adj.edge_ids[perm]]
    return running_sums(values, indptr, row_of_entry(indptr, perm))
