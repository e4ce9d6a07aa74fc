"""Rows are cut into parts that are fair and leave none out, and every part is served once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnnkit.kernels import _threads

degree_lists = st.lists(st.integers(0, 40), max_size=40)
grains = st.integers(1, 64)


def bounds_of(function: Callable[[], list[int]], threads: int, grain: int) -> list[int]:
    """Cut with another number of threads and another grain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        patch.setattr(_threads, "GRAIN", grain)
        return function()


def assert_covers(bounds: list[int], num_rows: int) -> None:
    """Every row is in exactly one part."""
    assert bounds[0] == 0
    assert bounds[-1] == num_rows
    assert bounds == sorted(bounds)


@given(degree_lists, st.integers(0, 9), st.integers(1, 4), grains)
def test_edge_bounds_cover_all_rows_and_balance_edges(degrees: list[int], width: int, threads: int, grain: int) -> None:
    indptr = np.cumsum([0, *degrees])
    bounds = bounds_of(lambda: _threads.edge_bounds(indptr, sum(degrees), width), threads, grain)
    assert_covers(bounds, len(degrees))
    costs = [int(indptr[high] - indptr[low]) + high - low for low, high in pairwise(bounds)]
    largest_row = max(degrees, default=0) + 1
    assert max(costs) <= (sum(degrees) + len(degrees)) / len(costs) + 1 + largest_row


@given(st.integers(2, 60), st.integers(0, 59), st.integers(100, 500), st.integers(2, 4))
def test_a_hub_with_all_the_edges_leaves_the_other_rows_to_other_parts(
    num_rows: int, hub: int, degree: int, threads: int
) -> None:
    hub = hub % num_rows
    indptr = np.where(np.arange(num_rows + 1) > hub, degree, 0)
    bounds = bounds_of(lambda: _threads.edge_bounds(indptr, degree, 1), threads, 1)
    assert_covers(bounds, num_rows)
    ((low, high),) = [(low, high) for low, high in pairwise(bounds) if low <= hub < high]
    fair = (degree + num_rows) / (len(bounds) - 1)
    assert high - low <= fair + 2


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 4), grains)
def test_edge_bounds_of_corrupt_pointers_still_give_every_row_to_one_part(
    pointers: list[int], width: int, threads: int, grain: int
) -> None:
    def cut() -> list[int]:
        return _threads.edge_bounds(np.array(pointers, dtype=np.int32), abs(pointers[-1]), width)

    assert_covers(bounds_of(cut, threads, grain), len(pointers) - 1)


@given(st.integers(0, 500), st.integers(0, 9), st.integers(1, 4), grains)
def test_even_bounds_cover_all_rows_in_parts_that_differ_by_one(
    num_rows: int, width: int, threads: int, grain: int
) -> None:
    bounds = bounds_of(lambda: _threads.even_bounds(num_rows, width), threads, grain)
    assert_covers(bounds, num_rows)
    sizes = [high - low for low, high in pairwise(bounds)]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 64))
def test_parts_are_worth_their_thread_and_no_more_than_rows(operations: int, num_rows: int, threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        parts = _threads._num_parts(operations, num_rows)
    assert 1 <= parts <= max(1, num_rows)
    if threads == 1:
        assert parts == 1
    if parts > 1:
        assert operations / parts >= _threads.GRAIN


def test_run_serves_every_part_once_and_returns_the_largest_status(
    set_threads: Callable[[int], None],
) -> None:
    set_threads(3)
    seen: list[tuple[int, int, str]] = []

    def loop(low: int, high: int, name: str) -> int:
        seen.append((low, high, name))
        return int(low == 4)

    assert _threads.run(loop, [0, 2, 2, 4, 9, 11], "a") == 1
    assert sorted(seen) == [(0, 2, "a"), (2, 4, "a"), (4, 9, "a"), (9, 11, "a")]
    assert _threads.run(loop, [0, 2], "b") == 0
    assert _threads.run(loop, [0], "c") == 0
    assert _threads.run(loop, [], "d") == 0


@pytest.mark.parametrize("bad", [0, 3, 5])
def test_run_passes_on_what_a_part_raises(set_threads: Callable[[int], None], bad: int) -> None:
    set_threads(2)

    def loop(low: int, high: int) -> int:
        if low == bad:
            raise MemoryError("of one part")
        return 0

    with pytest.raises(MemoryError, match="of one part"):
        _threads.run(loop, list(range(8)))
