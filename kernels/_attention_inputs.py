"""What GAT and GATv2 ask of their arguments, scores aside."""

import sys

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._csr import Transpose


def score_dtype(x: Tensor) -> torch.dtype:
    """The dtype of scores: that of x, float32 at least."""
    return x.dtype if x.dtype in _check.FLOAT_DTYPES else torch.float32


def check_inputs(
    indptr: Tensor,
    indices: Tensor,
    name: str,
    x: Tensor,
    mask: Tensor | None,
    slope: float,
    transpose: Transpose | None,
) -> None:
    """Check what both take, ``name`` being the name of the rows of sources."""
    _check.csr_shapes(indptr, indices)
    _check.float_tensor(name, x, (3,), half=True)
    if not isinstance(slope, int | float) or isinstance(slope, bool) or not 0 <= slope <= sys.float_info.max:
        raise ValueError(f"negative_slope: expected a finite number >= 0 (got {slope!r})")
    if mask is not None:
        _check.shaped("mask", mask, [indices.shape[0], x.shape[1]], (x.dtype, score_dtype(x)))
        if mask.requires_grad:
            raise ValueError("mask: expected a constant (got a tensor that asks for a gradient)")
    _check.same(f"indptr, indices, {name} and mask", indptr, indices, x, mask, dtype=False)
    if transpose is not None:
        _check.transposed(transpose, indices, x.shape[0])
