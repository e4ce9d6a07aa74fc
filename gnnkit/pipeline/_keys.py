"""Random numbers that depend on where they are drawn, not on who draws them or when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

BEFORE, INTERIOR, BOUNDARY, AFTER, BOUNDARY_AFTER = range(5)  # phases of a hop

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def key(*parts: int) -> int:
    """Mix whole numbers into one of 64 bits: s = 0, then s = mix(s + (part + 1) * golden) for each part.

    ``mix`` is the finaliser of SplitMix64 and golden 0x9E3779B97F4A7C15, all modulo 2^64.
    """
    state = 0
    for part in parts:
        state = (state + (part + 1) * _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class Keyed:
    """Seeds torch's default generators before every piece of work, by what the work is.

    The parts of a key are (seed, epoch, layer, chunk, way, phase). Layer 0 is a network's row-wise first part, 1 … L
    its hops, L + 1 its last part; the phases of a hop are before (0), the aggregation of rows whose neighbours are all
    at hand (1), that of rows which wait for other ways (2), and after, for the ones (3) and the others (4); a row-wise
    part is phase 0.

    Args:
        seed: The run's.
        device: Whose generator is seeded beside the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.epoch = seed, 0
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]
            index = torch.cuda.current_device() if device.index is None else device.index
            self._generators.append(torch.cuda.default_generators[index])

    def at(self, layer: int, chunk: int, way: int, phase: int) -> None:
        """Seed the generators for a piece of work of the epoch at hand."""
        number = key(self.seed, self.epoch, layer, chunk, way, phase)
        for generator in self._generators:
            generator.manual_seed(number)

    @contextmanager
    def leave_alone(self) -> Iterator[None]:
        """Give the generators back as they were: users' own random numbers go on undisturbed."""
        states: list[Any] = [generator.get_state() for generator in self._generators]
        try:
            yield
        finally:
            for generator, state in zip(self._generators, states, strict=True):
                generator.set_state(state)
