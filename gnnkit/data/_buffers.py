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

    Cost: the memory of as many batches as were alive at once, until the pool is dropped. Any thread may take.

    Args:
        keep: How many free pieces are kept at most; the rest is given back to the system.
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self._pieces: list[np.ndarray[tuple[int], np.dtype[np.uint8]]] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def take(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor on the CPU, nobody else's for as long as it or a view of it lives."""
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes < _SMALLEST:
            return torch.empty(tuple(shape), dtype=dtype)
        if self._pid != os.getpid():  # a fork's copy of the lock may be held for ever by a thread that it has not
            self._lock, self._pieces, self._pid = threading.Lock(), [], os.getpid()
        with self._lock:
            piece = self._free_piece(num_bytes)
            offset = -piece.ctypes.data % _ALIGNMENT
            # the view keeps the piece in use: made under the lock
            view = torch.from_numpy(piece[offset : offset + num_bytes])
        return view.view(dtype).view(tuple(shape))

    def _free_piece(self, num_bytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """The smallest free piece that is large enough, or a new one in place of those that are not."""
        free = [k for k in range(len(self._pieces)) if _references(self._pieces, k) == _FREE]
        fits = [k for k in free if len(self._pieces[k]) >= num_bytes + _ALIGNMENT]
        if fits:
            return self._pieces[min(fits, key=lambda k: len(self._pieces[k]))]
        if len(free) >= self.keep:  # all too small: batches have grown
            for k in reversed(free):
                del self._pieces[k]
        # an eighth more, since the next batch is seldom of the same size
        piece = np.empty(num_bytes + num_bytes // 8 + _ALIGNMENT, dtype=np.uint8)
        self._pieces.append(piece)
        return piece

    def __getstate__(self) -> dict[str, int]:
        return {"keep": self.keep}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]
