"""Correlations, buckets and shift of nodes against SciPy and loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from gnnkit.links import LinkGraph, buckets, concentration_shift, correlation, topological_concentration


def numbers() -> tuple[Tensor, Tensor]:
    """Draw two numbers with ties for 60 nodes, some unknown."""
    draw = torch.Generator().manual_seed(0)
    by = torch.randint(8, (60,), generator=draw)
    performance = by * 0.1 + torch.randint(5, (60,), generator=draw) * 0.2
    performance[::7] = math.nan
    return performance, by


def test_correlations_are_those_of_scipy() -> None:
    performance, by = numbers()
    known = ~performance.isnan()
    found = correlation(performance, by)
    assert found.num_nodes == int(known.sum()) == 51
    assert found.spearman == pytest.approx(spearmanr(performance[known], by[known]).statistic)
    assert found.pearson == pytest.approx(pearsonr(performance[known], by[known]).statistic)
    assert correlation(by.double(), performance) == found
    assert correlation(performance, -by).spearman == pytest.approx(-found.spearman)


def test_what_is_constant_correlates_with_nothing() -> None:
    constant = correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([3, 3, 3]))
    assert math.isnan(constant.spearman)
    assert math.isnan(constant.pearson)
    assert correlation(torch.zeros(0), torch.zeros(0)).num_nodes == 0
    assert math.isnan(correlation(torch.ones(1), torch.ones(1)).pearson)


@pytest.mark.parametrize("bounds", [[0, 2, 3, 7], [1.0, 5.0], [-5, -4, 20]])
def test_buckets_with_bounds_are_those_of_a_loop(bounds: list[float]) -> None:
    performance, by = numbers()
    found = buckets(performance, by, bounds)
    assert found.bounds.tolist() == bounds
    for bucket, (low, high) in enumerate(itertools.pairwise(bounds)):
        last = bucket == len(bounds) - 2
        group = [
            score
            for score, place in zip(performance.tolist(), by.tolist(), strict=True)
            if not math.isnan(score) and low <= place and (place < high or (last and place == high))
        ]
        assert found.num_nodes[bucket] == len(group)
        assert found.mean[bucket] == pytest.approx(torch.tensor(group).mean().item(), nan_ok=True)
        if len(group) > 1:
            assert found.error[bucket] == pytest.approx(torch.tensor(group).std().item() / len(group) ** 0.5, rel=1e-5)
        else:
            assert math.isnan(found.error[bucket])


def test_a_number_of_buckets_shares_the_nodes_out() -> None:
    draw = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    found = buckets(draw, draw, 10)
    assert found.num_nodes.tolist() == [100] * 10
    assert (found.mean[1:] > found.mean[:-1]).all()
    performance, by = numbers()
    few = buckets(performance, by, 50)  # eight numbers: no more than seven steps between them
    assert few.num_nodes.sum() == 51
    assert len(few.num_nodes) <= 7
    alike = buckets(performance, torch.ones(60), 5)
    assert alike.num_nodes.tolist() == [51]
    assert alike.bounds.tolist() == [1, 1]


def test_the_shift_is_the_difference_where_both_are_defined() -> None:
    draw = torch.Generator().manual_seed(1)
    graph = LinkGraph.from_edges(torch.randint(20, (2, 60), generator=draw), 22)
    pairs = torch.randint(22, (2, 15), generator=draw)
    for hops in (1, 2):
        train = topological_concentration(graph, hops=hops).tolist()
        test = topological_concentration(graph, pairs, hops).tolist()
        listed = {node for i, j in pairs.t().tolist() if i != j for node in (i, j)}
        found = concentration_shift(graph, pairs, hops).tolist()
        for node in range(22):
            if node in listed and graph.degree()[node] > 1:
                assert found[node] == pytest.approx(train[node] - test[node])
            else:
                assert math.isnan(found[node])
        assert sum(not math.isnan(value) for value in found) > 5


@pytest.mark.parametrize(
    ("function", "change", "message"),
    [
        (correlation, {"performance": torch.zeros(3, 1)}, r"performance: expected one number for each node \(got"),
        (correlation, {"other": torch.zeros(4)}, r"the other: expected one number for each node \(got"),
        (buckets, {"by": torch.full((3,), math.nan)}, r"expected at least one node with both numbers \(got none\)"),
        (buckets, {"bounds": 0}, r"bounds: expected a whole number >= 1 \(got 0\)"),
        (buckets, {"bounds": [1.0]}, r"bounds: expected at least two rising numbers \(got \[1.0\]\)"),
        (buckets, {"bounds": [1, 1]}, r"bounds: expected at least two rising numbers"),
        (concentration_shift, {"graph": 1}, r"graph: expected a LinkGraph \(got int\)"),
        (concentration_shift, {"hops": 0}, r"hops: expected a whole number >= 1 \(got 0\)"),
    ],
)
def test_bad_input_is_told(function: Callable[..., Any], change: dict[str, Any], message: str) -> None:
    pair = torch.tensor([[0], [1]])
    valid: dict[Any, dict[str, Any]] = {
        correlation: {"performance": torch.zeros(3), "other": torch.zeros(3)},
        buckets: {"performance": torch.zeros(3), "by": torch.arange(3), "bounds": 2},
        concentration_shift: {"graph": LinkGraph.from_edges(pair, 3), "pairs": pair + 1, "hops": 1},
    }
    function(**valid[function])
    with pytest.raises(ValueError, match=message):
        function(**{**valid[function], **change})
