import math

import numpy as np
import pytest
import torch

from gnnkit.datasets.synthetic import power_law


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(2, 0), (2, 1), (3, 3), (10, 45), (60, 1_770), (5_000, 40_000)])
def test_edges_are_exactly_as_many_distinct_and_no_loops(num_nodes: int, num_edges: int) -> None:
    edge_index = power_law(num_nodes, num_edges, seed=3)
    assert edge_index.shape == (2, num_edges)
    assert edge_index.dtype == torch.int64
    assert edge_index.is_contiguous()
    source, destination = edge_index
    assert bool((source != destination).all())
    assert len(torch.unique(source * num_nodes + destination)) == num_edges
    assert num_edges == 0 or (int(edge_index.min()) >= 0 and int(edge_index.max()) < num_nodes)


def test_depends_on_the_arguments_alone() -> None:
    expected = power_law(1_000, 8_000, seed=7)
    threads = torch.get_num_threads()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the point is that the legacy state does not matter
    torch.set_num_threads(1)
    try:
        again = power_law(1_000, 8_000, seed=7)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again, expected)
    assert not torch.equal(power_law(1_000, 8_000, seed=8), expected)


def test_global_random_states_are_left_alone() -> None:
    before = torch.get_rng_state()
    power_law(100, 500)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("end", [0, 1])
def test_smaller_exponent_has_the_heavier_tail(end: int) -> None:
    def share_of_top_percent(exponent: float) -> float:
        degree = torch.bincount(power_law(10_000, 100_000, exponent)[end], minlength=10_000)
        return float(degree.sort(descending=True).values[:100].sum() / degree.sum())

    heavy, middle, light = (share_of_top_percent(exponent) for exponent in (2.1, 2.5, 3.5))
    assert heavy > 1.3 * middle > 1.3 * 1.3 * light
    assert light > 0.01  # a uniform graph's share


def test_expected_degrees_follow_the_formula() -> None:
    # Sparse enough that hardly an edge is rejected: the hub's share is its weight over the sum of weights.
    num_nodes, num_edges = 20_000, 200_000
    degree = torch.bincount(power_law(num_nodes, num_edges, 3.5).flatten(), minlength=num_nodes)
    weights = np.arange(1, num_nodes + 1) ** (-1 / 2.5)
    expected = 2 * num_edges * weights[0] / weights.sum()
    assert abs(int(degree.max()) - expected) < 6 * math.sqrt(expected)


def test_hubs_and_edges_are_in_random_order() -> None:
    num_nodes, num_edges = 5_000, 50_000
    source, destination = power_law(num_nodes, num_edges)
    hubs = torch.bincount(destination, minlength=num_nodes).topk(50).indices.double()
    assert abs(float(hubs.mean()) / num_nodes - 0.5) < 0.2
    assert abs(float(source[: num_edges // 2].double().mean() / source.double().mean()) - 1) < 0.05
    assert not bool((destination.diff() >= 0).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0), r"num_nodes >= 2.*\(got 1\)$"),
        ((10, -1), r"num_edges >= 0 \(got -1\)$"),
        ((10, 46), r"num_edges <= 45, half of .* stalls \(got 46\)$"),
        ((10, 5, 1.0), r"exponent > 1 \(got 1.0\)$"),
        ((10, 5, math.nan), r"exponent > 1 \(got nan\)$"),
        ((10, 5, math.inf), r"exponent > 1 \(got inf\)$"),
        ((1_000, 2_000, 1.05), r"64 tries an edge.*\(got num_nodes=1000, num_edges=2000, exponent=1.05\)$"),
    ],
)
def test_refuses(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        power_law(*arguments)
