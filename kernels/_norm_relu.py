"""norm_relu: bias, LayerNorm, dropout and ReLU of rows in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check, _torch_dense
from gnnkit.kernels._backend import backend
from gnnkit.kernels._register import fake, operation


def norm_relu(
    x: Tensor,
    bias: Tensor | None = None,
    weight: Tensor | None = None,
    shift: Tensor | None = None,
    *,
    eps: float = 1e-5,
    dropout: float = 0.0,
    seed: int = 0,
    inplace: bool = False,
) -> Tensor:
    r"""Add a bias, normalise each row, drop elements at random, and leave what is above 0: what follows a linear map.

    .. math:: out = relu(dropout(LayerNorm(x + bias))), \quad
        LayerNorm(y) = weight \, (y - mean(y)) \, (var(y) + eps)^{-1/2} + shift

    with mean and variance over a row's D elements, without LayerNorm where there is no ``weight``. PyTorch makes six
    passes over memory of it on a CPU, of which drawing the mask is the longest; here a row stays in the cache. Whether
    an element is dropped is a hash of ``seed``, row and column: the same on every backend, and none is kept for the
    gradient, which is that of all four tensors.

    Cost: a read of x and a write, and again in the backward pass, which reads x, the result and its gradient. Meant for
    CPUs: tensors elsewhere are served by the PyTorch reference.

    Args:
        x: ``[P, D]`` float32 or float64.
        bias: ``[D]``, or None for zeros.
        weight: ``[D]``, LayerNorm's; None for no LayerNorm.
        shift: ``[D]``, LayerNorm's bias; given if and only if ``weight`` is.
        eps: LayerNorm's.
        dropout: The probability of dropping an element, rounded to a multiple of 2^-32; others are scaled.
        seed: Of the mask; below 2^63.
        inplace: Write over x where that saves memory; only where no gradient is recorded, and what is added to x or
            multiplied with it lies elsewhere.

    Returns:
        ``[P, D]``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, or a number is out of range.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import norm_relu
        >>> x, ones, zeros = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(3), torch.zeros(3)
        >>> norm_relu(x, None, ones, zeros).round(decimals=2).tolist()
        [[0.0, 0.0, 1.220...]]
    """
    _check.float_tensor("x", x, (2,))
    if (weight is None) != (shift is None):
        raise ValueError("weight and shift: expected both or none (got one)")
    for name, row in (("bias", bias), ("weight", weight), ("shift", shift)):
        if row is not None:
            _check.shaped(name, row, [x.shape[1]], (x.dtype,))
    _check.same("x, bias, weight and shift", x, bias, weight, shift)
    for name, number, least, most in (("eps", eps, 0.0, float("inf")), ("dropout", dropout, 0.0, 1.0)):
        if not isinstance(number, int | float) or not least <= number < most:
            raise ValueError(f"{name}: expected a number in [{least:g}, {most:g}) (got {number!r})")
    _check.count("seed", seed)
    drop = min(round(dropout * _torch_dense.STEPS), _torch_dense.STEPS - 1)
    if inplace and not torch.compiler.is_compiling():  # which uses memory again by itself
        _check_writable(x, {"bias": bias, "weight": weight, "shift": shift})
        written: Tensor = backend(x).norm_relu(x, bias, weight, shift, float(eps), drop, seed, True)
        if written is x:
            torch.autograd.graph.increment_version(x)  # whoever saved x for a gradient is told
        return written
    out: Tensor = norm_relu_op(x, bias, weight, shift, float(eps), drop, seed)
    return out


def _check_writable(x: Tensor, rows: dict[str, Tensor | None]) -> None:
    given = {name: row for name, row in rows.items() if row is not None}
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *given.values())):
        raise ValueError("inplace: expected no gradient to be recorded (got tensors that need one)")
    for name, row in given.items():
        if row.numel() and row.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            raise ValueError(f"inplace: expected x to share no memory with {name} (got two views of one storage)")


@operation("gnnkit::norm_relu", gradient=True)
def norm_relu_op(
    x: Tensor, bias: Tensor | None, weight: Tensor | None, shift: Tensor | None, eps: float, drop: int, seed: int
) -> Tensor:
    out: Tensor = backend(x).norm_relu(x, bias, weight, shift, eps, drop, seed)
    return out


@fake(norm_relu_op)
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@operation("gnnkit::norm_relu_backward", gradient=False)
def backward_op(
    x: Tensor, out: Tensor, grad: Tensor, bias: Tensor | None, weight: Tensor | None, eps: float, drop: int
) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = backend(x).norm_relu_backward(x, out, grad, bias, weight, eps, drop)
    return found


@fake(backward_op)
def _(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(3, x.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, bias, weight, _, ctx.eps, ctx.drop, _ = inputs
    ctx.save_for_backward(x, output, bias, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, out, bias, weight = ctx.saved_tensors
    # one pass, unless the gradient will be differentiated again: then by operations that have one
    gradient = _torch_dense.norm_relu_backward if torch.is_grad_enabled() else backward_op
    dx, rows = gradient(x, out, grad, bias, weight, ctx.eps, ctx.drop)
    wanted = ctx.needs_input_grad
    return (
        dx if wanted[0] else None,
        *(row if wanted[1 + k] else None for k, row in enumerate(rows)),
        None,
        None,
        None,
    )


torch.library.register_autograd(norm_relu_op, _backward, setup_context=_setup)
