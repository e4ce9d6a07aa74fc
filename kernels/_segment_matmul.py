"""segment_matmul: a matrix for every group of rows (grouped GEMM).

The products are PyTorch's on every device: vendors' GEMMs are what one cannot beat here, so there is no backend
to choose. What is left to do is to hand them the groups without copies, and not one by one where they are tiny.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._register import fake, operation

# Rows up to which groups are padded into one batched product: a call costs some microseconds, which is what about
# this many rows of width 128 cost. 10,000 groups of 0 to 8 rows of width 64: 351 ms one by one, 75 ms padded; their
# outer products 660 and 240 ms (one run, 2 shared cores)
_TINY = 8
_CHUNK_BYTES = 16 << 20  # of the matrices that a batched product reads


def segment_matmul(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    r"""Multiply every group of consecutive rows by the matrix of its group.

    .. math:: out_n = x_n W_t, \quad ptr_t \le n < ptr_{t+1}

    The argument order is pyg-lib's; heads are new. Costs :math:`N K M` multiplications and no memory beyond the
    output, save for groups of at most 8 rows, which are padded to each other's size, 16 MiB of matrices at a time.

    Args:
        x: ``[N, K]`` or ``[N, H, K]``, float32 or float64, any strides, sorted by group.
        ptr: ``[T + 1]`` int32 or int64 on the CPU or beside ``x``: where each group begins, from 0 to N.
        weight: ``[T, K, M]``, or ``[T, H, K, M]`` when ``x`` has heads.

    Returns:
        ``[N, M]`` or ``[N, H, M]``.

    Raises:
        ValueError: ``ptr`` decreases or does not run from 0 to N, or shapes, dtypes or devices do not fit.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import segment_matmul
        >>> x, weight = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[[1.0]], [[7.0]], [[10.0]]])
        >>> segment_matmul(x, torch.tensor([0, 2, 2, 3]), weight).flatten().tolist()
        [1.0, 2.0, 30.0]
    """
    _check.float_tensor("x", x, (2, 3))
    _check.float_tensor("weight", weight, (3, 4))
    _check.index_vector("ptr", ptr)
    groups, row = list(weight.shape[:1]), list(x.shape[1:])
    if list(weight.shape[:-1]) != groups + row:
        shapes = "[T, K, M]" if x.dim() == 2 else "[T, H, K, M]"
        raise ValueError(f"weight: expected {shapes} for rows of shape {row} (got shape {list(weight.shape)})")
    if ptr.shape[0] != weight.shape[0] + 1:
        raise ValueError(f"ptr: expected T + 1 = {weight.shape[0] + 1} entries, one a matrix (got {ptr.shape[0]})")
    _check.same("x and weight", x, weight)
    if ptr.device.type != "cpu":
        _check.same("x and ptr", x, ptr, dtype=False)
    # [N, H, K], [T, H, K, M]
    rows, matrices = (x.unsqueeze(1), weight.unsqueeze(1)) if x.dim() == 2 else (x, weight)
    out: Tensor = matmul_op(rows, ptr, matrices)
    return out.squeeze(1) if x.dim() == 2 else out


@operation("gnnkit::segment_matmul", gradient=True)
def matmul_op(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    out = x.new_empty(x.shape[0], x.shape[1], weight.shape[-1])
    bounds = _bounds(ptr, x.shape[0])
    for group, low, high in _large(bounds):
        for head in range(x.shape[1]):
            torch.mm(x[low:high, head], weight[group, head], out=out[low:high, head])
    for tiny in _tiny(bounds, weight[0:1].numel() * weight.element_size()):
        tiny = tiny.to(x.device)
        product = tiny.pad(x).transpose(1, 2) @ tiny.of(weight)  # [G, H, S, M]
        tiny.unpad(product.transpose(1, 2), out)
    return out


@fake(matmul_op)
def _(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[-1])


@operation("gnnkit::segment_outer", gradient=True)
def outer_op(x: Tensor, ptr: Tensor, y: Tensor) -> Tensor:
    """Return ``[T, H, K, M]``: for every group the sum of its rows' outer products ``x_n y_n``."""
    out = x.new_zeros(ptr.shape[0] - 1, *x.shape[1:], y.shape[-1])
    bounds = _bounds(ptr, x.shape[0])
    for group, low, high in _large(bounds):
        for head in range(x.shape[1]):
            torch.mm(x[low:high, head].t(), y[low:high, head], out=out[group, head])
    for tiny in _tiny(bounds, out[0:1].numel() * out.element_size()):
        tiny = tiny.to(x.device)
        # [G, H, K, S] times [G, H, S, M]
        product = tiny.pad(x).permute(0, 2, 3, 1) @ tiny.pad(y).transpose(1, 2)
        out.index_copy_(0, tiny.groups, product)
    return out


