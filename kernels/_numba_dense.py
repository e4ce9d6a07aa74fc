"""CPU backend of `norm_relu`."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gnnkit.kernels import _loops_dense
from gnnkit.kernels._arrays import array, empty_like
from gnnkit.kernels._threads import even_bounds, run
from gnnkit.kernels._torch_dense import scale

_WORK = 16  # scalar operations an element


def norm_relu(
    x: Tensor,
    bias: Tensor | None,
    weight: Tensor | None,
    shift: Tensor | None,
    eps: float,
    drop: int,
    seed: int,
    inplace: bool = False,
) -> Tensor:
    """See `gnnkit.kernels._torch_dense.norm_relu`."""
    out = x if inplace and x.is_contiguous() else empty_like(x)
    rows = [_row(x, row) for row in (bias, weight, shift)]
    rows[0] = _row(x, x.new_zeros(x.shape[1])) if bias is None else rows[0]
    kind = array(x).dtype.type
    numbers = kind(eps), np.uint64(seed), np.uint32(drop), kind(scale(drop))
    bounds = even_bounds(len(x), _WORK * x.shape[1])
    run(_loops_dense.norm_relu, bounds, array(x), *rows, *numbers, array(out))
    return out


def norm_relu_backward(
    x: Tensor, out: Tensor, grad: Tensor, bias: Tensor | None, weight: Tensor | None, eps: float, drop: int
) -> tuple[Tensor, Tensor]:
    """See `gnnkit.kernels._torch_dense.norm_relu_backward`."""
    dx = empty_like(x)
    blocks = -(-len(x) // _loops_dense.ROWS)
    sums = x.new_zeros(blocks * 3, x.shape[1])
    rows = _row(x, x.new_zeros(x.shape[1]) if bias is None else bias), _row(x, weight)
    kind = array(x).dtype.type
    numbers = kind(eps), kind(scale(drop))
    bounds = even_bounds(blocks, _WORK * x.shape[1] * _loops_dense.ROWS)
    tables = array(x), array(out), array(grad)
    run(_loops_dense.norm_relu_backward, bounds, *tables, *rows, *numbers, array(dx), array(sums))
    return dx, sums.view(blocks, 3, x.shape[1]).sum(0)


def _row(x: Tensor, row: Tensor | None) -> Any:
    """``[D]`` as an array ``[1, D]``, of which a loop reads tiles."""
    return None if row is None else array(row).reshape(1, x.shape[1])
