"""What the reference in PyTorch begins with: the row and the column of every entry, and numbers wide enough to add."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check


def rows_and_columns(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    """Check a CSR and return the row and the column of every entry, both int64."""
    _check.csr_values(indptr, indices, num_cols)
    rows = torch.arange(indptr.numel() - 1, device=indptr.device)
    # [E], [E]
    return rows.repeat_interleave(indptr.diff()), indices.long()


def widened(tensor: Tensor) -> Tensor:
    """16-bit floats as float32, in which sums are made; others as they are."""
    return tensor.float() if tensor.dtype in _check.HALF_DTYPES else tensor
