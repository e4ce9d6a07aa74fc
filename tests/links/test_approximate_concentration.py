"""The approximation: its expectation, how fast it is reached, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gnnkit.links import LinkGraph, approximate_concentration

WEIGHTS = (1.0, 0.5, 0.25)


def make() -> tuple[LinkGraph, Tensor]:
    """Draw a graph of 30 nodes, the last two of them alone, and other pairs to list."""
    draw = torch.Generator().manual_seed(0)
    graph = LinkGraph.from_edges(torch.randint(28, (2, 70), generator=draw), 30)
    return graph, torch.randint(30, (2, 25), generator=draw)


def dense(graph: LinkGraph) -> Tensor:
    """Give the adjacency matrix."""
    matrix = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    matrix[graph.edges[0], graph.edges[1]] = 1
    return matrix + matrix.t()


def row_mean(matrix: Tensor) -> Tensor:
    """Divide the rows by their sums; rows of zeros stay."""
    return matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)


def expectation(graph: LinkGraph, listed: LinkGraph, hops: int) -> tuple[Tensor, Tensor]:
    """Give the expectation by dense products, and d^0.5 times a bound of the standard deviation."""
    walk = row_mean(dense(graph))
    spread = sum(WEIGHTS[k] * torch.linalg.matrix_power(walk, k + 1) for k in range(hops))
    assert isinstance(spread, Tensor)
    gram, chosen = spread @ spread.t(), row_mean(dense(listed))
    norms = gram.diagonal().sqrt()
    deviation = (norms[:, None] ** 2 * norms[None] ** 2 + gram**2).sqrt()
    return (chosen * gram).sum(dim=1), (chosen * deviation).sum(dim=1)


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("own", [True, False])
def test_it_converges_to_its_expectation(hops: int, own: bool) -> None:
    graph, pairs = make()
    listed = graph if own else LinkGraph.from_edges(pairs, graph.num_nodes)
    expected, deviation = expectation(graph, listed, hops)
    assert expected.max() > 0.05
    errors = []
    for dim in (64, 1024, 16384):
        found = approximate_concentration(graph, None if own else pairs, hops, dim, weights=WEIGHTS[:hops]).double()
        assert ((found - expected).abs() <= 4 * deviation / dim**0.5 + 1e-6).all()
        errors.append(float((found - expected).square().mean().sqrt()))
    assert errors[2] < errors[0] / 8  # 1 / 16 when infinitely many nodes are drawn


def test_the_mean_over_seeds_is_the_expectation() -> None:
    graph, _ = make()
    expected, deviation = expectation(graph, graph, 1)
    drawn = torch.stack([approximate_concentration(graph, dim=16, seed=seed).double() for seed in range(400)])
    assert ((drawn.mean(dim=0) - expected).abs() <= 4 * deviation / (16 * 400) ** 0.5 + 1e-6).all()
    assert (drawn.std(dim=0) <= 1.2 * deviation / 4 + 1e-6).all()


def test_cosines_are_those_of_the_walk_distributions() -> None:
    graph, _ = make()
    walk = row_mean(dense(graph))
    unit = torch.nn.functional.normalize(walk + walk @ walk, dim=1)
    expected = (walk * (unit @ unit.t())).sum(dim=1)
    found = approximate_concentration(graph, hops=2, dim=16384, similarity="cosine").double()
    assert_close(found, expected, rtol=0, atol=0.05)
    assert expected.max() > 0.5


def test_a_seed_is_a_projection() -> None:
    graph, _ = make()
    torch.manual_seed(1)
    first = approximate_concentration(graph, seed=3)
    state = torch.get_rng_state()
    assert torch.equal(approximate_concentration(graph, seed=3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(approximate_concentration(graph, seed=4), first)
    assert torch.equal(approximate_concentration(graph, graph.edges, seed=3), first)


def test_nodes_without_neighbours() -> None:
    graph, pairs = make()
    found = approximate_concentration(graph, hops=2, similarity="cosine")
    assert found[28:].tolist() == [0, 0]
    assert found.isfinite().all()
    assert approximate_concentration(graph, pairs[:, :0]).tolist() == [0] * 30
    none = LinkGraph.from_edges(pairs[:, :0], 0)
    assert approximate_concentration(none).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph": None}, r"graph: expected a LinkGraph \(got NoneType\)"),
        ({"pairs": torch.tensor([[0], [30]])}, r"expected .*got"),
        ({"hops": 0}, r"hops: expected a whole number >= 1 \(got 0\)"),
        ({"dim": 0}, r"dim: expected a whole number >= 1 \(got 0\)"),
        ({"weights": (1.0,)}, r"weights: expected 2 finite numbers, one a hop \(got \(1.0,\)\)"),
        ({"weights": (1.0, float("nan"))}, r"weights: .*got"),
        ({"weights": 1.0}, r"weights: .*\(got 1.0\)"),
        ({"similarity": "euclid"}, r"similarity: expected 'dot' or 'cosine' \(got 'euclid'\)"),
        ({"seed": -1}, r"seed: expected a whole number >= 0 \(got -1\)"),
    ],
)
def test_bad_input_is_told(change: dict[str, Any], message: str) -> None:
    graph, pairs = make()
    valid: dict[str, Any] = {"graph": graph, "pairs": pairs, "hops": 2, "weights": (1.0, 0.5)}
    approximate_concentration(**valid)
    with pytest.raises(ValueError, match=message):
        approximate_concentration(**{**valid, **change})
