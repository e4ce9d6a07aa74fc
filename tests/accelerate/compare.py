"""How near accelerated layers come to plain ones."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def distance(actual: Tensor, expected: Tensor) -> float:
    """The largest error, relative to the tensor's own size where that exceeds 1."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    finite = expected[expected.isfinite()].abs()
    error = (actual - expected).abs().masked_fill(same, 0)
    return float(error.max() / finite.max().clamp(min=1)) if finite.numel() else float(error.sum())
