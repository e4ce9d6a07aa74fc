"""belady: the most that any cache of a size can serve of a trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gnnkit.data._policies import Ints
from gnnkit.data._policies_trace import batches_of
from gnnkit.kernels import _check


def belady(trace: Sequence[Tensor], capacity: int, num_rows: int | None = None) -> float:
    """Return the largest hit ratio that a cache can have which knows the whole trace.

    The rows of a batch are read at once. After a batch a cache may keep any ``capacity`` rows of those that it held and
    those just read, so a row may be passed on without being kept, and a row of a batch may leave with that batch. Under
    these rules, keeping the rows that are used again soonest is optimal (Belady 1966): holding a row from one of its
    uses to the next is an interval that earns one hit, at most ``capacity`` intervals may cross any point, and dropping
    the one that ends last wherever there are too many keeps the most. The cache begins empty.

    Cost: O(capacity + batch) a batch.

    Args:
        trace: Batches of ids, each ``[K]`` int32 or int64; a read is a distinct row of a batch.
        capacity: Rows that fit.
        num_rows: Rows of the table; None for the largest id plus one.

    Example:
        >>> import torch
        >>> from gnnkit.data import belady
        >>> belady([torch.tensor(batch) for batch in ([0, 1], [2], [0], [1])], capacity=1)
        0.2
    """
    batches, num_rows = batches_of(trace, num_rows)
    _check.count("capacity", capacity)
    following = _next_uses(batches, num_rows)
    held, until = np.empty(0, np.int64), np.empty(0, np.int64)  # rows kept, and when each is used next
    hits = 0
    for step, (batch, reuse) in enumerate(zip(batches, following, strict=True)):
        due = until == step  # a row is kept until its next use, so these are exactly the batch's rows that are held
        hits += int(due.sum())
        again = reuse < len(batches)
        held, until = np.concatenate([held[~due], batch[again]]), np.concatenate([until[~due], reuse[again]])
        if len(held) > capacity:
            nearest = np.argpartition(until, capacity)[:capacity] if capacity else held[:0]
            held, until = held[nearest], until[nearest]
    reads = sum(map(len, batches))
    return hits / reads if reads else 0.0


def _next_uses(batches: list[Ints], num_rows: int) -> list[Ints]:
    """For each row of each batch the next batch with that row, or the number of batches."""
    following = np.full(num_rows, len(batches), np.int64)
    found = []
    for step in range(len(batches) - 1, -1, -1):
        found.append(following[batches[step]])
        following[batches[step]] = step
    return found[::-1]
