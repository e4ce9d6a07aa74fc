"""Bytes an epoch, against a count by hand and against the paper's formula."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from small_plans import hops, random_graph, random_plan

from gnnkit import Adjacency
from gnnkit.pipeline import HopShape, communication_volume, replicas, volume_formula, volume_ratio
from gnnkit.pipeline._workload import Workload


def pairs(adj: Adjacency, way: torch.Tensor) -> set[tuple[int, int]]:
    """List node and reading way, by walking the edges."""
    ends = adj.to_edge_index().t().tolist()
    return {(src, int(way[dst])) for src, dst in ends if way[src] != way[dst]}


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_bytes_are_those_counted_message_by_message(seed: int, ways: int, chunks: int, stages: list[int]) -> None:
    adj, cut = random_graph(seed=seed), random_plan(30, stages, ways, chunks, seed)
    layers, width = sum(stages), 5
    shapes = [replace(hop, message_channels=3 + index) for index, hop in enumerate(hops(layers, width))]
    shapes[0] = replace(shapes[0], message_grad=False)
    found = communication_volume(cut, adj, shapes, first_channels=width, dtype=torch.float64)
    rows = len(pairs(adj, cut.way))
    assert found.activations == found.gradients == (len(stages) - 1) * 30 * width * 8
    assert found.boundary == rows * sum(range(3, 3 + layers)) * 8
    assert found.boundary_gradients == rows * sum(range(4, 3 + layers)) * 8
    assert found.total == found.activations + found.gradients + found.boundary + found.boundary_gradients
    assert found.parameters == (ways * layers * 10 * 8 if ways > 1 else 0)
    assert rows == replicas(adj, cut.way, ways)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_equal_widths_give_the_papers_formula(seed: int, ways: int, stages: int, shares: bool) -> None:
    adj, cut = random_graph(seed=seed), random_plan(30, [2] * stages, ways, 3, seed)
    found = communication_volume(cut, adj, hops(2 * stages), first_channels=8, shares=shares)
    numbers = volume_formula(30, replicas(adj, cut.way, ways), 8, 2 * stages, stages, shares=shares)
    assert found.total == 4 * numbers
    assert found.mode == {(True, True): "single", (True, False): "graph", (False, True): "pipeline"}.get(
        (stages == 1, ways == 1), "hybrid"
    )


def test_the_ratio_is_that_of_the_two_volumes() -> None:
    adj = random_graph()
    graph, pipeline = random_plan(30, [6], 4, 1), random_plan(30, [2, 2, 1, 1], 1, 8)
    ways, stages = (communication_volume(cut, adj, hops(6), first_channels=8) for cut in (graph, pipeline))
    ratio = volume_ratio(30, replicas(adj, graph.way, 4), 6, 4)
    assert ways.total / stages.total == pytest.approx(ratio)
    with pytest.raises(ValueError, match="stages"):
        volume_ratio(30, 10, 6, 1)


def test_a_pipelines_bytes_depend_neither_on_depth_nor_on_the_graph() -> None:
    totals = {
        communication_volume(
            random_plan(30, [depth, depth], 1, 4), random_graph(30, edges), hops(2 * depth), first_channels=8
        ).total
        for depth in (1, 5, 20)
        for edges in (0, 50, 500)
    }
    assert totals == {2 * 30 * 8 * 4}


def test_what_travels_along_and_edge_states_count() -> None:
    adj, cut = random_graph(), random_plan(30, [1, 1, 1], 1, 2)
    states = [HopShape(8, 8, 8, 3, True, 0)] * 3
    plain = communication_volume(cut, adj, hops(3), first_channels=8).activations
    edges = communication_volume(cut, adj, states, first_channels=8).activations
    shared = communication_volume(cut, adj, states, first_channels=8, shares=True).activations
    assert edges - plain == 2 * adj.num_edges * 3 * 4
    assert shared - edges == plain
    half = communication_volume(cut, adj, states, first_channels=8, dtype=torch.bfloat16).activations
    assert 2 * half == edges


def test_only_a_boundarys_own_width_counts() -> None:
    adj, cut = random_graph(), random_plan(30, [1, 2], 1, 2)
    shapes = [HopShape(8, 4, 16, 0, True, 0), HopShape(16, 16, 64, 0, True, 0), HopShape(64, 64, 2, 0, True, 0)]
    assert communication_volume(cut, adj, shapes, first_channels=8).activations == 30 * 16 * 4


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_the_counts_of_cells_are_those_of_the_edges(seed: int, ways: int, chunks: int) -> None:
    adj, cut = random_graph(seed=seed), random_plan(30, [1], ways, chunks, seed)
    work = Workload.of(cut, adj, hops(1), first_channels=8)
    ends = adj.to_edge_index().t().tolist()
    way, chunk = cut.way.tolist(), cut.chunk.tolist()
    waiting = {dst for src, dst in ends if way[src] != way[dst] and chunk[src] == chunk[dst]}
    given_rows: dict[tuple[int, int, int], set[int]] = {}
    for src, dst in ends:
        if way[src] != way[dst]:
            given_rows.setdefault((way[src], way[dst], chunk[src]), set()).add(src)
    for w in range(ways):
        for k in range(chunks):
            own = [dst for _, dst in ends if (way[dst], chunk[dst]) == (w, k)]
            assert int(work.edges[w, k]) == len(own)
            assert int(work.waiting[w, k]) == sum(dst in waiting for dst in own)
            nodes = [node for node, cell in enumerate(zip(way, chunk, strict=True)) if cell == (w, k)]
            assert int(work.sources[w, k]) == len({src for src, dst in ends if dst in nodes} | set(nodes))
            assert int(work.rows[w, k]) == sum(cell == (w, k) for cell in zip(way, chunk, strict=True))
            for other in range(ways):
                assert int(work.given[w, other, k]) == len(given_rows.get((w, other, k), ()))


def test_what_does_not_fit_is_refused() -> None:
    adj, cut = random_graph(), random_plan(30, [2], 2, 2)
    with pytest.raises(ValueError, match=r"shapes: expected one for each of 2 hops \(got 3\)"):
        communication_volume(cut, adj, hops(3), first_channels=8)
    with pytest.raises(ValueError, match=r"first_channels: .* \(got 7\)"):
        communication_volume(cut, adj, hops(2), first_channels=7)
    with pytest.raises(ValueError, match=r"adj: expected one set of nodes, the plan's 30"):
        communication_volume(cut, random_graph(31), hops(2), first_channels=8)
    with pytest.raises(ValueError, match=r"way: expected \[30\]"):
        replicas(adj, cut.way[:4], 2)
    with pytest.raises(ValueError, match=r"way: expected numbers from 0 to 0"):
        replicas(adj, cut.way, 1)


def test_one_way_cuts_nothing_and_a_way_a_node_every_edge_but_loops() -> None:
    adj = random_graph()
    assert replicas(adj, torch.zeros(30, dtype=torch.int64), 1) == 0
    every = replicas(adj, torch.arange(30), 30)
    ends = adj.to_edge_index()
    assert every == len(torch.unique(ends[:, ends[0] != ends[1]], dim=1).t())
