"""Heuristics equal NetworkX and dense linear algebra, on graphs with isolated nodes, in blocks of any size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from torch import Tensor

from gnnkit.links import (
    LinkGraph,
    adamic_adar,
    common_neighbors_score,
    jaccard,
    katz,
    ppr,
    preferential_attachment,
    resource_allocation,
    shortest_path,
)

GRAPHS = 200
BY_NEIGHBORS: dict[Callable[..., Tensor], Any] = {
    common_neighbors_score: networkx.common_neighbor_centrality,
    adamic_adar: networkx.adamic_adar_index,
    resource_allocation: networkx.resource_allocation_index,
    jaccard: networkx.jaccard_coefficient,
    preferential_attachment: networkx.preferential_attachment,
}
BLOCKED = [common_neighbors_score, adamic_adar, resource_allocation, jaccard, katz, ppr, shortest_path]


def random_graph(seed: int) -> tuple[LinkGraph, networkx.Graph, Tensor]:
    """A graph of 2 to 30 nodes, from sparse to dense, some of them isolated; and all pairs of two nodes."""
    draw = np.random.default_rng(seed)
    size = int(draw.integers(2, 31))
    num_edges = int(draw.integers(0, draw.choice([size, 3 * size, size * size]) + 1))
    edges = torch.from_numpy(draw.integers(0, size, (2, num_edges)))
    graph = LinkGraph.from_edges(edges, size)
    plain = networkx.Graph(graph.edges.t().tolist())
    plain.add_nodes_from(range(size))
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size)).t()
    return graph, plain, pairs[:, pairs[0] != pairs[1]]


def dense(graph: LinkGraph) -> np.ndarray[Any, Any]:
    """The matrix of a graph."""
    matrix = np.zeros((graph.num_nodes, graph.num_nodes))
    matrix[tuple(graph.edges.numpy())] = 1
    return matrix + matrix.T


@pytest.mark.parametrize("score", BY_NEIGHBORS, ids=lambda score: score.__name__)
def test_scores_by_neighbors_equal_networkx(score: Callable[..., Tensor]) -> None:
    for seed in range(GRAPHS):
        graph, plain, pairs = random_graph(seed)
        asked = [tuple(pair) for pair in pairs.t().tolist()]
        found = score(graph, pairs)
        if score is common_neighbors_score:
            expected = [float(len(set(plain[u]) & set(plain[v]))) for u, v in asked]
        else:
            expected = [float(value) for _, _, value in BY_NEIGHBORS[score](plain, asked)]
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=0)


def test_shortest_path_equals_networkx() -> None:
    for seed in range(GRAPHS):
        graph, plain, pairs = random_graph(seed)
        lengths = dict(networkx.all_pairs_shortest_path_length(plain))
        expected = [1 / lengths[u][v] if v in lengths[u] else 0.0 for u, v in pairs.t().tolist()]
        assert shortest_path(graph, pairs).tolist() == expected


def test_ppr_equals_a_dense_solution_and_networkx() -> None:
    for seed in range(GRAPHS):
        graph, plain, pairs = random_graph(seed)
        alpha = 0.05 + 0.9 * seed / GRAPHS
        matrix, size = dense(graph), graph.num_nodes
        walk = matrix / np.maximum(matrix.sum(axis=0), 1)
        walk[:, matrix.sum(axis=0) == 0] = np.eye(size)[:, matrix.sum(axis=0) == 0]  # who has no neighbour stays
        expected = alpha * np.linalg.inv(np.eye(size) - (1 - alpha) * walk)  # column i: walks from i
        found = ppr(graph, pairs, alpha=alpha).numpy()
        np.testing.assert_allclose(found, expected[pairs[1], pairs[0]], rtol=0, atol=1e-12)
        if seed % 20 == 0:
            node = int(pairs[0, 0])
            ranks = networkx.pagerank(plain, alpha=1 - alpha, personalization={node: 1.0}, tol=1e-14, max_iter=10_000)
            for (_, target), value in zip(pairs.t().tolist(), found, strict=True):
                if _ == node:
                    assert value == pytest.approx(ranks[target], abs=1e-12)


def test_katz_equals_a_dense_inverse_and_sums_of_powers() -> None:
    for seed in range(GRAPHS):
        graph, _, pairs = random_graph(seed)
        matrix = dense(graph)
        largest = max(np.linalg.eigvalsh(matrix).max(), 1e-3)
        beta = float(0.95 * (seed + 1) / GRAPHS / largest)
        inverse = np.linalg.inv(np.eye(len(matrix)) - beta * matrix) - np.eye(len(matrix))
        np.testing.assert_allclose(katz(graph, pairs, beta=beta).numpy(), inverse[*pairs.numpy()], rtol=0, atol=1e-12)
        powers = sum(np.linalg.matrix_power(0.3 * matrix, length) for length in (1, 2, 3))
        found = katz(graph, pairs, beta=0.3, max_length=3).numpy()
        np.testing.assert_allclose(found, np.asarray(powers)[*pairs.numpy()], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("score", BLOCKED, ids=lambda score: score.__name__)
def test_the_bound_of_memory_changes_no_number(score: Callable[..., Tensor]) -> None:
    draw = torch.Generator().manual_seed(0)
    graph = LinkGraph.from_edges(torch.randint(150, (2, 400), generator=draw), 160)
    pairs = torch.randint(160, (2, 900), generator=draw).int()
    whole = score(graph, pairs)
    for max_bytes in (1, 5_000, 50_000):
        torch.testing.assert_close(score(graph, pairs, max_bytes=max_bytes), whole, rtol=1e-13, atol=1e-15)


def test_a_node_paired_with_itself_and_nodes_without_neighbors() -> None:
    star = LinkGraph.from_edges(torch.tensor([[0, 0], [1, 2]]), 5)  # 3 and 4 have no edge
    pairs = torch.tensor([[0, 1, 3, 3, 0], [0, 1, 3, 4, 3]])
    assert common_neighbors_score(star, pairs).tolist() == [2, 1, 0, 0, 0]
    assert adamic_adar(star, pairs).tolist() == [0, 1 / math.log(2), 0, 0, 0]
    assert resource_allocation(star, pairs).tolist() == [2, 0.5, 0, 0, 0]
    assert jaccard(star, pairs).tolist() == [1, 1, 0, 0, 0]
    assert preferential_attachment(star, pairs).tolist() == [4, 1, 0, 0, 0]
    assert shortest_path(star, pairs).tolist() == [math.inf, math.inf, math.inf, 0, 0]
    assert ppr(star, pairs)[2:].tolist() == [1, 0, 0]
    assert katz(star, pairs)[2:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("score", [*BY_NEIGHBORS, katz, ppr, shortest_path], ids=lambda score: score.__name__)
def test_no_pairs_no_scores_and_other_pairs_are_refused(score: Callable[..., Tensor]) -> None:
    graph = LinkGraph.from_edges(torch.tensor([[0], [1]]), 3)
    assert score(graph, torch.empty(2, 0, dtype=torch.int64)).tolist() == []
    with pytest.raises(ValueError, match=r"^pairs: expected ids in \[0, 3\) \(got 3\)$"):
        score(graph, torch.tensor([[0], [3]]))
    with pytest.raises(ValueError, match=r"^pairs: expected an int32 or int64 tensor of shape \[2, P\]"):
        score(graph, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda graph, pairs: katz(graph, pairs, beta=0.6), r"^beta: expected less than 0.5, where .*\(got 0.6\)$"),
        (lambda graph, pairs: katz(graph, pairs, beta=0.0), r"^beta: expected a number > 0 \(got 0.0\)$"),
        (lambda graph, pairs: katz(graph, pairs, max_length=0), r"^max_length: expected a whole number >= 1"),
        (lambda graph, pairs: ppr(graph, pairs, alpha=1.0), r"^alpha: expected a number in \(0, 1\) \(got 1.0\)$"),
        (lambda graph, pairs: ppr(graph, pairs, max_bytes=0), r"^max_bytes: expected at least 1 \(got 0\)$"),
    ],
)
def test_parameters_without_a_finite_score_are_refused(call: Any, message: str) -> None:
    ring = LinkGraph.from_edges(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), 4)
    with pytest.raises(ValueError, match=message):
        call(ring, torch.tensor([[0], [2]]))
