"""Tables of numbers in files of CSV and in archives of NumPy, read a chunk at a time: no second copy, no pickle."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gnnkit._optional import require

CHUNK = 1 << 18  # numbers at a time: 2 MiB of float64


class Table(Protocol):
    """Rows of numbers in a file."""

    def chunks(self) -> Iterator[Any]:
        """Give the rows in order, some at a time, as arrays ``[n, …]``."""
        ...

    def read(self, floats: bool = False) -> Tensor:
        """Return all rows; with ``floats`` whole numbers become float32."""
        ...


@dataclass(frozen=True)
class CsvTable:
    """The rows of a ``.csv.gz`` without header, parsed as ogb parses them: by pandas, with its defaults.

    Attributes:
        path: The file.
        rows: How many it must have.
        repeat: How often each row stands in what is read, one after the other.

    Raises:
        ValueError: It has others, when it is read.
    """

    path: Path
    rows: int
    repeat: int = 1

    def chunks(self) -> Iterator[Any]:
        """Give arrays ``[n, D]``, int64 where a chunk holds whole numbers alone, else float64."""
        pandas = require("pandas", "ogb")
        options: dict[str, Any] = {"compression": "gzip", "header": None}
        width = pandas.read_csv(self.path, nrows=1, **options).shape[1]
        seen = 0
        with pandas.read_csv(self.path, chunksize=max(1, CHUNK // width), **options) as frames:
            for frame in frames:
                values = frame.to_numpy()
                seen += len(values)
                if seen > self.rows:
                    break
                yield np.repeat(values, self.repeat, axis=0) if self.repeat > 1 else values
        if seen != self.rows:
            got = f"{seen}" if seen < self.rows else "more"
            raise ValueError(f"{self.path.name}: expected {self.rows} rows (got {got})")

    def read(self, floats: bool = False) -> Tensor:
        """Return ``[rows * repeat, D]``: int64 where all are whole numbers and ``floats`` is False, else float32."""
        out: Tensor | None = None
        begin = 0
        for chunk in self.chunks():
            whole = chunk.dtype.kind in "iu" and not floats
            if out is None:
                dtype = torch.int64 if whole else torch.float32
                out = torch.empty((self.rows * self.repeat, chunk.shape[1]), dtype=dtype)
            elif out.dtype == torch.int64 and not whole:  # the first fraction, or the first that is missing
                out = out.float()
            out.numpy()[begin : begin + len(chunk)] = chunk
            begin += len(chunk)
        assert out is not None, "pandas refuses a file without rows"
        return out

    def read_edges(self, both: bool) -> Tensor:
        """Return ``[2, E]`` of rows ``source,destination``; with ``both`` each is followed by its inverse."""
        out = torch.empty((2, self.rows, 2 if both else 1), dtype=torch.int64)
        array, begin = out.numpy(), 0
        for chunk in self.chunks():
            if chunk.shape[1] != 2 or chunk.dtype.kind not in "iu":
                got = f"{chunk.shape[1]} columns of {chunk.dtype}"
                raise ValueError(f"{self.path.name}: expected two columns of whole numbers (got {got})")
            part = slice(begin, begin + len(chunk))
            array[:, part, 0] = chunk.T
            if both:
                array[:, part, 1] = chunk.T[::-1]
            begin += len(chunk)
        return out.view(2, -1)


@dataclass(frozen=True)
class NpzTable:
    """An array in an ``.npz``, streamed out of the archive.

    Attributes:
        path: The archive.
        name: Of the array.

    Raises:
        ValueError: It holds other things than numbers, or is damaged, when it is read.
    """

    path: Path
    name: str

    def chunks(self) -> Iterator[Any]:
        """Give arrays ``[n, …]`` of the dtype in the file.

        Raises:
            ValueError: Its columns lie one after the other, so that no row is whole before the last is read.
        """
        with self._open() as (shape, dtype, fortran, stream):
            if fortran and sum(size > 1 for size in shape) > 1:
                raise ValueError(f"{self.path.name}: expected {self.name} row by row (got it column by column)")
            width = math.prod(shape[1:])
            step, begin = max(1, CHUNK // max(1, width)), 0
            while begin < shape[0]:
                count = min(step, shape[0] - begin)
                yield self._take(stream, dtype, count * width).reshape(count, *shape[1:])
                begin += count
            self._require_end(stream)

    def read(self, floats: bool = False) -> Tensor:
        """Return the array in its own dtype, or whole numbers as float32."""
        with self._open() as (shape, dtype, fortran, stream):
            kind = np.dtype(np.float32) if floats and dtype.kind in "biu" else dtype
            out = torch.from_numpy(np.empty(shape, dtype=kind))
            array: Any = out.numpy()
            flat = array.T.flat if fortran else array.reshape(-1)  # in the order of the file
            total = math.prod(shape)
            for begin in range(0, total, CHUNK):
                count = min(CHUNK, total - begin)
                flat[begin : begin + count] = self._take(stream, dtype, count)
            self._require_end(stream)
        return out

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's."""
        with self._open() as (shape, _, _, _):
            return shape

    @contextmanager
    def _open(self) -> Iterator[tuple[tuple[int, ...], Any, bool, IO[bytes]]]:
        """Give shape, dtype, whether the last index runs slowest, and the stream behind the header."""
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as stream:
            major, _ = np.lib.format.read_magic(stream)
            if major not in (1, 2):
                raise ValueError(f"{self.path.name}: expected {self.name} in NumPy's format 1 or 2 (got {major})")
            header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(stream)
            if dtype.kind not in "biuf" or not dtype.isnative:  # objects are pickles
                raise ValueError(f"{self.path.name}: expected numbers in {self.name} (got {dtype})")
            yield shape, dtype, fortran, stream

    def _take(self, stream: IO[bytes], dtype: Any, count: int) -> Any:
        content = stream.read(count * dtype.itemsize)
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"{self.path.name}: expected the whole of {self.name} (got it cut short)")
        return np.frombuffer(content, dtype)

    def _require_end(self, stream: IO[bytes]) -> None:
        if stream.read(1):  # at the end zipfile compares the checksum
            raise ValueError(f"{self.path.name}: expected no more than the shape of {self.name} (got bytes behind it)")


def npz_names(path: Path) -> list[str]:
    """Return the names of the arrays in an ``.npz``."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]
