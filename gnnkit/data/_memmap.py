"""MemoryMapped: rows on disk."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zlib import crc32

import torch
from torch import Tensor

from gnnkit.data._disk import Descriptor, DiskRows, predicted_read_bytes
from gnnkit.data._memmap_format import BLOCK_BYTES, HEADER_BYTES, Header, check_blocks
from gnnkit.data._store import check_ids, output
from gnnkit.kernels._threads import run

_CHECKING_THREADS = 8


class MemoryMapped:
    """Rows of a file that `write_features` wrote, read when they are asked for: a table may be larger than memory.

    The rows are at fixed places of the file, as in a memory map, but are read by calls (pread), from as many threads as
    ``queue_depth``. A map would kill the process (SIGBUS) where the disk fails or somebody cuts the file short; a call
    gives an error. It also has the disk answer sooner (50,000 cold rows of 400 bytes by 32 threads: 0.68 s against
    0.72), and costs more where the rows are in the page cache already: about 1 µs a row against 0.1. Put a
    `gnnkit.data.Cached` before it, or use an `InMemory` where all fits.

    Nothing is read ahead: the disk gives the pages (4 KiB) that the rows lie in, each once, unless they are in the
    page cache; `predicted_read_bytes` counts them. With ``direct=True`` the page cache is neither used nor filled
    (O_DIRECT), which leaves memory to others and reads pages anew for every batch. Rows on the way to a GPU pass
    through host memory.

    A store may be pickled, by its path; it works in forked and spawned workers.

    Args:
        path: A file written by `write_features`.
        verify: Compare every block with its checksum before the first read, at the speed of the disk or at about 3 GB/s
            a thread. False checks the header, the list of checksums and the size alone: a flipped bit among the rows
            would then give wrong rows.
        direct: Read past the page cache.
        queue_depth: How many reads may wait for the disk at once.

    Raises:
        ValueError: The file is no finished table, is damaged or cut short, or was changed while it was open.
        OSError: The file cannot be opened or read; with ``direct``, its file system has no O_DIRECT.

    Example:
        >>> import torch
        >>> from gnnkit.data import MemoryMapped, write_features
        >>> shape = write_features("x.gnnkit", torch.arange(6.0).view(3, 2))
        >>> store = MemoryMapped("x.gnnkit")
        >>> store.read(torch.tensor([2, 0])).tolist(), store.shape, store.dtype
        ([[4.0, 5.0], [0.0, 1.0]], torch.Size([3, 2]), torch.float32)
        >>> store.predicted_read_bytes(torch.tensor([2, 0]))
        4096
    """

    def __init__(self, path: str | Path, *, verify: bool = True, direct: bool = False, queue_depth: int = 32) -> None:
        if not isinstance(queue_depth, int) or isinstance(queue_depth, bool) or queue_depth < 1:
            raise ValueError(f"queue_depth: expected a number of reads >= 1 (got {queue_depth!r})")
        self.path, self.queue_depth = Path(path), queue_depth
        file = Descriptor(self.path)
        self._state = file.state()
        self._header = Header.unpack(os.pread(file.number, HEADER_BYTES, 0), str(self.path))
        _check_content(file, self._header, str(self.path), verify)
        past = _past_the_cache(self.path, file) if direct else None
        if verify and direct:
            os.posix_fadvise(file.number, 0, 0, os.POSIX_FADV_DONTNEED)
        self._rows: DiskRows | None = DiskRows(file, past, HEADER_BYTES, self._header.row_bytes, queue_depth)

    @property
    def shape(self) -> torch.Size:
        """``[N, D, …]``."""
        return self._header.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers."""
        return self._header.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `gnnkit.data.FeatureStore.read`; several threads may read at once."""
        rows = self._open()
        check_ids(ids, self.shape[0])
        out = output(self, ids, out)
        target = out if out.device.type == "cpu" else torch.empty(out.shape, dtype=out.dtype)
        rows.read(ids.cpu(), target)
        if rows.file.state() != self._state:
            raise ValueError(f"{self.path}: expected the file as it was when it was opened (got one changed since)")
        return out if target is out else out.copy_(target)

    def predicted_read_bytes(self, ids: Tensor) -> int:
        """Bytes that the disk gives for a batch, none of which is in the page cache: pages touched, each once.

        ``|{page : some row of ids lies in it}| · 4096``, exact with ``direct``, where a page is that large. O(K log K).
        """
        check_ids(ids, self.shape[0])
        return predicted_read_bytes(ids.cpu(), self._header.row_bytes, HEADER_BYTES)

    def drop_cache(self) -> None:
        """Let the page cache forget the file, so that the next reads go to the disk."""
        os.posix_fadvise(self._open().file.number, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the file, after the reads that have begun; a second call does nothing."""
        self._rows = None

    def _open(self) -> DiskRows:
        rows = self._rows
        if rows is None:
            raise ValueError(f"{self.path}: expected an open store (got a closed one)")
        return rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        rows = self._open()
        return _reopen, (type(self), self.path.absolute(), rows.direct is not None, self.queue_depth, self._header)

    def __repr__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"{type(self).__name__}({str(self.path)!r}, {kind}, {list(self.shape)})"


def _reopen(kind: type[MemoryMapped], path: Path, direct: bool, queue_depth: int, header: Header) -> MemoryMapped:
    """Open what another process has verified, if it is still the same content."""
    store = kind(path, verify=False, direct=direct, queue_depth=queue_depth)
    if store._header != header:
        raise ValueError(f"{path}: expected the table that was pickled (got another)")
    return store


def _past_the_cache(path: Path, file: Descriptor) -> Descriptor:
    try:
        past = Descriptor(path, os.O_DIRECT)
    except OSError as error:
        what = f"direct: expected a file system with O_DIRECT under {path} (got {error.strerror})"
        raise OSError(error.errno, what) from error
    if not os.path.sameopenfile(past.number, file.number):
        raise ValueError(f"{path}: expected the file that was checked (got one that replaced it meanwhile)")
    return past


def _check_content(file: Descriptor, header: Header, what: str, verify: bool) -> None:
    size = file.state()[0]
    if size != header.file_bytes:
        raise ValueError(f"{what}: expected {header.file_bytes} bytes for shape {list(header.shape)} (got {size})")
    listed = os.pread(file.number, 4 * header.num_blocks, HEADER_BYTES + header.data_bytes)
    if crc32(listed) != header.checksums:
        raise ValueError(f"{what}: expected the list of checksums it was written with (got another)")
    if not verify:
        return
    bounds = list(range(header.num_blocks + 1))
    # each block a part of its own: what a thread reads last, others need not wait for
    bad = run(
        check_blocks, bounds, header, lambda n, at: os.pread(file.number, n, at), listed, threads=_CHECKING_THREADS
    )
    if bad:
        begin = (bad - 1) * BLOCK_BYTES // header.row_bytes
        end = min(bad * BLOCK_BYTES - 1, header.data_bytes - 1) // header.row_bytes
        raise ValueError(
            f"{what}: expected rows {begin} to {end} with the checksum they were written with (got another)"
        )
