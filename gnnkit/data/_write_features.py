"""write_features: a table of rows to a file, from chunks, without ever holding the table."""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.data._memmap_format import BLOCK_BYTES, DTYPES, HEADER_BYTES, Header
from gnnkit.data._partial import create
from gnnkit.kernels import _check

_CHUNK_BYTES = 16 << 20  # of a whole tensor, at a time


def write_features(
    path: str | Path,
    rows: Tensor | Iterable[Tensor | np.ndarray[Any, Any]],
    *,
    dtype: torch.dtype | None = None,
    shape: Sequence[int] | None = None,
) -> torch.Size:
    """Write a table of rows to a file that `gnnkit.data.MemoryMapped` reads.

    The rows are written as they come; one chunk is held at a time. The file appears under its name when it is complete
    and on disk: it is written beside it (``.<name>.<process>-<number>.partial``), forced to disk and renamed. What goes
    wrong on the way, a full disk included, removes the partial file. A killed process leaves it behind: it is no valid
    table, and the next write of that name removes it. A file that was there before is replaced, and whoever has it
    open keeps reading the old one. Of several that write one name at once, the last to finish gets it.

    Cost: every byte is read once for its checksum (CRC-32 of each MiB) and written once.

    Args:
        path: The file; its folder exists.
        rows: The whole ``[N, …]``, or chunks ``[k, …]`` of it in order, tensors or arrays, of any lengths.
        dtype: What the numbers are converted to; None for that of the first chunk. float16, bfloat16, float32, float64,
            int8, int16, int32, int64, uint8 or bool.
        shape: The expected ``[N, …]``, checked; None for what the chunks say. Without any chunk it is needed, with
            dtype.

    Returns:
        The shape of the table.

    Raises:
        ValueError: A chunk is no table, differs from the first in row shape or dtype, or the rows are not ``shape``.
        OSError: The file cannot be written.

    Example:
        >>> import torch
        >>> from gnnkit.data import MemoryMapped, write_features
        >>> chunks = (torch.full((2, 3), float(i)) for i in range(4))
        >>> write_features("features.gnnkit", chunks)
        torch.Size([8, 3])
        >>> with MemoryMapped("features.gnnkit") as store:
        ...     store.read(torch.tensor([7, 0])).tolist()
        [[3.0, 3.0, 3.0], [0.0, 0.0, 0.0]]
    """
    path = Path(path)
    _check_arguments(rows, dtype, shape)
    with _writing(path):
        partial, file = create(path)
    with file:  # locked until it has its name, or is gone
        try:
            sink = _Sink(path, file)
            header = _write(sink, _chunks(rows, dtype, shape), dtype, shape)
            sink.sync()
            with _writing(path):
                partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too
    finally:
        os.close(folder)
    return header.shape


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"write_features: expected to write {path} (got {error.strerror})") from error


class _Sink:
    """A file that is written in blocks, each after its checksum was taken, and that says in errors what it is to be."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file
        self._pending, self._sums = bytearray(), array("I")
        self._file.seek(HEADER_BYTES)  # the header comes last

    def add(self, content: memoryview) -> None:
        """Take the next bytes of rows."""
        while content:
            taken = BLOCK_BYTES - len(self._pending)
            if taken == BLOCK_BYTES <= len(content):
                self._block(content[:taken])  # a whole block is not copied
            else:
                self._pending += content[:taken]
                if len(self._pending) == BLOCK_BYTES:
                    self._block(self._pending)
                    self._pending.clear()
            content = content[taken:]

    def finish(self) -> int:
        """Write what is left and the list of checksums; return the list's own."""
        if self._pending:
            self._block(self._pending)
        listed = np.array(self._sums, "<u4").tobytes()
        self._put(listed)
        return zlib.crc32(listed)

    def head(self, header: Header) -> None:
        """Make it a table."""
        self._file.seek(0)
        self._put(header.pack())

    def sync(self) -> None:
        """Force it to disk."""
        with _writing(self._path):
            os.fsync(self._file.fileno())

    def _block(self, content: memoryview | bytearray) -> None:
        self._sums.append(zlib.crc32(content))
        self._put(content)

    def _put(self, content: bytes | bytearray | memoryview) -> None:
        with _writing(self._path), memoryview(content) as left:
            done = 0
            while done < len(left):  # a raw file may take a part at a time
                done += self._file.write(left[done:])


