"""Graphs that kernels trip over: nothing at all, rows without entries, one row with every entry, a power law."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SMALL_CHUNK = 24  # entries of which a row with more is a hub
GRAPHS = ("no rows", "no edges", "sparse", "one hub", "skewed")


@dataclass(frozen=True)
class Graph:
    """A CSR sorted by destination."""

    indptr: Tensor  # [num_dst + 1] int64
    indices: Tensor  # [E] int32
    num_src: int

    @property
    def num_dst(self) -> int:
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        return len(self.indices)


def make(kind: str) -> Graph:
    """Make one of `GRAPHS`."""
    draw = torch.Generator().manual_seed(3)
    degrees = {
        "no rows": [],
        "no edges": [0, 0, 0],
        "sparse": [0, 1, 0, 0, 3, 2, 0],
        "one hub": [0, 0, 10 * SMALL_CHUNK, 0],
        # hubs that end and begin within one chunk, one of exactly a chunk, one of a chunk and one more
        "skewed": [2, 60, 40, 0, SMALL_CHUNK, SMALL_CHUNK + 1, 1, 1, 0, 130, 3, 0],
    }[kind]
    num_src = 0 if kind == "no rows" else 11
    indptr = torch.tensor([0, *degrees]).cumsum(0)
    indices = torch.randint(max(num_src, 1), (int(indptr[-1]),), generator=draw, dtype=torch.int32)
    return Graph(indptr, indices, num_src)


def numbers(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Draw numbers with ties: multiples of 1/8 near 0, exactly held by every dtype."""
    draw = torch.Generator().manual_seed(seed)
    return (torch.randint(-16, 17, shape, generator=draw) / 8).to(dtype)


def reals(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Draw normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
