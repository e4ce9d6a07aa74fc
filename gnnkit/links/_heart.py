"""HeaRT: hard negatives for each positive, chosen by heuristics."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._pair_sets import check_bytes
from gnnkit.links import _inputs
from gnnkit.links._blocks import MAX_BYTES, grouped
from gnnkit.links._graph import LinkGraph
from gnnkit.links._heart_cache import kept
from gnnkit.links._heart_ranks import Choice, choose
from gnnkit.links._heart_scores import Scores
from gnnkit.links._ppr import check_alpha
from gnnkit.links._split import LinkSplit


def heart_negatives(
    graph: LinkGraph,
    positives: Tensor,
    x: Tensor | None = None,
    *,
    known: LinkGraph | None,
    per_positive: int = 500,
    common: str = "ra",
    combine: str = "min",
    alpha: float = 0.15,
    eps: float = 1e-7,
    seed: int = 0,
    cache: str | PathLike[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """Choose hard negatives for each positive (a, b): one half are pairs (a, u), the other pairs (v, b).

    For each anchor, a and then b, all nodes are ranked by resource allocation, by the personalised PageRank of walks
    from the anchor and, where ``x`` is given, by the cosine of their features with the anchor's. Each ranking is by
    falling score; scores of 0 share the rank after the last, and negative cosines the one after that. The least of the
    ranks counts. The anchor, its partner and the anchor's neighbours in ``known`` are no candidates. Where fewer
    candidates than wanted have a score other than 0, all of these are taken and others at random. (Li et al.,
    "Evaluating Graph Neural Networks for Link Prediction: Current Pitfalls and New Benchmarking", NeurIPS 2023.)

    Beyond the number of nodes with a common neighbour, the least rank is that of having none, for every node: those
    ties, most of the negatives on sparse graphs, are decided at random by ``seed``. What differs from the authors'
    script:

    - What their script calls resource allocation divides by the degree of the candidate in place of the common
      neighbour's: ``common="cn/degree"``. Ranks of published negatives are by that.
    - They leave ties to the sort; and at random they may draw a node twice. Here negatives of an anchor are distinct.
    - Their PageRank is approximate, by pushing residuals above ``eps``; here it is exact, and 0 where it is
      below ``eps`` times the degree, the bound of their error.
    - Their table of cosines is overwritten with ranks, so that from its second appearance on an anchor's features
      are ranked in reverse. Here every appearance is like the first.
    - Scores are rounded to float32 before they are compared, so that what is equal but for rounding is a tie.

    Cost: of each distinct anchor 50 sums over the edges, three sorts of N scores and N · D for the cosines; of each
    positive O(N). No ``[N, N]`` is made.

    Args:
        graph: What heuristics read: the training edges (ogbl-collab at test: those of validation too).
        positives: ``[2, P]`` pairs of two nodes.
        x: ``[N, D]`` features, or None to rank without.
        known: Whose edges are no negatives: the training edges for validation, and those of validation too for test;
            None to exclude no neighbours, as for ogbl-collab.
        per_positive: K, even; half of it for each end.
        common: ``"ra"``; ``"cn"``, the number of common neighbours; or ``"cn/degree"``, that over the degree of the
            candidate.
        combine: ``"min"`` or ``"mean"`` of the ranks.
        alpha: Of the PageRank, the chance of a return.
        eps: Of the PageRank, see above; the authors take 1e-7 for cora and citeseer, else 1e-5 to 5e-5.
        seed: Decides ties.
        cache: A folder to keep the result in, by the content of all arguments; None for none.
        max_bytes: Bound of the memory for intermediate rows; at least those of one anchor and one positive are made.

    Returns:
        ``[2, P, K]`` int64: for each positive the pairs (a, u), the hardest first, and then the pairs (v, b).

    Raises:
        ValueError: A node has fewer than K / 2 candidates, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, heart_negatives
        >>> graph = LinkGraph.from_edges(torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]), num_nodes=7)
        >>> heart_negatives(graph, torch.tensor([[0], [3]]), known=graph, per_positive=2).tolist()
        [[[0, 1]], [[2, 3]]]
    """
    pairs = _check_arguments(graph, positives, x, known, eps)
    if common not in ("ra", "cn", "cn/degree") or combine not in ("min", "mean"):
        expected = "ra, cn or cn/degree, and min or mean"
        raise ValueError(f"common and combine: expected {expected} (got {common!r} and {combine!r})")
    _check.count("per_positive", per_positive)
    if not per_positive or per_positive % 2:
        raise ValueError(f"per_positive: expected an even number >= 2 (got {per_positive})")
    _check.count("seed", seed)
    check_alpha(alpha)
    check_bytes(max_bytes)

    def make() -> Tensor:
        scores = Scores(graph, x, common, alpha, eps)
        choice = Choice(per_positive // 2, combine == "mean", seed, known)
        anchors, partners = pairs.flatten(), pairs.flip(0).flatten()  # [2 P]: the ends a, then the ends b
        found = torch.empty(2, pairs.shape[1], per_positive // 2, dtype=torch.int64, device=pairs.device)
        rows = max(1, max_bytes // (100 * graph.num_nodes))
        for nodes, positions, place in grouped(anchors, rows):
            chosen = choose(choice, nodes, scores.of(nodes), place, partners[positions], rows)
            found.view(-1, per_positive // 2)[positions] = chosen
        a, b = (end.unsqueeze(1).expand_as(found[0]) for end in pairs)
        return torch.cat([torch.stack([a, found[0]]), torch.stack([found[1], b])], dim=2)

    tensors = [graph.edges, pairs, *([] if x is None else [x]), *([] if known is None else [known.edges])]
    settings = {
        "num_nodes": graph.num_nodes,
        "features": x is not None,
        "known": known is not None,
        "per_positive": per_positive,
        "common": common,
        "combine": combine,
        "alpha": alpha,
        "eps": eps,
        "seed": seed,
    }
    shape = (2, pairs.shape[1], per_positive)
    return kept(cache, tensors, settings, shape, make).to(pairs.device)


def with_heart_negatives(
    split: LinkSplit,
    x: Tensor | None = None,
    *,
    include_valid: bool = False,
    exclude_known: bool = True,
    **options: Any,
) -> LinkSplit:
    """Replace the negatives of a split by those of `heart_negatives`, 500 for each positive.

    The heuristics read the training edges. Known edges are no negatives: for validation the training edges, for test
    those and the validation edges; as in the authors' protocol, another test edge may be one, which `LinkSplit.leaks`
    counts.

    Args:
        split: The positives; its own negatives are not read.
        x: ``[N, D]`` features, for Planetoid's graphs; None to rank without, as for OGB's.
        include_valid: Let the heuristics read validation edges at test, as the authors do for ogbl-collab.
        exclude_known: Whether known edges are excluded; not so for ogbl-collab.
        options: Further arguments of `heart_negatives`, such as ``eps``, ``seed`` and ``cache``.

    Example:
        >>> import torch
        >>> from gnnkit.links import heart_split, with_heart_negatives
        >>> path = torch.stack([torch.arange(40), torch.arange(40) + 1])
        >>> split = with_heart_negatives(heart_split(path, 41), per_positive=10)
        >>> split.valid_neg.shape, split.test_neg.shape
        (torch.Size([2, 2, 10]), torch.Size([2, 4, 10]))
    """
    train, both = split.graph(), split.graph(include_valid=True)
    known = (train, both) if exclude_known else (None, None)
    return replace(
        split,
        valid_neg=heart_negatives(train, split.valid, x, known=known[0], **options),
        test_neg=heart_negatives(both if include_valid else train, split.test, x, known=known[1], **options),
    )


def _check_arguments(
    graph: LinkGraph, positives: Tensor, x: Tensor | None, known: LinkGraph | None, eps: float
) -> Tensor:
    """Require tensors that belong to the graph, and return the pairs."""
    pairs = _inputs.pairs("positives", positives, graph.num_nodes)
    loops = pairs[0, pairs[0] == pairs[1]]
    if len(loops):
        raise ValueError(f"positives: expected pairs of two nodes (got {int(loops[0])} twice)")
    if known is not None and (not isinstance(known, LinkGraph) or known.num_nodes != graph.num_nodes):
        got = f"{known.num_nodes} nodes" if isinstance(known, LinkGraph) else type(known).__name__
        raise ValueError(f"known: expected a LinkGraph of {graph.num_nodes} nodes (got {got})")
    if x is not None:
        _check.float_tensor("x", x, (2,))
        if len(x) != graph.num_nodes or not bool(x.isfinite().all()):
            expected = f"{graph.num_nodes} rows of finite numbers"
            raise ValueError(
                f"x: expected {expected} (got {_check.describe(x)} with {int((~x.isfinite()).sum())} others)"
            )
    if not isinstance(eps, float) or not 0 <= eps < 1:
        raise ValueError(f"eps: expected a number in [0, 1) (got {eps!r})")
    return pairs