def _write(sink: _Sink, chunks: Iterator[Tensor], dtype: torch.dtype | None, shape: Sequence[int] | None) -> Header:
    """Write rows, checksums, and the header last."""
    num_rows, row_shape = 0, None if shape is None else shape[1:]
    for chunk in chunks:
        num_rows, row_shape, dtype = num_rows + len(chunk), chunk.shape[1:], chunk.dtype
        sink.add(chunk.view(-1).view(torch.uint8).numpy().data)
    if row_shape is None or dtype is None:
        raise ValueError("rows: expected at least one chunk, or shape and dtype (got none)")
    found = torch.Size([num_rows, *row_shape])
    if shape is not None and found != torch.Size(shape):
        raise ValueError(f"rows: expected {shape[0]} rows in all, as in shape (got {num_rows})")
    header = Header(found, dtype, sink.finish())
    sink.head(header)
    return header


def _chunks(rows: Any, dtype: torch.dtype | None, shape: Sequence[int] | None) -> Iterator[Tensor]:
    """Give contiguous host chunks of one row shape and dtype."""
    expected = None if shape is None else torch.Size(shape[1:])
    kind: torch.dtype | None = None
    for given in _split(rows) if isinstance(rows, Tensor | np.ndarray) else rows:
        chunk = _tensor(given)
        if expected is not None and chunk.shape[1:] != expected:
            raise ValueError(f"rows: expected rows of shape {list(expected)} (got {list(chunk.shape[1:])})")
        if dtype is None and chunk.dtype not in ((kind,) if kind else DTYPES.values()):
            wanted = kind or f"one of {', '.join(DTYPES)}"
            raise ValueError(f"rows: expected chunks of dtype {wanted}, or dtype= to convert to (got {chunk.dtype})")
        expected, kind = chunk.shape[1:], chunk.dtype
        yield chunk.to("cpu", dtype or kind).contiguous()


def _tensor(given: Any) -> Tensor:
    if isinstance(given, np.ndarray) and given.ndim:
        if not (given.flags.writeable and given.dtype.isnative and min(given.strides) >= 0):  # not for torch
            given = np.array(given, given.dtype.newbyteorder("="), order="C")
        try:
            return torch.from_numpy(given)
        except TypeError as error:  # of objects or strings, say
            raise ValueError(f"rows: expected numbers of a type that torch has (got {given.dtype})") from error
    if not isinstance(given, Tensor) or given.dim() == 0 or given.layout != torch.strided:
        raise ValueError(f"rows: expected a table, or chunks that are tables of rows (got {_check.describe(given)})")
    return given.detach()


def _split(rows: Tensor | np.ndarray[Any, Any]) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    """Cut a whole table, so that converting it takes no second one."""
    if isinstance(rows, Tensor):
        rows = _tensor(rows)
    if rows.ndim == 0 or len(rows) == 0:
        yield rows
        return
    step = max(1, _CHUNK_BYTES // max(1, rows[:1].nbytes))
    for begin in range(0, len(rows), step):
        yield rows[begin : begin + step]


def _check_arguments(rows: object, dtype: object, shape: Any) -> None:
    if not isinstance(rows, Iterable):
        raise ValueError(f"rows: expected a table, or chunks that are tables of rows (got {type(rows).__name__})")
    if dtype is not None and dtype not in DTYPES.values():
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)} (got {dtype})")
    if shape is not None:
        sizes = list(shape) if isinstance(shape, Sequence) else []
        if not sizes or not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise ValueError(f"shape: expected the number of rows, then the shape of a row (got {shape!r})")
