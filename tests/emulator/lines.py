"""How many lines of 128 bytes a gather asks for, counted by the emulator; no GPU, only g++.

For a claim's script, with this folder in sys.path:

    from lines import lines_per_row
    lines_per_row()  # [{"width": 100, "naive": 6.625, "aligned": 4.0, "wide": 4.0, "ours": 4.0}, …]
    lines_per_row([100, 602], table_offset=64)

Rows of float32 lie back to back, and a warp takes a row. "naive" and "aligned" read 4 bytes a lane, without and with
the shift, as the paper does; "wide" reads the largest unit that divides the row, and "ours" shifts as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import torch
from machine import Machine, build, missing

from gnnkit.kernels import _cupy_gather, _launch
from gnnkit.kernels._cupy_gather import LINE, Rows

WIDTHS = (64, 100, 128, 300, 602, 1024)
NUM_ROWS = 32  # rows of 4-byte numbers begin at each of their places within a line equally often


def lines_per_row(widths: Iterable[int] = WIDTHS, table_offset: int = 0) -> list[dict[str, float]]:
    """Build the emulator and count, for tables that begin so many bytes after a line does.

    Raises:
        RuntimeError: There is no g++ with sanitizers.
    """
    if reason := missing():
        raise RuntimeError(f"counting lines: expected a compiler (got: {reason})")
    with tempfile.TemporaryDirectory() as folder:
        kernels = [f"gather_rows<unsigned, {pack}>" for pack in (1, 2, 4)]
        machine = Machine({"gather.cu": build(Path(folder), "gather.cu", kernels, undefined=False)})
        try:
            with patch.object(_launch, "run", machine.run):
                return [count(machine, width, table_offset) for width in widths]
        finally:
            machine.stop()


def count(machine: Machine, width: int, table_offset: int = 0) -> dict[str, float]:
    """Count with a machine that launches go to: mean lines a row, by the kind of gather."""
    memory = torch.arange(LINE // 4 + NUM_ROWS * width + LINE, dtype=torch.float32)
    start = (table_offset - memory.data_ptr()) % LINE // 4
    table, ids = memory[start : start + NUM_ROWS * width].view(NUM_ROWS, width), torch.arange(NUM_ROWS)
    address, out = table.data_ptr(), torch.zeros(NUM_ROWS, width)
    wide, ours = (_cupy_gather.plan(4 * width, from_host, address, out.data_ptr()) for from_host in (None, address))
    plans = {"naive": Rows(4, width, 32, False), "aligned": Rows(4, width, 32, True), "wide": wide, "ours": ours}
    found: dict[str, float] = {"width": width}
    for name, rows in plans.items():
        machine.count_lines_of = 0
        rows.launch("gather_rows", NUM_ROWS, table, NUM_ROWS, ids, 1, NUM_ROWS, None, out.zero_())
        assert torch.equal(out, table)
        found[name] = machine.lines / NUM_ROWS
    return found
