"""Rows of a file, by many threads that wait for the disk at once: through the page cache, or past it."""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gnnkit.kernels._loops_disk import read_pages, read_rows
from gnnkit.kernels._threads import run

PAGE = mmap.PAGESIZE
ROOM = 64  # pages that one direct read may take
_LEAST_ROWS = 4  # of a part: a thread costs as much as this many reads of the page cache

_buffers = threading.local()  # of direct reads, one a thread


class Descriptor:
    """An open file, closed when nobody holds it any more: a read that has begun holds it."""

    def __init__(self, path: Path, flags: int = 0) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        weakref.finalize(self, os.close, self.number)

    def state(self) -> tuple[int, int]:
        """Size in bytes and time of the last change: what tells that somebody wrote to the file."""
        status = os.fstat(self.number)
        return status.st_size, status.st_mtime_ns


class DiskRows:
    """Rows of ``row_bytes`` each, standing one after the other from byte ``begin`` of a file.

    Args:
        file: Read through the page cache.
        direct: The same file opened with ``O_DIRECT``, past the page cache; None to read through it.
        queue_depth: How many reads may wait at once.
    """

    def __init__(
        self, file: Descriptor, direct: Descriptor | None, begin: int, row_bytes: int, queue_depth: int
    ) -> None:
        self.file, self.direct = file, direct
        self.begin, self.row_bytes, self.queue_depth = begin, row_bytes, queue_depth
        # no reading ahead: the next row is somewhere else
        os.posix_fadvise(file.number, 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, ids: Tensor, out: Tensor) -> None:
        """Read rows ``ids [K]``, valid ones, into ``out``, contiguous and of K rows.

        Raises:
            OSError: The disk failed.
            ValueError: The file ended before a row did.
        """
        if out.numel() == 0:
            return
        ids = ids.to(torch.int64).contiguous()
        if self.direct is None:
            order = None
            status = self._run(_plain, ids, self.file.number, self.begin, self.row_bytes, ids, out.data_ptr())
        else:
            ids, order = ids.sort()
            room = max(ROOM, (self.row_bytes - 1) // PAGE + 2)
            where = self.direct.number, self.begin, self.row_bytes
            status = self._run(_by_pages, ids, *where, ids, order, out.data_ptr(), room)
        if status:
            self._read_again(ids, out, order)

    def _run(self, part: Callable[..., int], ids: Tensor, *args: object) -> int:
        parts = min(4 * self.queue_depth, -(-len(ids) // _LEAST_ROWS))
        bounds = [len(ids) * i // parts for i in range(parts + 1)]
        return run(part, bounds, *args, threads=self.queue_depth)

    def _read_again(self, ids: Tensor, out: Tensor, order: Tensor | None) -> None:
        """Say why a row cannot be read; where it was for a moment only, nothing is wrong."""
        target = out.view(-1).view(torch.uint8).numpy().data
        for k, row in enumerate(ids.tolist()):
            place, got = self.begin + row * self.row_bytes, 0
            slot = (k if order is None else int(order[k])) * self.row_bytes
            while got < self.row_bytes:
                count = os.preadv(self.file.number, [target[slot + got : slot + self.row_bytes]], place + got)
                if count == 0:
                    size = self.file.state()[0]
                    raise ValueError(
                        f"file: expected row {row} to end at byte {place + self.row_bytes} (got {size} bytes)"
                    )
                got += count


def _plain(low: int, high: int, fd: int, begin: int, row_bytes: int, ids: Tensor, out: int) -> int:
    return int(read_rows(low, high, fd, begin, row_bytes, ids.numpy(), out))


def _by_pages(
    low: int, high: int, fd: int, begin: int, row_bytes: int, ids: Tensor, order: Tensor, out: int, room: int
) -> int:
    buffer = _buffer(room * PAGE)
    return int(read_pages(low, high, fd, begin, row_bytes, PAGE, ids.numpy(), order.numpy(), out, buffer, room))


def _buffer(nbytes: int) -> int:
    """The address of this thread's buffer, of at least so many bytes, on a page's boundary as O_DIRECT wants it."""
    kept = getattr(_buffers, "kept", None)
    if kept is None or len(kept) < nbytes + PAGE:
        kept = _buffers.kept = torch.empty(nbytes + PAGE, dtype=torch.uint8)
    return int(-(-kept.data_ptr() // PAGE) * PAGE)


def predicted_read_bytes(ids: Tensor, row_bytes: int, begin: int = 0, page: int = PAGE) -> int:
    """Bytes that a disk gives for rows ``ids``: the pages that they lie in, each once, times ``page``; O(K log K)."""
    rows: Tensor = torch.unique(ids.to(torch.int64))
    if len(rows) == 0 or row_bytes == 0:
        return 0
    first = (begin + rows * row_bytes).div(page, rounding_mode="floor")
    last = (begin + (rows + 1) * row_bytes - 1).div(page, rounding_mode="floor")
    shared = first[1:] == last[:-1]  # with the row before: rows ascend
    return int(((last - first + 1).sum() - shared.sum()) * page)
