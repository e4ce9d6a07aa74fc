"""segment_softmax: softmax over the edges of each destination."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend
from gnnkit.kernels._register import fake, operation
from gnnkit.kernels._segment_reduce import segment_reduce


def segment_softmax(logits: Tensor, indptr: Tensor) -> Tensor:
    r"""Normalise the logits of each destination's edges.

    .. math:: out_e = \exp(l_e - \max_{row(i)} l) \, / \, \sum_{e' \in row(i)} \exp(l_{e'} - \max_{row(i)} l)

    Differs from PyG's ``softmax`` by the 1e-16 that PyG adds to the denominator, which is at least 1.
    A row that holds a NaN, or nothing but -inf, gives NaN, as ``torch.softmax`` does.

    Args:
        logits: ``[E]`` or ``[E, H]``, float32, float64, bfloat16 or float16 (computed in float32), in CSR order.
        indptr: ``[N_dst + 1]`` int32 or int64, from 0 to E.

    Returns:
        The shape of ``logits``.

    Raises:
        ValueError: ``indptr`` decreases or does not run from 0 to E, or shapes and dtypes do not fit.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import segment_softmax
        >>> segment_softmax(torch.tensor([0.0, 0.0, 7.0]), torch.tensor([0, 2, 3])).tolist()
        [0.5, 0.5, 1.0]
    """
    _check.float_tensor("logits", logits, (1, 2), half=True)
    _check.csr_shapes(indptr, indptr)
    _check.same("logits and indptr", logits, indptr, dtype=False)
    out: Tensor = softmax_op(logits.unsqueeze(-1) if logits.dim() == 1 else logits, indptr)
    return out.squeeze(-1) if logits.dim() == 1 else out


@operation("gnnkit::segment_softmax", gradient=True)
def softmax_op(logits: Tensor, indptr: Tensor) -> Tensor:
    out: Tensor = backend(logits).segment_softmax(logits, indptr)
    return out


@fake(softmax_op)
def _(logits: Tensor, indptr: Tensor) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, inputs[1])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    out, indptr = ctx.saved_tensors
    # d l_e = out_e (grad_e - sum over the row of out * grad)
    if not torch.is_grad_enabled():  # nobody will differentiate this again: one pass
        dlogits: Tensor = softmax_backward_op(out, grad, indptr)
        return dlogits, None
    weighted = out * grad  # [E, H]
    row_sum = segment_reduce(weighted, indptr)  # [N_dst, H]
    spread = row_sum.repeat_interleave(indptr.diff(), dim=0, output_size=out.shape[0])
    return weighted - out * spread, None


@operation("gnnkit::segment_softmax_backward", gradient=False)
def softmax_backward_op(out: Tensor, grad: Tensor, indptr: Tensor) -> Tensor:
    """Return the gradient of the logits; it has no gradient of its own."""
    dlogits: Tensor = backend(out).segment_softmax_backward(out, grad, indptr)
    return dlogits


@fake(softmax_backward_op)
def _(out: Tensor, grad: Tensor, indptr: Tensor) -> Tensor:
    return out.new_empty(out.shape)


torch.library.register_autograd(softmax_op, _backward, setup_context=_setup)
