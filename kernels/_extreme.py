"""The gradient of max and min: masked products, closed under differentiation.

With messages m_e = w_e x_src and out_i their extreme, PyG (PyTorch's ``scatter_reduce``) gives every tied
message the share grad_i / n_i, where n_i counts the ties, and one more where out_i is exactly 0.
"""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels._backend import backend
from gnnkit.kernels._csr import Transpose, full_transpose
from gnnkit.kernels._register import fake, operation


def extreme_backward(
    ctx: Any,
    grad: Tensor,
    indptr: Tensor,
    indices: Tensor,
    transpose: Transpose,
    x: Tensor,
    values: Tensor | None,
    out: Tensor,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `spmm` with max or min with respect to ``x`` and ``values``."""
    # which message wins does not vary with an infinitesimal step: the mask is a constant of the graph
    mask = x.detach(), out.detach(), None if values is None else values.detach()
    share = grad / ties_op(indptr, indices, mask[0], mask[2], mask[1])  # [N_dst, H, D]
    dx = dvalues = None
    if ctx.needs_input_grad[2]:
        dx = masked_spmm_op(indptr, indices, *transpose, share, values, *mask, True)
    if values is not None and ctx.needs_input_grad[3]:
        dvalues = masked_sddmm_op(indptr, indices, *transpose, share, x, *mask)
    return dx, dvalues


@operation("gnnkit::extreme_ties", gradient=False)
def ties_op(indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, extreme: Tensor) -> Tensor:
    out: Tensor = backend(x).extreme_ties(indptr, indices, x, weight, extreme)
    return out


@fake(ties_op)
def _(indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, extreme: Tensor) -> Tensor:
    return extreme.new_empty(extreme.shape)


@operation("gnnkit::masked_spmm", gradient=True)
def masked_spmm_op(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
    z: Tensor,
    values: Tensor | None,
    x: Tensor,
    extreme: Tensor,
    weight: Tensor | None,
    to_src: bool,
) -> Tensor:
    """Sum ``values * z`` over the winning messages, towards the sources or the destinations."""
    csr, order = (indptr, indices), None
    if to_src:
        assert t_indptr is not None
        assert t_indices is not None
        csr, order = (t_indptr, t_indices), t_perm
    carried = (v if v is None or order is None else v.index_select(0, order) for v in (values, weight))
    multiplier, mask_weight = carried
    out: Tensor = backend(z).spmm_masked(*csr, z, multiplier, x, extreme, mask_weight, to_src)
    return out


@fake(masked_spmm_op)
def _(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
    z: Tensor,
    values: Tensor | None,
    x: Tensor,
    extreme: Tensor,
    weight: Tensor | None,
    to_src: bool,
) -> Tensor:
    return z.new_empty((x if to_src else extreme).shape)


@operation("gnnkit::masked_sddmm", gradient=True)
def masked_sddmm_op(
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
    a: Tensor,
    b: Tensor,
    x: Tensor,
    extreme: Tensor,
    weight: Tensor | None,
) -> Tensor:
    """For every edge, the product of its destination's row of ``a`` and its source's row of ``b`` where it wins."""
    out: Tensor = backend(a).sddmm_masked(indptr, indices, a, b, x, extreme, weight)
    return out


@fake(masked_sddmm_op)
def _(indptr: Tensor, indices: Tensor, t0: Any, t1: Any, t2: Any, a: Tensor, b: Tensor, *_: Any) -> Tensor:
    return a.new_empty(indices.shape[0], a.shape[1])


def _spmm_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.to_src = inputs
    ctx.save_for_backward(*tensors)


def _spmm_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, t0, t1, t2, z, values, *mask = ctx.saved_tensors
    transpose = full_transpose(indptr, indices, (t0, t1, t2), mask[0].shape[0])
    dz = dvalues = None
    if ctx.needs_input_grad[5]:
        dz = masked_spmm_op(indptr, indices, *transpose, grad, values, *mask, not ctx.to_src)
    if values is not None and ctx.needs_input_grad[6]:
        a, b = (z, grad) if ctx.to_src else (grad, z)
        dvalues = masked_sddmm_op(indptr, indices, *transpose, a, b, *mask)
    return None, None, None, None, None, dz, dvalues, None, None, None, None


def _sddmm_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _sddmm_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, t0, t1, t2, a, b, *mask = ctx.saved_tensors
    transpose = full_transpose(indptr, indices, (t0, t1, t2), mask[0].shape[0])
    da = db = None
    if ctx.needs_input_grad[5]:
        da = masked_spmm_op(indptr, indices, *transpose, b, grad, *mask, False)
    if ctx.needs_input_grad[6]:
        db = masked_spmm_op(indptr, indices, *transpose, a, grad, *mask, True)
    return None, None, None, None, None, da, db, None, None, None


torch.library.register_autograd(masked_spmm_op, _spmm_backward, setup_context=_spmm_setup)
torch.library.register_autograd(masked_sddmm_op, _sddmm_backward, setup_context=_sddmm_setup)
