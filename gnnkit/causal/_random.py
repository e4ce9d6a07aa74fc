"""Random numbers of one seed, drawn from the global generators and given back as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of torch (CPU) and NumPy within the block; they go on undisturbed after it.

    PyG's layers and generators of graphs draw from these and take no generator.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected a whole number in [0, 2^32) (got {seed!r})")
    before = np.random.get_state()  # noqa: NPY002 (PyG draws from the global one)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))  # torch.manual_seed would seed GPUs too
        np.random.seed(int(seed))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
