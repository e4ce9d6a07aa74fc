"""Work on rows of N scores, some nodes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

MAX_BYTES = 2**28  # of intermediate results, unless the caller says otherwise


def grouped(nodes: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cut the distinct ones of ``nodes`` ``[P]`` into blocks, and say who asked for which.

    Yields:
        The distinct nodes of a block ``[B]``, positions in ``nodes`` ``[K]``, and the place ``[K]`` of each of these in
        the block.
    """
    distinct, place = nodes.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    order = place.argsort()
    asked = place[order]
    for low in range(0, len(distinct), max(1, size)):
        block = distinct[low : low + max(1, size)]
        ends = torch.tensor([low, low + len(block)], device=asked.device)
        first, last = torch.searchsorted(asked, ends).tolist()
        yield block, order[first:last], asked[first:last] - low


def by_first(pairs: Tensor, size: int, rows_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the score of each pair (i, j), found in row i of what ``rows_of`` makes of ``size`` nodes at a time.

    Args:
        pairs: ``[2, P]``.
        size: Of a block, raised to 1.
        rows_of: ``[B]`` nodes to ``[B, N]`` float64.

    Returns:
        ``[P]`` float64.
    """
    scores = torch.empty(pairs.shape[1], dtype=torch.float64, device=pairs.device)
    for nodes, positions, place in grouped(pairs[0], size):
        scores[positions] = rows_of(nodes)[place, pairs[1, positions]]
    return scores
