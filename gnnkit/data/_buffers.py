"""Buffers: host memory that batches share one after the other, each piece used again once no tensor refers to it."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Piece = np.ndarray[tuple[int], np.dtype[np.uint8]]

_ALIGNMENT = 128  # bytes: whole cache lines, and whole requests of a GPU
_SMALLEST = 4096  # bytes: below, the allocator's own lists are as good


def _references(pieces: Sequence[object], k: int) -> int:
    return sys.getrefcount(pieces[k])


_FREE = _references([object()], 0)  # of what a list holds and nothing else


class Buffers:
    """A pool of host memory for rows of features.

    Fresh pages cost more than the gather that fills them, so a batch takes memory that an earlier one has left. A piece
    is free when nothing refers to it: the tensor given out, its views and what autograd saved of it all hold the one
    NumPy array below them, whose reference count is asked. So a batch may be kept for as long as one likes; the pool
    then makes new memory.

    Cost: the memory of as many batches as were alive at once, until the pool is dropped. Pieces are powers of two; of
    what is not written the system makes no pages. Any thread may take.

    Args:
        keep: How many free pieces of a size are kept at most; the rest goes back to the system.
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self.pieces: dict[int, list[Piece]] = {}  # by size in bytes
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def take(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor on the CPU, nobody else's for as long as it or a view of it lives."""
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes < _SMALLEST:
            return torch.empty(tuple(shape), dtype=dtype)
        if self._pid != os.getpid():  # a fork's copy of the lock may be held for ever by a thread that it has not
            self._lock, self.pieces, self._pid = threading.Lock(), {}, os.getpid()
        with self._lock:
            piece = self._free_piece(1 << (num_bytes + _ALIGNMENT - 1).bit_length())
            offset = -piece.ctypes.data % _ALIGNMENT
            # the view keeps the piece in use: made under the lock
            view = torch.from_numpy(piece[offset : offset + num_bytes])
        return view.view(dtype).view(tuple(shape))

    def _free_piece(self, size: int) -> Piece:
        """A piece of that size that nothing refers to, or a new one."""
        pieces = self.pieces.setdefault(size, [])
        for k in _free(pieces):
            return pieces[k]
        for others in self.pieces.values():  # batches change: do not keep all sizes that ever were
            for k in reversed(_free(others)[self.keep :]):
                del others[k]
        pieces.append(np.empty(size, dtype=np.uint8))
        return pieces[-1]

    def __getstate__(self) -> dict[str, int]:
        return {"keep": self.keep}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _free(pieces: Sequence[Piece]) -> list[int]:
    """Which pieces nothing refers to."""
    return [k for k in range(len(pieces)) if _references(pieces, k) == _FREE]
