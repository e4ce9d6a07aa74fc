"""Which layers stand together in a stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Stages = tuple[tuple[int, int], ...]


def split_layers(costs: Sequence[float], stages: int, ends: tuple[float, float] = (0.0, 0.0)) -> Stages:
    """Cut layers into consecutive stages so that the dearest stage costs as little as can be.

    Exact. Of all cuts with that largest cost it takes one with the smallest sum of squares, so that the other stages
    are even too. Dynamic programming over the prefixes, twice: O(S L²).

    Args:
        costs: The cost of each layer, in any unit.
        stages: S, at most the number of layers.
        ends: What the first and the last stage cost on top of their layers.

    Returns:
        ``(low, high)`` of each stage, layers ``low … high - 1``.

    Raises:
        ValueError: A cost is negative or no number, there are fewer layers than stages, or no stage.

    Example:
        >>> from gnnkit.pipeline._stages import split_layers
        >>> split_layers([1, 1, 1, 1, 4, 1], 3)
        ((0, 4), (4, 5), (5, 6))
    """
    try:
        layer = np.asarray(costs, np.float64)
    except (TypeError, ValueError):
        layer = np.array([np.nan])
    if layer.ndim != 1 or layer.size == 0 or not np.isfinite(layer).all() or (layer < 0).any():
        raise ValueError(f"costs: expected finite numbers from 0, one for each of at least one layer (got {costs!r})")
    if len(ends) != 2 or not np.isfinite(ends).all() or min(ends) < 0:
        raise ValueError(f"ends: expected two finite numbers from 0 (got {ends!r})")
    if not isinstance(stages, int) or not 1 <= stages <= len(layer):
        raise ValueError(f"stages: expected 1 to {len(layer)}, the number of layers (got {stages!r})")
    # [L + 1, L + 1] the cost of layers low … high - 1 as one stage
    sums = np.concatenate([[0.0], np.cumsum(layer)])
    cost = sums[None, :] - sums[:, None]
    cost[0] += ends[0]
    cost[:, -1] += ends[1]
    cost[np.tri(len(sums), dtype=bool)] = np.inf  # no stage without a layer
    largest = _cuts(cost, stages, np.maximum)[1]
    share = cost / (largest or 1.0)  # squares of what is too dear are left out, and cannot overflow
    bounds = _cuts(np.where(cost <= largest, share, np.inf) ** 2, stages, np.add)[0]
    return tuple(pairwise(bounds))


def _cuts(cost: NDArray[np.float64], stages: int, join: np.ufunc) -> tuple[list[int], float]:
    """Give the bounds for which the stages' costs, joined, are least, and what they come to."""
    best, came_from = cost[0], []  # of the layers before each bound, in the stages so far
    for _ in range(stages - 1):
        joined = join(best[:, None], cost)
        came_from.append(joined.argmin(axis=0))
        best = joined.min(axis=0)
    bounds = [len(best) - 1]
    for previous in reversed(came_from):
        bounds.append(int(previous[bounds[-1]]))
    return [0, *reversed(bounds)], float(best[-1])
