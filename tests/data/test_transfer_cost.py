"""The cost model of transfers: the published table, and a count of lines one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnnkit.data import Bandwidths, request_count, tier_seconds
from gnnkit.data._transfer_cost import mean_requests

# mean requests a row, float32 rows back to back, as specified to the digits given
TABLE = {64: (2, 2), 100: (6.63, 4.00), 128: (4, 4), 300: (18.1, 10.3), 602: (36.6, 19.8), 1024: (32, 32)}


@pytest.mark.parametrize("width", TABLE)
@pytest.mark.parametrize("aligned", [False, True])
def test_the_table(width: int, aligned: bool) -> None:
    expected = TABLE[width][aligned]
    ids = torch.arange(3200)
    digits = 2 if width == 100 else 1
    # half a unit of the last digit, and what binary rounding adds to 6.625, 18.125 and 10.25
    assert request_count(4 * width, 0, ids, aligned) / 3200 == pytest.approx(expected, abs=0.501 * 10**-digits)
    assert mean_requests(4 * width, aligned) == request_count(4 * width, 0, ids, aligned) / 3200


def one_by_one(row_bytes: int, base: int, ids: list[int], aligned: bool, line: int) -> int:
    requests = 0
    for row in ids:
        begin = base + row * row_bytes
        words = range(begin, begin + row_bytes)
        if aligned:
            requests += len({byte // line for byte in words})
        else:  # warp after warp from the row's start, each asks for the lines that its bytes lie in
            requests += sum(len({byte // line for byte in words[w : w + line]}) for w in range(0, row_bytes, line))
    return requests


@given(
    row_bytes=st.integers(0, 700),
    base=st.integers(0, 300),
    ids=st.lists(st.integers(0, 50), max_size=5),
    aligned=st.booleans(),
    line=st.sampled_from([32, 128]),
)
def test_requests_are_what_counting_bytes_gives(
    row_bytes: int, base: int, ids: list[int], aligned: bool, line: int
) -> None:
    found = request_count(row_bytes, base, torch.tensor(ids, dtype=torch.int32), aligned, line)
    assert found == one_by_one(row_bytes, base, ids, aligned, line)


@given(row_bytes=st.integers(1, 3000), base=st.integers(0, 200))
def test_shifting_never_asks_for_more(row_bytes: int, base: int) -> None:
    ids = torch.arange(40)
    naive, aligned = (request_count(row_bytes, base, ids, shift) for shift in (False, True))
    assert aligned <= naive
    if row_bytes % 128 == 0 and base % 128 == 0:
        assert aligned == naive == 40 * row_bytes // 128


def test_far_rows_do_not_overflow() -> None:
    assert request_count(400, 2**40, torch.tensor([2**60 // 400]), True) == 4


def test_times_by_tier() -> None:
    rates = Bandwidths(device=1e12, pinned=12.8e9, memory=4e9, disk=409.6e6)
    found = tier_seconds(1e6, 400, rates)
    assert found == pytest.approx(
        {"device": 4e-4, "pinned": 0.04, "memory": 0.1, "disk": 10 * mean_requests(400, True, 4096)}
    )
    assert 1 < mean_requests(400, True, 4096) < 1.1
    assert tier_seconds(1e6, 400, Bandwidths()) == {}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: request_count(-1, 0, torch.arange(2), True), r"row_bytes: expected a whole number >= 0 \(got -1\)"),
        (lambda: request_count(4, -1, torch.arange(2), True), r"base_offset: expected"),
        (lambda: request_count(4, 0, torch.ones(2), True), r"ids: expected a 1-D int32 or int64 tensor"),
        (lambda: request_count(4, 0, torch.arange(2), True, 0), r"line_bytes: expected .* \(got 0\)"),
        (lambda: Bandwidths(disk=0.0), r"disk: expected bytes a second above 0, or None \(got 0.0\)"),
        (lambda: tier_seconds(1, -4, Bandwidths()), r"row_bytes: expected"),
    ],
)
def test_what_is_wrong_is_said(call: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()  # type: ignore[operator]
