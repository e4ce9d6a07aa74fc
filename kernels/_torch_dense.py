"""The reference of `norm_relu`."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels._mix import GOLDEN, mix, shift

STEPS = 2**32  # of the rate of dropout
_LOW = STEPS - 1


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
    """``relu(dropout(layer_norm(x + bias)))``; ``inplace`` is a licence to write over x, of which no use is made."""
    y = x if bias is None else x + bias
    if weight is not None:
        y = torch.nn.functional.layer_norm(y, y.shape[1:], weight, shift, eps)
    y = y.relu()
    out = torch.where(kept(x, drop, seed), y * scale(drop), 0) if drop else y
    return out.contiguous()


def norm_relu_backward(
    x: Tensor, out: Tensor, grad: Tensor, bias: Tensor | None, weight: Tensor | None, eps: float, drop: int
) -> tuple[Tensor, Tensor]:
    """The gradient of x, and those of bias, weight and shift as the rows of one tensor."""
    g = torch.where(out <= 0, 0, grad * scale(drop)).contiguous()  # a NaN hands gradients on, as PyTorch's ReLU does
    if weight is None:
        return g, torch.cat([g.sum(0, keepdim=True), g.new_zeros(2, g.shape[1])])
    y = x if bias is None else x + bias
    off = y - y.mean(1, keepdim=True)
    factor = (off.square().mean(1, keepdim=True) + eps).rsqrt()
    normed = off * factor
    d = g * weight
    dx = factor * (d - d.mean(1, keepdim=True) - normed * (d * normed).mean(1, keepdim=True))
    return dx.contiguous(), torch.stack([dx.sum(0), (g * normed).sum(0), g.sum(0)])


def kept(like: Tensor, drop: int, seed: int) -> Tensor:
    """Bools of a table's shape, False with probability ``drop / 2^32``: hashes of seed, row and column."""
    rows, columns = (torch.arange(size, device=like.device) for size in like.shape)
    key = mix(rows * GOLDEN + seed).unsqueeze(1)  # [P, 1]: 64 bits a row, the upper half enters midway
    # [P, D]: numbers of 32 bits in 64, so that products wrap as unsigned ones
    z = (columns * 0x9E3779B9 + key) & _LOW
    z = ((z ^ (z >> 16)) * 0x85EBCA6B) & _LOW
    z = (z ^ (z >> 13)) ^ shift(key, 32)
    z = (z * 0xC2B2AE35) & _LOW
    return (z ^ (z >> 16)) >= drop


def scale(drop: int) -> float:
    """What elements that stay are multiplied by."""
    return STEPS / (STEPS - drop)
