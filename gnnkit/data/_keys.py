"""The key of random draws: a seed, or a number from PyTorch's default generator."""

from __future__ import annotations

import torch


def random_key(seed: int | None, generator: torch.Generator | None = None, name: str = "seed") -> int:
    """Return the seed, or where it is None a number from a generator, PyTorch's own by default.

    Raises:
        ValueError: The seed is no whole number.
    """
    if seed is None:
        return int(torch.empty((), dtype=torch.int64).random_(generator=generator))
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"{name}: expected a whole number or None (got {seed!r})")
    return seed
