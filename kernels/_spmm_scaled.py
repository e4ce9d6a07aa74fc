"""spmm_scaled: the sum along edges between two diagonal matrices, as GCN normalises a graph."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend
from gnnkit.kernels._csr import Transpose, full_transpose
from gnnkit.kernels._register import fake, operation
from gnnkit.kernels._sddmm import sddmm_op


def spmm_scaled(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    src_scale: Tensor | None = None,
    dst_scale: Tensor | None = None,
    values: Tensor | None = None,
    *,
    transpose: Transpose | None = None,
) -> Tensor:
    r"""Add up rows along the edges, scaled by a number of the source and one of the destination.

    .. math:: out_i = d_i \sum_{e \in row(i)} values_e \, s_{j} \, x_{j}, \quad j = indices_e

    With :math:`s = d = \mathrm{deg}^{-1/2}` over a graph with its self-loops this is GCN's propagation
    :math:`D^{-1/2} A D^{-1/2} X` (Kipf and Welling 2017, equation 2), with no number an edge computed or kept.

    Costs :math:`(E + N) D` reads and writes and no memory beyond the output; deterministic on CPU. 16-bit rows are
    added up in float32 and rounded once.

    Args:
        indptr: ``[N_dst + 1]`` int32 or int64, where each destination's edges begin.
        indices: ``[E]`` int32 or int64, the source of each edge.
        x: ``[N_src, D]`` or ``[N_src, H, D]``, float32, float64, bfloat16 or float16, any strides.
        src_scale: ``[N_src]`` in the dtype of ``x``, or float32 for 16 bits; None for ones.
        dst_scale: ``[N_dst]``, likewise.
        values: ``[E]``, likewise, in CSR order.
        transpose: As in `spmm`; serves the gradients of ``x`` and ``src_scale``, which build it when None.

    Returns:
        ``[N_dst, D]`` or ``[N_dst, H, D]``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, or the CSR is invalid.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import spmm_scaled
        >>> indptr, indices = torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1])  # 0 → 1, and both self-loops
        >>> scale = indptr.diff().float().pow(-0.5)
        >>> out = spmm_scaled(indptr, indices, torch.tensor([[1.0], [2.0]]), scale, scale)
        >>> [round(number, 4) for number in out.flatten().tolist()]
        [1.0, 1.7071]
    """
    _check.csr_shapes(indptr, indices)
    _check.float_tensor("x", x, (2, 3), half=True)
    wide = torch.float32 if x.dtype in _check.HALF_DTYPES else x.dtype
    numbers = {
        "src_scale": (src_scale, x.shape[0]),
        "dst_scale": (dst_scale, indptr.shape[0] - 1),
        "values": (values, indices.shape[0]),
    }
    for name, (number, size) in numbers.items():
        if number is not None:
            _check.shaped(name, number, [size], tuple(dict.fromkeys((x.dtype, wide))))
    _check.same("indptr, indices, x and scales", indptr, indices, x, src_scale, dst_scale, values, dtype=False)
    if transpose is not None:
        _check.transposed(transpose, indices, x.shape[0])
    scales = (
        x.new_ones(size, dtype=wide) if scale is None else scale.to(wide)
        for scale, size in (numbers["src_scale"], numbers["dst_scale"])
    )
    table = x.reshape(x.shape[0], 1, x.shape[1:].numel())
    weight = None if values is None else values.to(wide).unsqueeze(-1)
    out: Tensor = scaled_op(indptr, indices, table, weight, *scales, *(transpose or (None, None, None)))
    # see spmm: the base is forgotten here
    result: Tensor = torch.ops.aten._unsafe_view(out, (indptr.shape[0] - 1, *x.shape[1:]))
    return result


@operation("gnnkit::spmm_scaled", gradient=True)
def scaled_op(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    values: Tensor | None,
    src_scale: Tensor,
    dst_scale: Tensor,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
) -> Tensor:
    out: Tensor = backend(x).spmm_scaled(indptr, indices, x, values, src_scale, dst_scale)
    return out


@fake(scaled_op)
def _(indptr: Tensor, indices: Tensor, x: Tensor, *_: Tensor | None) -> Tensor:
    return x.new_empty(indptr.shape[0] - 1, *x.shape[1:])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, indices, x, values, src_scale, dst_scale, *transpose = inputs
    ctx.num_src = x.shape[0]
    # x is looked at for the gradients of numbers alone
    keep_x = x if any(ctx.needs_input_grad[3:6]) else None
    ctx.save_for_backward(indptr, indices, keep_x, values, src_scale, dst_scale, *transpose)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, x, values, src_scale, dst_scale, *transpose = ctx.saved_tensors
    _, _, to_x, to_values, to_src, to_dst, *_ = ctx.needs_input_grad
    dx = dvalues = dsrc = ddst = None
    if to_x or to_src:
        t_indptr, t_indices, t_perm = transpose = full_transpose(indptr, indices, transpose, ctx.num_src)
        reverse = t_indptr, t_indices, grad, None if values is None else values.index_select(0, t_perm), dst_scale
        if to_x:
            dx = scaled_op(*reverse, src_scale, None, None, None)
        if to_src:
            dsrc = _dots(x, scaled_op(*reverse, torch.ones_like(src_scale), None, None, None))
    if to_dst:
        unscaled = scaled_op(indptr, indices, x, values, src_scale, torch.ones_like(dst_scale), *transpose)
        ddst = _dots(grad, unscaled)
    if to_values:
        ends = (rows.to(s.dtype) * s.view(-1, 1, 1) for rows, s in ((grad, dst_scale), (x, src_scale)))
        dvalues = sddmm_op(indptr, indices, *ends, *transpose)
    return None, None, dx, dvalues, dsrc, ddst, None, None, None


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """Multiply the rows of two tables: ``[N]``, of 16-bit rows in float32."""
    wide = torch.float32 if a.dtype in _check.HALF_DTYPES else a.dtype
    return (a.to(wide) * b.to(wide)).sum((1, 2))


torch.library.register_autograd(scaled_op, _backward, setup_context=_setup)
