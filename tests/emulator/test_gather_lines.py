"""How many lines of 128 bytes a gather asks for: the paper's figures, and when rows are shifted."""

from __future__ import annotations

import lines
import pytest
import torch
from machine import Machine

from gnnkit.data._transfer_cost import mean_requests, request_count
from gnnkit.kernels import _cupy_gather

# float32 numbers of a row: mean requests a row, 4 bytes a lane, naive and aligned (Min et al., PVLDB 14(11), 2021)
PUBLISHED = {64: (2, 2), 100: (6.63, 4.00), 128: (4, 4), 300: (18.1, 10.3), 602: (36.6, 19.8), 1024: (32, 32)}


@pytest.mark.parametrize("width", PUBLISHED)
def test_lines_are_those_of_the_model(machine: Machine, width: int) -> None:
    found, (naive, aligned) = lines.count(machine, width), PUBLISHED[width]
    digits = 1 if width in (300, 602) else 2
    assert round(found["naive"] + 1e-9, digits) == naive  # half up, as the published figures are rounded
    assert round(found["aligned"] + 1e-9, digits) == aligned
    assert found["naive"] == mean_requests(4 * width, aligned=False)  # the cost model's
    assert found["aligned"] == mean_requests(4 * width, aligned=True)
    assert found["ours"] == found["aligned"]  # the least that there is: the lines that a row lies in
    assert found["wide"] == {300: 12, 602: 28.1875}.get(width, found["aligned"])  # 16 and 8 bytes a lane, not shifted


@pytest.mark.parametrize(
    ("width", "offset", "wide", "ours"), [(100, 64, 4, 4), (128, 64, 5, 5), (192, 64, 8, 7), (128, 0, 4, 4)]
)
def test_where_the_table_begins_counts(machine: Machine, width: int, offset: int, wide: float, ours: float) -> None:
    found = lines.count(machine, width, offset)
    assert found["wide"] == wide
    assert found["ours"] == ours


@pytest.mark.parametrize(
    ("row_bytes", "dtype"),
    [(260, torch.float32), (380, torch.int32), (1048, torch.float64), (776, torch.bfloat16), (400, torch.uint8)],
    ids=str,
)
@pytest.mark.parametrize("offset", [0, 8, 64, 120])
def test_a_shifted_row_asks_for_the_lines_that_it_lies_in(
    machine: Machine, row_bytes: int, dtype: torch.dtype, offset: int
) -> None:
    memory = torch.arange(33 * row_bytes + 256).to(torch.uint8)
    start = (offset - memory.data_ptr()) % 128
    table = memory[start : start + 33 * row_bytes].view(33, row_bytes).view(dtype)
    ids = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    out = torch.zeros_like(table)
    machine.count_lines_of = 0
    _cupy_gather._gather_rows(table, ids, out, None, from_host=True)
    assert torch.equal(out.view(torch.uint8), table.view(torch.uint8)[ids])
    assert machine.lines == request_count(row_bytes, offset, ids, aligned=True)


def test_reads_of_two_bytes_a_lane_begin_with_half_lines(machine: Machine) -> None:
    memory = torch.arange(33 * 203 + 64, dtype=torch.int16)
    start = (-memory.data_ptr() // 2) % 64
    table, out = memory[start : start + 33 * 203].view(33, 203), torch.zeros(33, 203, dtype=torch.int16)
    machine.count_lines_of = 0
    _cupy_gather._gather_rows(table, torch.arange(33), out, None, from_host=True)
    assert torch.equal(out, table)
    starts = [406 * row for row in range(33)]
    assert machine.lines == sum((start + 405) // 64 - start // 64 + 1 for start in starts)


def test_rows_are_shifted_where_that_saves_requests() -> None:
    cases = {  # bytes of a row, where the table begins: whether rows are shifted
        (252, 0): False,  # shorter than two lines
        (252, 64): False,
        (256, 0): False,  # every row begins where a line does
        (256, 64): True,  # no row does
        (260, 0): True,
        (264, 2): True,
        (1024, 4096): False,
        (1024, 4096 + 16): True,
    }
    for (row_bytes, address), shift in cases.items():
        assert _cupy_gather.plan(row_bytes, address, address, 0).shift == shift
        assert not _cupy_gather.plan(row_bytes, None, address, 0).shift  # in device memory


def test_the_unit_divides_rows_and_every_address() -> None:
    assert _cupy_gather.plan(400, None, 0, 4096) == (16, 25, 32, False)
    assert _cupy_gather.plan(400, None, 8, 4096) == (8, 50, 32, False)
    assert _cupy_gather.plan(400, None, 0, 4096 + 4) == (4, 100, 32, False)
    assert _cupy_gather.plan(6, None, 0, 0) == (2, 3, 4, False)
    assert _cupy_gather.plan(7, None, 0, 0) == (1, 7, 8, False)
    assert _cupy_gather.plan(0, None, 0, 0).units == 0
