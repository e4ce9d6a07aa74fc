"""sddmm: one product of two rows for every edge."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend
from gnnkit.kernels._csr import Transpose, full_transpose
from gnnkit.kernels._register import fake, operation


def sddmm(indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor, *, transpose: Transpose | None = None) -> Tensor:
    r"""Multiply the rows at the two ends of every edge (sampled dense-dense matrix product).

    .. math:: out_e = a_i \cdot b_{indices_e}, \quad e \in row(i)

    Costs :math:`2 E D` reads and no memory beyond the output. Deterministic on CPU.

    Args:
        indptr: ``[N_dst + 1]`` int32 or int64.
        indices: ``[E]`` int32 or int64, the source of each edge.
        a: ``[N_dst, D]`` or ``[N_dst, H, D]``, rows of the destinations; float32, float64, bfloat16
            or float16 (added up in float32).
        b: ``[N_src, D]`` or ``[N_src, H, D]``: rows of the sources.
        transpose: As in `spmm`; serves the gradient with respect to ``b``, which builds it when None.

    Returns:
        ``[E]`` or ``[E, H]``, in CSR order.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, or the CSR is invalid.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import sddmm
        >>> a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])
        >>> sddmm(torch.tensor([0, 2]), torch.tensor([1, 0]), a, b).tolist()
        [17.0, 11.0]
    """
    _check.csr_shapes(indptr, indices)
    _check.float_tensor("a", a, (2, 3), half=True)
    _check.float_tensor("b", b, (2, 3), half=True)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"b: expected rows of shape {list(a.shape[1:])}, as in a (got {list(b.shape[1:])})")
    if a.shape[0] != indptr.shape[0] - 1:
        raise ValueError(f"a: expected N_dst = {indptr.shape[0] - 1} rows (got {a.shape[0]})")
    _check.same("a and b", a, b)
    _check.same("indptr, indices, a and b", indptr, indices, a, b, dtype=False)
    if transpose is not None:
        _check.transposed(transpose, indices, b.shape[0])
    # [N, H, D]
    left, right = (t.unsqueeze(1) if t.dim() == 2 else t for t in (a, b))
    out: Tensor = sddmm_op(indptr, indices, left, right, *(transpose or (None, None, None)))
    return out.squeeze(1) if a.dim() == 2 else out


@operation("gnnkit::sddmm", gradient=True)
def sddmm_op(
    indptr: Tensor,
    indices: Tensor,
    a: Tensor,
    b: Tensor,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
) -> Tensor:
    out: Tensor = backend(a).sddmm(indptr, indices, a, b)
    return out


@fake(sddmm_op)
def _(indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor, *_: Tensor | None) -> Tensor:
    return a.new_empty(indices.shape[0], a.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    from gnnkit.kernels._spmm import spmm_op  # each is the other's gradient

    indptr, indices, a, b, *transpose = ctx.saved_tensors
    da = db = None
    if ctx.needs_input_grad[2]:
        da = spmm_op(indptr, indices, b, grad, "sum", *transpose)
    if ctx.needs_input_grad[3]:
        t_indptr, t_indices, t_perm = full_transpose(indptr, indices, transpose, b.shape[0])
        db = spmm_op(t_indptr, t_indices, a, grad.index_select(0, t_perm), "sum", None, None, None)
    return None, None, da, db, None, None, None


torch.library.register_autograd(sddmm_op, _backward, setup_context=_setup)
