"""negative_edges: pairs of nodes that are no edges."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.data._keys import random_key
from gnnkit.kernels import _check

_ROUNDS = 200  # of a draw by degree: 2^-200 of a chance where half of the pairs so drawn are edges


def negative_edges(
    adj: Adjacency,
    num: int,
    method: str = "uniform",
    *,
    seed: int | None = None,
    self_loops: bool = False,
    undirected: bool = False,
) -> Tensor:
    """Draw pairs (source, destination) that are not edges, each independently: a pair may come twice.

    - ``"uniform"``: every pair that is no edge has the same chance; a number among them is drawn and looked up, and
      nothing is rejected.
    - ``"degree"``: a source by its number of outgoing edges and a destination by its incoming ones, again while the
      pair is an edge: the negatives that a model meets at hubs, where a uniform draw seldom goes.

    Cost: O(E log E) a call, for sorting the edges, and O(num log E): draw an epoch's worth at once.

    Args:
        adj: The edges, the ones to be predicted among them.
        num: How many pairs.
        method: ``"uniform"`` or ``"degree"``.
        seed: What the draws depend on; None for one from PyTorch's default generator.
        self_loops: Whether a node may be paired with itself, where sources and destinations are the same nodes.
        undirected: Whether a pair is no negative either if its reverse is an edge.

    Returns:
        ``[2, num]`` int64, in the form of an ``edge_index``.

    Raises:
        ValueError: There is no such pair, or, by degree, hardly one; or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit import Adjacency
        >>> from gnnkit.data import negative_edges
        >>> adj = Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]]), num_nodes=3)
        >>> pairs = negative_edges(adj, 6, seed=0)
        >>> sorted(set(map(tuple, pairs.t().tolist())))
        [(1, 0), (2, 1)]
    """
    _check.count("num", num)
    if method not in ("uniform", "degree"):
        raise ValueError(f"method: expected uniform or degree (got {method!r})")
    if (undirected or not self_loops) and adj.num_src != adj.num_dst:
        self_loops = True  # of two sets of nodes no pair is a loop
        if undirected:
            raise ValueError(f"undirected: expected False for a bipartite graph (got {undirected})")
    generator = torch.Generator().manual_seed(random_key(seed) % 2**63)
    taken = _taken(adj, self_loops, undirected)
    if not num:
        return torch.empty(2, 0, dtype=torch.int64, device=adj.device)
    free = adj.num_src * adj.num_dst - len(taken)
    if not free:
        raise ValueError("adj: expected a graph that lacks an edge (got a complete one)")
    pairs = _uniform(taken, free, num, generator) if method == "uniform" else _by_degree(adj, taken, num, generator)
    return torch.stack([pairs // adj.num_dst, pairs % adj.num_dst]).to(adj.device)


def _taken(adj: Adjacency, self_loops: bool, undirected: bool) -> Tensor:
    """The pairs that are not drawn, as numbers ``source * num_dst + destination``, sorted, each once."""
    src, dst = adj.to_edge_index().cpu()
    pairs = [src * adj.num_dst + dst]
    if undirected:
        pairs.append(dst * adj.num_dst + src)
    if not self_loops:
        pairs.append(torch.arange(adj.num_dst) * (adj.num_dst + 1))
    taken: Tensor = torch.cat(pairs).unique()  # type: ignore[no-untyped-call]
    return taken


def _uniform(taken: Tensor, free: int, num: int, generator: torch.Generator) -> Tensor:
    """The k-th pair that is free, for random k: k and as many as are taken before it."""
    ranks = torch.randint(free, (num,), generator=generator)
    before = taken - torch.arange(len(taken))  # how many free pairs come before each that is taken
    return ranks + torch.searchsorted(before, ranks, right=True)


def _by_degree(adj: Adjacency, taken: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Sources and destinations of two random edges, until they are no edge."""
    if not adj.num_edges:
        raise ValueError("adj: expected edges, to draw by degree (got none)")
    src, dst = adj.to_edge_index().cpu()
    pairs, open_ = torch.empty(num, dtype=torch.int64), torch.arange(num)
    for _ in range(_ROUNDS):
        ends = torch.randint(adj.num_edges, (2, len(open_)), generator=generator)
        pairs[open_] = src[ends[0]] * adj.num_dst + dst[ends[1]]
        place = torch.searchsorted(taken, pairs[open_]).clamp(max=max(len(taken) - 1, 0))
        open_ = open_[taken[place] == pairs[open_]]
        if not len(open_):
            return pairs
    raise ValueError(f"adj: expected pairs by degree that are no edges (got only edges in {_ROUNDS} draws)")
