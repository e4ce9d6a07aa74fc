"""SplitMix64's finaliser in PyTorch: int64 tensors whose bits are unsigned numbers, modulo 2^64."""

from __future__ import annotations

from torch import Tensor

GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number


def shift(z: Tensor, bits: int) -> Tensor:
    """``z >> bits`` of unsigned numbers."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # torch shifts the sign in


def mix(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64, of int64 whose bits are an unsigned number's."""
    for bits, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        z = (z ^ shift(z, bits)) * factor
    return z ^ shift(z, 31)
