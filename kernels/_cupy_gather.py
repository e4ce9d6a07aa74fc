"""GPU backend: rows by their ids, from device memory or from pinned host memory over PCIe (``gather.cu``)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.kernels import _torch
from gnnkit.kernels._launch import BLOCK, Argument, launch
from gnnkit.kernels._walk import LANES, check, plain

LINE = 128  # bytes of a request over PCIe
# the bytes of a unit: its word in the source, and how many
UNITS = {
    16: ("unsigned", 4),
    8: ("unsigned", 2),
    4: ("unsigned", 1),
    2: ("unsigned short", 1),
    1: ("unsigned char", 1),
}


class Rows(NamedTuple):
    """How rows are cut into units, and units given to lanes."""

    unit_bytes: int
    units: int  # of a row
    span: int  # lanes of a row
    shift: bool  # whether reads begin where lines do

    def launch(self, kernel: str, count: int, *args: Argument) -> None:
        """Copy ``count`` rows."""
        word, pack = UNITS[self.unit_bytes]
        blocks = -(-count * self.span // BLOCK) if self.units else 0
        last = self.units, self.span, int(self.shift)
        launch("gather.cu", f"{kernel}<{word}, {pack}>", (blocks, 1), (*args, *last))


def plan(row_bytes: int, from_host: int | None, *addresses: int) -> Rows:
    """Choose the largest unit that divides rows and addresses, and whether to shift.

    Args:
        row_bytes: Bytes of a row.
        from_host: The address of a table in host memory, or None. Rows of it that lie on lines need no shift, and those
            shorter than two lines would gain less by it than the lanes that wait cost.
        addresses: Where tables and the output begin.
    """
    places = row_bytes
    for address in addresses:
        places |= address
    size = next(size for size in UNITS if places % size == 0)
    units = row_bytes // size
    span = min(LANES, 1 << max(units - 1, 0).bit_length())
    shift = from_host is not None and row_bytes >= 2 * LINE and bool((row_bytes | from_host) % LINE)
    return Rows(size, units, span, shift)


def gather_rows(table: Tensor, ids: Tensor, out: Tensor, order: Tensor | None = None) -> None:
    """See `gnnkit.kernels._torch.gather_rows`; pinned host rows are read by the device, others sent to it.

    In the order of the ids (``order = ids.argsort()``) neighbouring warps read neighbouring rows.
    """
    zero_copy = table.device != ids.device and not table.is_cuda and table.is_pinned()
    if table.device != ids.device and not zero_copy:
        _torch.gather_rows(table, ids, out)
    else:
        _gather_rows(table, ids, out, order, zero_copy)


def _gather_rows(table: Tensor, ids: Tensor, out: Tensor, order: Tensor | None, from_host: bool) -> None:
    check("ids", ids, len(table))
    ids, order = plain(ids), plain(order)
    address = table.data_ptr()
    rows = plan(_row_bytes(out), address if from_host else None, address, out.data_ptr())
    wide = int(ids.dtype == torch.int64)
    rows.launch("gather_rows", len(ids), table, len(table), ids, wide, len(ids), order, out)


def gather_cached(lines: Tensor, staged: Tensor, where: Tensor, out: Tensor) -> None:
    """See `gnnkit.kernels._torch.gather_cached`; pinned staged rows are read by the device, others sent to it whole."""
    zero_copy = staged.device != where.device and staged.is_pinned()
    _gather_cached(lines, staged if zero_copy else staged.to(where.device), where, out, zero_copy)


def _gather_cached(lines: Tensor, staged: Tensor, where: Tensor, out: Tensor, from_host: bool) -> None:
    check("where", where, len(lines), -len(staged))
    where = plain(where)
    address = staged.data_ptr()
    rows = plan(_row_bytes(out), address if from_host else None, address, lines.data_ptr(), out.data_ptr())
    rows.launch("gather_cached", len(where), lines, len(lines), staged, len(staged), where, len(where), out)


def _row_bytes(out: Tensor) -> int:
    return out.element_size() * out[:1].numel()
