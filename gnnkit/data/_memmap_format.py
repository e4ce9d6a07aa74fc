"""The file of a feature table: a header of one page, the rows, and a checksum for each block of them.

    byte 0      magic, JSON, zeros, and in the last 4 bytes the CRC-32 of all before it
    byte 4096   rows, one after the other, row-major, little-endian or as JSON's "byteorder" says
    after them  a CRC-32 of 4 bytes for each 1 MiB of rows, the last for what is left

The header is written last, so a table that was not finished has none.
"""

from __future__ import annotations

import json
import operator
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

MAGIC = b"gnnkit rows\n"
VERSION = 1
HEADER_BYTES = 4096  # the rows begin where a page of memory and a block of a disk do
BLOCK_BYTES = 1 << 20
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
    )
}


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        shape: ``[N, …]``.
        dtype: Of the numbers.
        checksums: The CRC-32 of the list of the blocks' checksums, so of the whole content.
    """

    shape: torch.Size
    dtype: torch.dtype
    checksums: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.shape[1:].numel() * self.dtype.itemsize

    @property
    def data_bytes(self) -> int:
        """Bytes of all rows."""
        return self.shape[0] * self.row_bytes

    @property
    def num_blocks(self) -> int:
        """How many blocks have a checksum."""
        return -(-self.data_bytes // BLOCK_BYTES)

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        return HEADER_BYTES + self.data_bytes + 4 * self.num_blocks

    def pack(self) -> bytes:
        """The header's page."""
        fields = {
            "version": VERSION,
            "shape": list(self.shape),
            "dtype": str(self.dtype).removeprefix("torch."),
            "byteorder": sys.byteorder,
            "checksums": self.checksums,
        }
        page = (MAGIC + json.dumps(fields).encode() + b"\n").ljust(HEADER_BYTES - 4, b"\0")
        assert len(page) == HEADER_BYTES - 4
        return page + zlib.crc32(page).to_bytes(4, "little")

    @classmethod
    def unpack(cls, page: bytes, what: str) -> Header:
        """Read a header's page; ``what`` names the file in errors.

        Raises:
            ValueError: It is no header, is damaged, or is of a later version.
        """
        if not page.startswith(MAGIC):
            begin = page[: len(MAGIC)]
            got = (
                "an empty file" if not page else "no header" if not any(begin) else f"a file that begins with {begin!r}"
            )
            raise ValueError(f"{what}: expected a finished table of gnnkit.data.write_features (got {got})")
        if len(page) < HEADER_BYTES:
            raise ValueError(f"{what}: expected a header of {HEADER_BYTES} bytes (got {len(page)})")
        if zlib.crc32(page[:-4]) != int.from_bytes(page[-4:], "little"):
            raise ValueError(f"{what}: expected a header with the checksum it was written with (got another)")
        text = page[len(MAGIC) : -4].rstrip(b"\0\n").decode()
        try:
            fields = json.loads(text)
            for name, expected in (("version", VERSION), ("byteorder", sys.byteorder)):
                if fields[name] != expected:
                    raise ValueError(f"{what}: expected {name} {expected} (got {fields[name]})")
            shape, checksums = [operator.index(size) for size in fields["shape"]], operator.index(fields["checksums"])
            if not shape or min(shape) < 0:
                raise TypeError
            return cls(torch.Size(shape), DTYPES[fields["dtype"]], checksums)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{what}: expected a header that version {VERSION} describes (got {text})") from error


def check_blocks(low: int, high: int, header: Header, read: Callable[[int, int], bytes], expected: bytes) -> int:
    """Compare blocks low to high with their checksums; return 1 + the number of the first that differs, or 0."""
    sums = np.frombuffer(expected, "<u4")
    for block in range(low, high):
        begin = block * BLOCK_BYTES
        nbytes = min(BLOCK_BYTES, header.data_bytes - begin)
        if zlib.crc32(read(nbytes, HEADER_BYTES + begin)) != sums[block]:
            return block + 1
    return 0
