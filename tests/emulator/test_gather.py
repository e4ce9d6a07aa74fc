"""gather_rows and content_hash; how many lines of 128 bytes a warp asks for."""

from __future__ import annotations

import pytest
import torch
from machine import Machine

from gnnkit.kernels import _cupy, _torch

DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.int64,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex128,
)


def table_of(rows: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Draw the bytes of a table."""
    draw = torch.Generator().manual_seed(0)
    if dtype == torch.bool:
        return torch.randint(2, (rows, width), generator=draw).bool()
    return torch.randint(256, (rows, width * dtype.itemsize), generator=draw, dtype=torch.uint8).view(dtype)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("from_host", [False, True])
def test_rows_byte_for_byte(machine: Machine, dtype: torch.dtype, from_host: bool) -> None:
    for width in (1, 3, 33, 129, 602):
        table = table_of(19, width, dtype)
        for ids in (torch.tensor([18, 0, 0, 7, 18, 1, 2, 3, 4, 5]), torch.tensor([3], dtype=torch.int32)):
            out = torch.zeros(len(ids), width, dtype=dtype)
            _cupy._gather_rows(table, ids, out, from_host)
            assert torch.equal(bits(out), bits(table[ids.long()]))


@pytest.mark.parametrize("offset", [1, 2, 8, 31])
def test_a_table_that_begins_anywhere(machine: Machine, offset: int) -> None:
    memory = table_of(1, 19 * 100 + offset, torch.float32).view(-1)
    table, ids = memory[offset:].view(19, 100), torch.arange(18, -1, -1)
    out = torch.zeros(19, 100)
    _cupy._gather_rows(table, ids, out, from_host=True)
    assert torch.equal(bits(out), bits(table[ids]))


def test_nothing_to_gather(machine: Machine) -> None:
    for rows, count, width in ((5, 0, 3), (5, 2, 0), (0, 0, 3)):
        _cupy.gather_rows(torch.ones(rows, width), torch.zeros(count, dtype=torch.int64), torch.empty(count, width))
    assert machine.launched == []


def test_an_id_outside_the_table_sets_every_bit(machine: Machine) -> None:
    ids, expected = torch.tensor([0, 5, -1, 2**40]), [False, True, True, True]
    out = torch.zeros(4, 3)
    _cupy.gather_rows(torch.ones(5, 3), ids, out)
    assert out.isnan().all(1).tolist() == expected
    whole = torch.zeros(4, 3, dtype=torch.int64)
    _cupy.gather_rows(torch.ones(5, 3, dtype=torch.int64), ids, whole)
    assert whole.eq(-1).all(1).tolist() == expected


def requests(address: int, row_bytes: int, rows: range, unit: int, shifted: bool) -> int:
    """Count the lines that warps of 32 lanes ask for, a row a warp: the model of the zero-copy paper."""
    total = 0
    for row in rows:
        start, units = address + row * row_bytes, row_bytes // unit
        ahead = start % 128 // unit if shifted else 0
        for first in range(0, units, 32):
            lanes = [(t - ahead) % units for t in range(first, min(first + 32, units))]
            total += len({(start + lane * unit) // 128 for lane in lanes})
    return total


@pytest.mark.parametrize("width", [64, 100, 128, 300, 602, 1023, 1024])
def test_a_shifted_row_asks_for_fewer_lines(machine: Machine, width: int) -> None:
    address = torch.ones(32 + 33 * width)
    start = (-address.data_ptr() // 4) % 32  # the table begins where a line does
    table = address[start : start + 33 * width].view(33, width)
    ids, counts = torch.arange(33), {}
    machine.count_lines_of = 0
    unit = next(size for size in (16, 8, 4) if 4 * width % size == 0)
    for from_host in (False, True):
        out = torch.zeros(33, width)
        _cupy._gather_rows(table, ids, out, from_host)
        shifted = from_host and 4 * width >= 256 and 4 * width % 128 != 0
        counts[from_host] = machine.lines
        if width >= 128:  # shorter rows share a warp
            assert machine.lines == requests(table.data_ptr(), 4 * width, range(33), unit, shifted)
    assert counts[True] <= counts[False]
    if width in (602, 1023):
        assert counts[True] < 0.75 * counts[False]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("count", [0, 1, 255, 2049, 5000])
def test_content_hash_is_the_references(machine: Machine, count: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(1)
    words = torch.randint(-(2**31), 2**31, (count,), generator=draw, dtype=dtype)
    machine.seed = count
    assert _cupy.content_hash(words, 2**62 + 12345) == _torch.content_hash(words, 2**62 + 12345)


def test_group_by_is_the_references() -> None:
    for keys in (
        torch.tensor([2, 0, 2, 5]),
        torch.tensor([1, 0, 1], dtype=torch.int32),
        torch.tensor([], dtype=torch.int64),
    ):
        for ours, theirs in zip(_cupy.group_by(keys, 7), _torch.group_by(keys, 7), strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match=r"^keys: expected ids in \[0, 2\) \(got 2\)$"):
        _cupy.group_by(torch.tensor([2]), 2)
