"""gather_rows, gather_cached and content_hash are the reference's, byte for byte."""

from __future__ import annotations

import pytest
import torch
from machine import Machine

from gnnkit.kernels import _cupy, _cupy_gather, _torch

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
            _cupy_gather._gather_rows(table, ids, out, None, from_host)
            assert torch.equal(bits(out), bits(table[ids.long()]))


@pytest.mark.parametrize("offset", [1, 2, 8, 31])
def test_a_table_that_begins_anywhere(machine: Machine, offset: int) -> None:
    memory = table_of(1, 19 * 100 + offset, torch.float32).view(-1)
    table, ids = memory[offset:].view(19, 100), torch.arange(18, -1, -1)
    out = torch.zeros(19, 100)
    _cupy_gather._gather_rows(table, ids, out, None, from_host=True)
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


@pytest.mark.parametrize("from_host", [False, True])
@pytest.mark.parametrize("width", [3, 100, 602])
def test_rows_read_in_the_order_of_their_ids(machine: Machine, width: int, from_host: bool) -> None:
    table, ids = table_of(40, width, torch.float32), torch.tensor([18, 0, 39, 0, 7, 18, 1, 38, 2, 3, 4])
    for machine.seed in range(3):
        out = torch.zeros(len(ids), width)
        _cupy_gather._gather_rows(table, ids, out, ids.argsort(), from_host)
        assert torch.equal(bits(out), bits(table[ids]))


def test_an_order_that_names_no_id_writes_nothing(machine: Machine) -> None:
    out = torch.zeros(3, 2)
    _cupy_gather._gather_rows(torch.ones(5, 2), torch.tensor([0, 1, 2]), out, torch.tensor([3, -1, 1]), False)
    assert out.tolist() == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int16, torch.float32, torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("from_host", [False, True])
def test_rows_of_a_cache_and_of_what_was_staged(machine: Machine, dtype: torch.dtype, from_host: bool) -> None:
    where = torch.tensor([0, -1, 18, -7, -7, 5, 5, -2, 1, -3, -4, -5])
    for machine.seed, width in enumerate((1, 3, 33, 129, 602)):
        both = table_of(26, width, dtype)
        lines, staged = both[:19], both[19:].clone()
        out, expected = torch.zeros(12, width, dtype=dtype), torch.zeros(12, width, dtype=dtype)
        _cupy_gather._gather_cached(lines, staged, where, out, from_host)
        _torch.gather_cached(lines, staged, where, expected)
        assert torch.equal(bits(out), bits(expected))


def test_staged_rows_are_shifted_and_lines_are_not(machine: Machine) -> None:
    memory = table_of(1, 2 * 33 * 301 + 64, torch.float32).view(-1)
    start = (-memory.data_ptr() // 4) % 32
    lines, staged = memory[start : start + 66 * 301].view(2, 33, 301)  # rows of 1204 bytes
    where, counts = torch.arange(-33, 33), []
    for machine.count_lines_of in (0, 2):  # both arguments
        for from_host in (False, True):
            out = torch.zeros(66, 301)
            _cupy_gather._gather_cached(lines, staged, where, out, from_host)
            assert torch.equal(bits(out), bits(torch.cat([staged.flip(0), lines])))
            counts.append(machine.lines)
    assert counts[0] == counts[1]
    assert counts[3] < 0.6 * counts[2]


def test_a_place_outside_both_tables_sets_every_bit(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    args = torch.ones(3, 2), torch.ones(2, 2), torch.tensor([2, 3, -2, -3, 2**40, -(2**40)])
    out = torch.zeros(6, 2)
    _cupy.gather_cached(*args, out)
    assert out.isnan().all(1).tolist() == [False, True, False, True, True, True]
    monkeypatch.setenv("GNNKIT_CHECK", "1")
    with pytest.raises(ValueError, match=r"^where: expected ids in \[-2, 3\)"):
        _cupy.gather_cached(*args, out)


def test_either_table_may_be_empty(machine: Machine) -> None:
    table, out = torch.arange(6.0).view(3, 2), torch.zeros(3, 2)
    _cupy.gather_cached(table, table[:0], torch.tensor([2, 0, 1]), out)
    assert torch.equal(out, table[[2, 0, 1]])
    _cupy.gather_cached(table[:0], table, torch.tensor([-3, -1, -2]), out)
    assert torch.equal(out, table[[2, 0, 1]])


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
