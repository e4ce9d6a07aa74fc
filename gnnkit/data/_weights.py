"""Running sums of weights within the rows of a CSR, as `gnnkit.kernels.sample_neighbors` draws by."""

from __future__ import annotations

import torch
from torch import Tensor


def running_sums(weight: Tensor, indptr: Tensor, row: Tensor) -> Tensor:
    """Return ``[E]`` float64, the running sum of positive weights within each row, the row's largest counting as 1.

    One sum runs over all rows, and what stood before a row is taken off again; since no weight counts more than 1,
    large weights of other rows cost it no precision.

    Args:
        weight: ``[E]`` float64, positive.
        indptr: ``[N + 1]`` int64.
        row: ``[E]``, the row of each entry.
    """
    largest = weight.new_zeros(len(indptr) - 1).scatter_reduce(0, row.long(), weight, "amax")
    total = torch.cat([weight.new_zeros(1), (weight / largest[row]).cumsum(0)])
    return total[1:] - total[indptr[row]]