@fake(outer_op)
def _(x: Tensor, ptr: Tensor, y: Tensor) -> Tensor:
    return x.new_empty(ptr.shape[0] - 1, *x.shape[1:], y.shape[-1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ptr, other = inputs
    # what a constant would be multiplied with need not be kept alive
    ctx.save_for_backward(x if ctx.needs_input_grad[2] else None, ptr, other if ctx.needs_input_grad[0] else None)


def _matmul_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
    x, ptr, weight = ctx.saved_tensors
    dx = None if weight is None else matmul_op(grad, ptr, weight.transpose(-1, -2))
    return dx, None, None if x is None else outer_op(x, ptr, grad)


def _outer_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
    x, ptr, y = ctx.saved_tensors
    dx = None if y is None else matmul_op(y, ptr, grad.transpose(-1, -2))
    return dx, None, None if x is None else matmul_op(x, ptr, grad)


torch.library.register_autograd(matmul_op, _matmul_backward, setup_context=_setup)
torch.library.register_autograd(outer_op, _outer_backward, setup_context=_setup)


def _bounds(ptr: Tensor, num_rows: int) -> list[int]:
    """Return the pointers, if they cut the rows into groups."""
    bounds: list[int] = ptr.tolist()
    if bounds[0] != 0 or bounds[-1] != num_rows:
        raise ValueError(f"ptr: expected to run from 0 to the {num_rows} rows (got {bounds[0]} to {bounds[-1]})")
    for group, (low, high) in enumerate(pairwise(bounds)):
        if high < low:
            raise ValueError(f"ptr: expected non-decreasing pointers (got {low} then {high} at group {group})")
    return bounds


def _large(bounds: list[int]) -> Iterator[tuple[int, int, int]]:
    """Give number, begin and end of every group of more than `_TINY` rows."""
    for group, (low, high) in enumerate(pairwise(bounds)):
        if high - low > _TINY:
            yield group, low, high


class _Tiny:
    """Groups of at most `_TINY` rows, padded to the size of the largest.

    Attributes:
        groups: ``[G]`` their numbers.
        rows: Their rows, one after another.
        slots: Where these go in ``[G · S]``.
        size: S.
        span: The first group's number, and the one after the last.
    """

    def __init__(self, groups: Tensor, begin: Tensor, count: Tensor) -> None:
        self.groups, self.size = groups, int(count.max())
        self.span = int(groups[0]), int(groups[-1]) + 1
        place = torch.arange(self.size)
        filled = place < count.unsqueeze(1)  # [G, S]
        self.rows, self.slots = (begin.unsqueeze(1) + place)[filled], filled.flatten().nonzero().squeeze(1)

    def to(self, device: torch.device) -> "_Tiny":
        self.groups, self.rows, self.slots = (t.to(device) for t in (self.groups, self.rows, self.slots))
        return self

    def of(self, weight: Tensor) -> Tensor:
        """``[G, ...]``: the groups' matrices, where they lie if they lie side by side."""
        first, last = self.span
        if last - first == len(self.groups):
            return weight[first:last]
        return weight.index_select(0, self.groups)

    def pad(self, x: Tensor) -> Tensor:
        """``[N, H, K]`` to ``[G, S, H, K]``."""
        padded = x.new_zeros(len(self.groups) * self.size, *x.shape[1:])
        padded.index_copy_(0, self.slots, x.index_select(0, self.rows))
        return padded.view(len(self.groups), self.size, *x.shape[1:])

    def unpad(self, padded: Tensor, out: Tensor) -> None:
        """``[G, S, H, M]`` into rows of ``[N, H, M]``."""
        out.index_copy_(0, self.rows, padded.flatten(0, 1).index_select(0, self.slots))


def _tiny(bounds: list[int], matrix_bytes: int) -> Iterator[_Tiny]:
    """Give the groups of 1 to `_TINY` rows, as many at a time as keep their matrices in the cache."""
    ptr = torch.tensor(bounds)
    count = ptr.diff()
    groups = ((count > 0) & (count <= _TINY)).nonzero().squeeze(1)
    for chunk in torch.split(groups, max(1, _CHUNK_BYTES // max(matrix_bytes, 1))):
        if len(chunk):
            yield _Tiny(chunk, ptr[chunk], count[chunk])
