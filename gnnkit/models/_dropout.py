"""Dropout whose random numbers have 16 bits: a float for each element takes a third of a training step on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 2**16


class Dropout(nn.Dropout):
    """PyTorch's ``Dropout``, faster on CPU, with the rate rounded to a multiple of 2^-16.

    What is left is scaled by the rounded rate, so means are exact. Four elements share one draw of 64 bits from
    PyTorch's generator.

    Example:
        >>> import torch
        >>> from gnnkit.models._dropout import Dropout
        >>> sorted(set(Dropout(0.5)(torch.ones(100)).tolist()))
        [0.0, 2.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Set elements to zero at random, in training."""
        return dropout(x, self.p, self.inplace) if self.training else x


def dropout(x: Tensor, rate: float, inplace: bool = False) -> Tensor:
    """Set elements to zero with probability ``rate`` and scale the others, so that the mean stays."""
    steps = _steps(rate)
    if steps == 0:
        return x
    scales = keep_at_random(x.shape, rate, x.device).to(x.dtype).mul_(STEPS / (STEPS - steps))
    return x.mul_(scales) if inplace else x * scales


def keep_at_random(shape: torch.Size, rate: float, device: torch.device) -> Tensor:
    """Bools, each False with probability ``rate``."""
    words = torch.empty((shape.numel() + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None)
    return words.view(torch.int16)[: shape.numel()].view(shape) >= _steps(rate) - STEPS // 2


def _steps(rate: float) -> int:
    return min(round(rate * STEPS), STEPS - 1)
