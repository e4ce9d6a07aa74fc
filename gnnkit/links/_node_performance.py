"""How well links are predicted at each node."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.links import _inputs
from gnnkit.links._concentration import at_least_one, link_graph
from gnnkit.links._graph import LinkGraph

REAL = (*_check.FLOAT_DTYPES, torch.bool, torch.int32, torch.int64)


def link_hits(pos: Tensor, neg: Tensor, k: int) -> Tensor:
    """Say for each link whether it scores higher than the k-th best negative: what `hits_at` is the mean of.

    A tie with that negative is a miss, as for OGB's ``Evaluator``. Of negatives of its own for each link,
    ``ranks(pos, neg) <= k`` says the same.

    Args:
        pos: ``[P]`` scores of links.
        neg: ``[Q]`` scores of the same dtype; where there are fewer than k, every link is a hit.
        k: From 1 on.

    Returns:
        ``[P]`` booleans.

    Raises:
        ValueError: Not such scores, or a score that is NaN.

    Example:
        >>> import torch
        >>> from gnnkit.links import link_hits
        >>> link_hits(torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0.7, 0.5, 0.2]), k=2).tolist()
        [True, False, False]
    """
    at_least_one("k", k)
    _check.float_tensor("pos", pos, (1,))
    _check.float_tensor("neg", neg, (1,))
    _check.same("pos and neg", pos, neg)
    for name, scores in (("pos", pos), ("neg", neg)):
        if scores.isnan().any():
            raise ValueError(f"{name}: expected scores (got NaN)")
    if len(neg) < k:
        return torch.ones_like(pos, dtype=torch.bool)
    return pos > neg.topk(k).values[-1]


@torch.no_grad()
def node_ranks(score: Callable[[Tensor], Tensor], pairs: Tensor, known: LinkGraph, *, max_pairs: int = 2**20) -> Tensor:
    """Rank each link at each of its two nodes among all nodes that the node is not known to be linked to.

    The full ranking of the paper on topological concentration: 1 is the best, other links of ``pairs`` compete, and a
    tie counts against the link. The node itself and its neighbours in ``known`` do not compete.

    Cost: N - 1 scores for each node with a link; ``score`` sees at most ``max_pairs`` at a time, or N.

    Args:
        score: Gives scores ``[B]`` of pairs ``[2, B]`` of two different nodes, the one whose ranking it is in row 0.
        pairs: ``[2, P]``, validation or test links.
        known: The edges known before: the training edges, and of a test the validation edges as well.
        max_pairs: How many pairs are scored together.

    Returns:
        ``[2, P]`` int64: the rank of ``pairs[1]`` at ``pairs[0]``, and that of ``pairs[0]`` at ``pairs[1]``.

    Raises:
        ValueError: A pair is a self-loop, known, or no pair; scores of another shape, NaN or infinite.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, node_ranks
        >>> known = LinkGraph.from_edges(torch.tensor([[0], [4]]), num_nodes=5)
        >>> node_ranks(lambda pairs: pairs.sum(dim=0).float(), torch.tensor([[0, 0], [3, 1]]), known).tolist()
        [[1, 3], [4, 4]]
    """
    num_nodes = link_graph(known).num_nodes
    ends = _inputs.pairs("pairs", pairs, num_nodes)
    at_least_one("max_pairs", max_pairs)
    if (ends[0] == ends[1]).any() or (known.numbers(ends) >= 0).any():
        raise ValueError("pairs: expected links between two nodes that known does not hold (got a self-loop or such)")
    # [2 P]: from where, to where, and where in the result
    node, order = ends.reshape(-1).sort()
    partner = ends.flip(0).reshape(-1)[order]
    found = torch.empty_like(node)
    nodes, first = torch.unique_consecutive(node, return_inverse=True)
    step = max(1, max_pairs // max(num_nodes, 1))
    for low in range(0, len(nodes), step):
        table = _scores(score, nodes[low : low + step], known)  # [B, N]
        bounds = torch.tensor([low, low + step], device=first.device)
        begin, end = torch.searchsorted(first, bounds).tolist()
        for part in range(begin, end, step):
            chosen = slice(part, min(part + step, end))
            rows = table[first[chosen] - low]
            found[chosen] = (rows >= rows.gather(1, partner[chosen, None])).sum(dim=1)
    return torch.empty_like(found).scatter_(0, order, found).view(2, -1)


def _scores(score: Callable[[Tensor], Tensor], nodes: Tensor, known: LinkGraph) -> Tensor:
    """``[B, N]``: the score of each node's pair with every node, -inf where it does not compete."""
    num_nodes, device = known.num_nodes, nodes.device
    everyone = torch.arange(num_nodes, device=device)
    asked = torch.stack([nodes.repeat_interleave(num_nodes), everyone.repeat(len(nodes))])
    others = asked[0] != asked[1]  # models refuse a node paired with itself
    asked = asked[:, others]
    given = score(asked)
    if not _check.is_dense(given, (1,), _check.FLOAT_DTYPES) or len(given) != asked.shape[1]:
        raise ValueError(f"score: expected {asked.shape[1]} float scores (got {_check.describe(given)})")
    if not given.isfinite().all():
        raise ValueError("score: expected finite scores (got NaN or infinity)")
    table = torch.full((len(others),), -torch.inf, dtype=given.dtype, device=device)
    table[others] = given.detach()
    table = table.view(len(nodes), num_nodes)
    count = known.degree()[nodes]  # the entries of these rows of the CSR
    row = torch.arange(len(nodes), device=device).repeat_interleave(count)
    start = known.adj.indptr[nodes] - (count.cumsum(0) - count)
    entry = torch.arange(len(row), device=device) + start[row]
    table[row, known.adj.indices[entry].long()] = -torch.inf
    return table


