"""split_layers: no other cut of the layers has a cheaper dearest stage."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnnkit.pipeline._stages import split_layers


def stage_costs(costs: list[int], bounds: Any, ends: tuple[int, int]) -> list[int]:
    """What each stage costs, its end of the network included."""
    found = [sum(costs[low:high]) for low, high in bounds]
    found[0] += ends[0]
    found[-1] += ends[1]
    return found


@given(st.data())
def test_the_dearest_stage_is_as_cheap_as_that_of_the_best_of_all_cuts(data: Any) -> None:
    costs = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=9))
    stages = data.draw(st.integers(1, len(costs)))
    ends = data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    bounds = split_layers(costs, stages, ends)
    assert len(bounds) == stages
    assert [bounds[0][0], *(high for _, high in bounds)] == [*(low for low, _ in bounds), len(costs)]
    assert all(low < high for low, high in bounds)
    every = [
        stage_costs(costs, pairwise([0, *inner, len(costs)]), ends)
        for inner in combinations(range(1, len(costs)), stages - 1)
    ]
    best = min((max(found), sum(cost**2 for cost in found)) for found in every)
    mine = stage_costs(costs, bounds, ends)
    assert (max(mine), sum(cost**2 for cost in mine)) == best


def test_equal_layers_make_even_stages() -> None:
    assert sorted(high - low for low, high in split_layers([1.0] * 32, 5)) == [6, 6, 6, 7, 7]


def test_the_dearest_stage_decides_and_not_the_squares() -> None:
    assert split_layers([3, 4, 7, 1], 3) == ((0, 2), (2, 3), (3, 4))  # 7, 7, 1 and not 3, 4, 8


def test_an_end_counts_in_its_stage() -> None:
    assert split_layers([1.0] * 8, 2) == ((0, 4), (4, 8))
    assert split_layers([1.0] * 8, 2, (4.0, 0.0)) == ((0, 2), (2, 8))
    assert split_layers([1.0] * 8, 2, (0.0, 4.0)) == ((0, 6), (6, 8))


@pytest.mark.parametrize("scale", [0.0, 1e-200, 1e200])
def test_costs_have_any_unit(scale: float) -> None:
    bounds = split_layers([scale, scale, 2 * scale, 3 * scale], 2)
    assert bounds == ((0, 3), (3, 4)) or (scale == 0 and len(bounds) == 2)
    assert bounds[-1][1] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 1.0], 3), r"stages: expected 1 to 2, the number of layers \(got 3\)"),
        (([1.0, 1.0], 0), r"stages: expected 1 to 2, the number of layers \(got 0\)"),
        (([1.0, 1.0], 1.5), r"stages: expected 1 to 2, the number of layers \(got 1.5\)"),
        (([], 1), r"costs: expected finite numbers .* \(got \[\]\)"),
        (([1.0, -1.0], 1), r"costs: expected finite numbers .* \(got \[1.0, -1.0\]\)"),
        (([1.0, float("nan")], 1), r"costs: expected finite numbers .* \(got \[1.0, nan\]\)"),
        ((["dear"], 1), r"costs: expected finite numbers .* \(got \['dear'\]\)"),
        (([1.0], 1, (0.0, -1.0)), r"ends: expected two finite numbers from 0 \(got \(0.0, -1.0\)\)"),
    ],
)
def test_bad_input(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_layers(*arguments)
