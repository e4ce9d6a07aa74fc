"""Topological concentration against its definition, written out with multisets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import networkx
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gnnkit.links import LinkGraph, subgraph_density, topological_concentration


def random_graph(seed: int, num_nodes: int = 14, num_edges: int = 26) -> tuple[LinkGraph, Tensor]:
    """Draw a training graph and pairs to list: some new, some of its edges, repeated and reversed ones, a self-loop."""
    draw = torch.Generator().manual_seed(seed)
    graph = LinkGraph.from_edges(torch.randint(num_nodes - 1, (2, num_edges), generator=draw), num_nodes)
    pairs = torch.randint(num_nodes, (2, 12), generator=draw)
    extra = [pairs[:, :3].flip(0), graph.edges[:, :2], torch.full((2, 1), 3)]
    return graph, torch.cat([pairs, *extra], dim=1)


def lists(edges: Tensor, num_nodes: int) -> list[set[int]]:
    """Give the neighbours of every node."""
    found: list[set[int]] = [set() for _ in range(num_nodes)]
    for i, j in edges.t().tolist():
        if i != j:
            found[i].add(j)
            found[j].add(i)
    return found


def by_definition(train: list[set[int]], listed: list[set[int]], hops: int, decay: float) -> list[float]:
    """Transcribe the definition: walks listed one by one, a multiset for each of their lengths."""
    reached: list[list[Counter[int]]] = []
    for node in range(len(train)):
        ends, layers = [node], []
        for _ in range(hops):
            ends = [after for end in ends for after in train[end]]
            layers.append(Counter(ends))
        reached.append(layers)
    result = []
    for i, partners in enumerate(listed):
        shares = []
        for j in sorted(partners):
            shared = total = 0.0
            for a, of_i in enumerate(reached[i]):
                for b, of_j in enumerate(reached[j]):
                    weight = decay ** (a + b)
                    shared += weight * sum(many for end, many in of_i.items() if end in of_j)
                    total += weight * (of_i.total() - (a == b == 0 and j in train[i]))
            enough = len(train[i]) > (j in train[i])
            shares.append(shared / total if enough else 0.0)
        result.append(sum(shares) / len(shares) if shares else 0.0)
    return result


@pytest.mark.parametrize("seed", range(10))
def test_one_hop_over_the_training_edges_is_the_clustering_coefficient(seed: int) -> None:
    graph, _ = random_graph(seed, num_nodes=40, num_edges=150)
    expected = networkx.clustering(networkx.Graph(graph.edges.t().tolist()))
    assert sum(expected.values()) > 1
    assert topological_concentration(graph).tolist() == [expected.get(node, 0) for node in range(40)]


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("decay", [None, 0.7])
def test_it_equals_the_definition(hops: int, decay: float | None) -> None:
    for seed in range(8):
        graph, pairs = random_graph(seed)
        train = lists(graph.edges, graph.num_nodes)
        beta = graph.num_nodes / sum(map(len, train)) if decay is None else decay
        for listed in (None, pairs):
            found = topological_concentration(graph, listed, hops, decay)
            edges = graph.edges if listed is None else listed
            expected = by_definition(train, lists(edges, graph.num_nodes), hops, beta)
            assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)
            assert 0 < found.max() <= 1 + 1e-12


def test_the_training_edges_given_as_pairs_are_the_training_edges() -> None:
    graph, _ = random_graph(3)
    assert torch.equal(topological_concentration(graph, graph.edges, 2), topological_concentration(graph, hops=2))


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_blocks_change_nothing(hops: int) -> None:
    graph, pairs = random_graph(5, num_nodes=30, num_edges=60)
    for listed in (None, pairs):
        whole = topological_concentration(graph, listed, hops)
        for max_bytes in (1, 3_000, 20_000):
            assert_close(topological_concentration(graph, listed, hops, max_bytes=max_bytes), whole, rtol=1e-13, atol=0)


def test_a_block_stays_below_the_bound() -> None:
    import tracemalloc

    graph = LinkGraph.from_edges(torch.randint(800, (2, 6_000), generator=torch.Generator().manual_seed(0)), 800)
    topological_concentration(graph)  # imports
    peaks = []
    for max_bytes in (2**20, 2**28):
        tracemalloc.start()
        topological_concentration(graph, hops=2, max_bytes=max_bytes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 3 * 2**20 < peaks[1]


@pytest.mark.parametrize("hops", [1, 2])
def test_odd_graphs(hops: int) -> None:
    none = torch.empty(2, 0, dtype=torch.int64)
    pair = torch.tensor([[0], [1]])
    assert topological_concentration(LinkGraph.from_edges(none, 0), hops=hops).shape == (0,)
    empty = LinkGraph.from_edges(none, 3)
    assert topological_concentration(empty, hops=hops).tolist() == [0, 0, 0]
    assert topological_concentration(empty, pair, hops).tolist() == [0, 0, 0]
    single = LinkGraph.from_edges(pair, 3)
    assert topological_concentration(single, hops=hops).tolist() == [0, 0, 0]
    assert topological_concentration(single, none, hops).tolist() == [0, 0, 0]
    # a triangle shares everything, whoever the new neighbour of 2 is
    triangle = LinkGraph.from_edges(torch.tensor([[0, 1, 0], [1, 2, 2]]), 4)
    assert topological_concentration(triangle, hops=1).tolist() == [1, 1, 1, 0]


def test_density_of_a_node_and_its_neighbours() -> None:
    graph, _ = random_graph(1, num_nodes=40, num_edges=150)
    plain = networkx.Graph(graph.edges.t().tolist())
    expected = [networkx.density(networkx.ego_graph(plain, node)) if node in plain else 0.0 for node in range(40)]
    assert_close(subgraph_density(graph), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph": torch.zeros(2, 3)}, r"graph: expected a LinkGraph \(got float32 tensor of shape \[2, 3\]\)"),
        ({"pairs": torch.tensor([[0], [9]])}, r"expected .*got"),
        ({"pairs": torch.zeros(2, 1)}, r"expected an int32 or int64 tensor .*got"),
        ({"hops": 0}, r"hops: expected a whole number >= 1 \(got 0\)"),
        ({"hops": 1.0}, r"hops: expected a whole number >= 1 \(got 1.0\)"),
        ({"hops": True}, r"hops: .*\(got True\)"),
        ({"decay": -0.1}, r"decay: expected a finite number >= 0 \(got -0.1\)"),
        ({"decay": float("nan")}, r"decay: .*\(got nan\)"),
        ({"decay": float("inf")}, r"decay: .*\(got inf\)"),
        ({"max_bytes": 0}, r"max_bytes: expected a whole number >= 1 \(got 0\)"),
    ],
)
def test_bad_input_is_told(change: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"graph": LinkGraph.from_edges(torch.tensor([[0], [1]]), 3), "pairs": None}
    call: Callable[..., Tensor] = topological_concentration
    call(**valid)
    with pytest.raises(ValueError, match=message):
        call(**{**valid, **change})