def per_node(pairs: Tensor, values: Tensor, num_nodes: int, reduce: str = "mean") -> Tensor:
    """Gather what is known of links at their nodes.

    Of booleans, such as `link_hits` or ``node_ranks(...) <= k``, the mean at a node is its recall at k, and the maximum
    its Hits@k: whether any of its links is found.

    Args:
        pairs: ``[2, P]``, the links; each counts at both its nodes.
        values: ``[P]``, or ``[2, P]`` where its two nodes see a link differently.
        num_nodes: N.
        reduce: ``"mean"`` or ``"max"``.

    Returns:
        ``[N]`` float64, NaN for a node without links.

    Raises:
        ValueError: Not pairs, a self-loop among them, values of another shape, or another ``reduce``.

    Example:
        >>> import torch
        >>> from gnnkit.links import per_node
        >>> per_node(torch.tensor([[0, 0], [1, 2]]), torch.tensor([True, False]), num_nodes=4).tolist()
        [0.5, 1.0, 0.0, nan]
    """
    num_nodes = _inputs.size(num_nodes)
    ends = _inputs.pairs("pairs", pairs, num_nodes)
    if (ends[0] == ends[1]).any():
        raise ValueError("pairs: expected two nodes in each (got a self-loop)")
    if not _check.is_dense(values, (1, 2), REAL) or list(values.shape) not in ([ends.shape[1]], [2, ends.shape[1]]):
        raise ValueError(f"values: expected [P] or [2, P] for P = {ends.shape[1]} (got {_check.describe(values)})")
    if reduce not in ("mean", "max"):
        raise ValueError(f"reduce: expected 'mean' or 'max' (got {reduce!r})")
    both = values.to(torch.float64).expand(2, -1).reshape(-1)
    out = torch.full((num_nodes,), torch.nan, dtype=torch.float64, device=both.device)
    how = "mean" if reduce == "mean" else "amax"
    return out.scatter_reduce(0, ends.reshape(-1), both, how, include_self=False)
