"""What goes with the performance at a node: correlations, buckets, and how much less new neighbours share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.links._concentration import at_least_one, link_graph, topological_concentration
from gnnkit.links._graph import LinkGraph
from gnnkit.links._node_performance import REAL


class Correlation(NamedTuple):
    """How two numbers of a node go together.

    Attributes:
        spearman: Of ranks, ties sharing their mean; NaN where one of the two is constant.
        pearson: Of the numbers themselves; NaN where one of the two is constant.
        num_nodes: The nodes that have both numbers.
    """

    spearman: float
    pearson: float
    num_nodes: int


class Buckets(NamedTuple):
    """Nodes in classes of one number, and in each the mean of another.

    Attributes:
        bounds: ``[B + 1]``; bucket b holds the nodes from ``bounds[b]`` to below ``bounds[b + 1]``, the last one also
            those at its upper end.
        mean: ``[B]``, NaN in an empty bucket.
        error: ``[B]``, the standard error of the mean, NaN in a bucket of fewer than two nodes.
        num_nodes: ``[B]``.
    """

    bounds: NDArray[np.float64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    num_nodes: NDArray[np.int64]


def correlation(performance: Tensor, other: Tensor) -> Correlation:
    """Correlate two numbers of nodes, such as recall and topological concentration, where both are known.

    Args:
        performance: ``[N]``, NaN where unknown.
        other: ``[N]``, NaN where unknown.

    Raises:
        ValueError: The two are not of one length.

    Example:
        >>> import torch
        >>> from gnnkit.links import correlation
        >>> found = correlation(torch.tensor([0.0, 0.2, 1.0, torch.nan]), torch.tensor([1, 2, 3, 4]))
        >>> f"{found.spearman:.2f} {found.pearson:.2f} of {found.num_nodes} nodes"
        '1.00 0.94 of 3 nodes'
    """
    from scipy.stats import rankdata

    x, y = _both_known(performance, other)
    return Correlation(_pearson(rankdata(x), rankdata(y)), _pearson(x, y), len(x))


def buckets(performance: Tensor, by: Tensor, bounds: int | Sequence[float] = 10) -> Buckets:
    """Put nodes into classes of one number and average another in each, where both are known.

    Args:
        performance: ``[N]``, what is averaged, NaN where unknown.
        by: ``[N]``, such as topological concentration or the degree, NaN where unknown.
        bounds: The bounds of the buckets, rising; nodes outside are left out. Or the number of buckets of about
            equally many nodes each: equal numbers stay together, so that there may be fewer.

    Raises:
        ValueError: The two are not of one length, no node has both, or the bounds do not rise.

    Example:
        >>> import torch
        >>> from gnnkit.links import buckets
        >>> found = buckets(torch.tensor([0.0, 0.5, 0.5, 1.0]), torch.tensor([1, 1, 2, 9]), bounds=2)
        >>> found.bounds.tolist(), found.mean.tolist(), found.num_nodes.tolist()
        ([1.0, 1.5, 9.0], [0.25, 0.75], [2, 2])
    """
    y, x = _both_known(performance, by)
    if not len(x):
        raise ValueError("performance: expected at least one node with both numbers (got none)")
    if isinstance(bounds, Sequence):
        cuts = np.asarray(bounds, dtype=np.float64)
        if len(cuts) < 2 or not (np.diff(cuts) > 0).all():
            raise ValueError(f"bounds: expected at least two rising numbers (got {bounds!r})")
    else:
        at_least_one("bounds", bounds)
        cuts = np.unique(np.quantile(x, np.linspace(0, 1, bounds + 1)))
        cuts = np.repeat(cuts, 2) if len(cuts) == 1 else cuts  # all nodes are alike: one bucket
    number = len(cuts) - 1
    place = np.searchsorted(cuts, x, side="right") - 1
    place[x == cuts[-1]] = number - 1
    inside = (place >= 0) & (place < number)
    groups = [y[inside & (place == bucket)] for bucket in range(number)]
    mean = [float(group.mean()) if len(group) else np.nan for group in groups]
    error = [float(group.std(ddof=1)) / len(group) ** 0.5 if len(group) > 1 else np.nan for group in groups]
    return Buckets(cuts, np.array(mean), np.array(error), np.array([len(group) for group in groups]))


def concentration_shift(graph: LinkGraph, pairs: Tensor, hops: int = 1, decay: float | None = None) -> Tensor:
    """Say for each node how much less it shares with new neighbours than with known ones: TC_train - TC_test.

    Args:
        graph: The training graph.
        pairs: ``[2, P]``, validation or test edges.
        hops: As `topological_concentration` takes it.
        decay: As `topological_concentration` takes it.

    Returns:
        ``[N]`` float64, NaN where one of the two is undefined: without a pair, or with fewer than two edges.

    Raises:
        ValueError: As `topological_concentration`.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, concentration_shift
        >>> graph = LinkGraph.from_edges(torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]]), num_nodes=5)
        >>> concentration_shift(graph, torch.tensor([[0], [3]])).tolist()
        [0.5, nan, nan, nan, nan]
    """
    shift = topological_concentration(graph, hops=hops, decay=decay)
    shift -= topological_concentration(graph, pairs, hops, decay)
    listed = LinkGraph.from_edges(pairs, link_graph(graph).num_nodes)
    shift[(listed.degree() == 0) | (graph.degree() < 2)] = torch.nan
    return shift


def _both_known(first: Tensor, second: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for name, value in (("performance", first), ("the other", second)):
        if not _check.is_dense(value, (1,), REAL) or value.shape != first.shape:
            raise ValueError(f"{name}: expected one number for each node (got {_check.describe(value)})")
    x, y = (value.detach().cpu().double().numpy() for value in (first, second))
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
