"""Plan: refuses what is no plan, answers who is where and in which order; plan: makes one of a graph."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Adjacency
from gnnkit.pipeline import Plan, plan
from gnnkit.pipeline._partition import node_work

WAY = torch.tensor([0, 0, 0, 1, 1, 1])
CHUNK = torch.tensor([0, 1, 2, 2, 1, 0])


def small(**change: Any) -> Plan:
    """Three stages of two ways and three chunks, with something changed."""
    return Plan(**{"stages": ((0, 2), (2, 3), (3, 7)), "way": WAY, "chunk": CHUNK, **change})


def ring(num_nodes: int) -> Adjacency:
    return Adjacency.from_edge_index(torch.stack([torch.arange(num_nodes), torch.arange(num_nodes).roll(-1)]))


# ------------------------------------------------------------------ the dataclass


def test_sizes_and_places() -> None:
    one = small()
    assert (one.num_stages, one.num_layers, one.num_nodes, one.num_chunks, one.ways, one.world_size) == (
        3,
        7,
        6,
        3,
        2,
        6,
    )
    places = [(stage, way) for stage in range(3) for way in range(2)]
    assert [one.place(rank) for rank in range(6)] == places
    assert [one.rank(*place) for place in places] == list(range(6))


@given(st.integers(1, 30), st.integers(0, 2**40), st.integers(0, 10_000))
def test_the_order_is_of_all_chunks_and_a_function_of_seed_and_epoch(chunks: int, seed: int, epoch: int) -> None:
    def order(**change: Any) -> list[int]:
        ids = torch.arange(chunks)
        return Plan(((0, 1),), torch.zeros_like(ids), ids, **{"seed": seed, **change}).order(epoch)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn = order()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert order() == drawn
    assert sorted(drawn) == list(range(chunks))
    assert order(shuffle=False) == list(range(chunks))


def test_orders_of_epochs_and_seeds_differ_and_all_chunks_are_first_as_often() -> None:
    ids = torch.arange(8)
    orders = [[Plan(((0, 1),), ids * 0, ids, seed=seed).order(epoch) for epoch in range(400)] for seed in range(2)]
    assert len({tuple(order) for order in orders[0]}) > 390
    assert sum(a == b for a, b in zip(*orders, strict=True)) < 5
    first = torch.tensor([order[0] for order in orders[0]]).bincount(minlength=8)
    assert 25 < int(first.min()) <= int(first.max()) < 75  # 50 ± 6.6


def test_digests_are_equal_for_equal_plans_only() -> None:
    changes: list[dict[str, Any]] = [
        {"stages": ((0, 1), (1, 3), (3, 7))},
        {"way": WAY.flip(0)},
        {"chunk": torch.tensor([0, 1, 2, 2, 0, 1])},
        {"way": WAY.repeat(2), "chunk": CHUNK.repeat(2)},
        {"seed": 1},
        {"shuffle": False},
    ]
    assert len({small().digest(), *(small(**change).digest() for change in changes)}) == len(changes) + 1
    assert small(way=torch.stack([WAY, WAY], 1)[:, 0]).digest() == small().digest()
    assert pickle.loads(pickle.dumps(small())).digest() == small().digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, r"stages: expected runs .* \(got \(\)\)"),
        ({"stages": ((1, 3),)}, r"stages: expected runs .* \(got \(\(1, 3\),\)\)"),
        ({"stages": ((0, 2), (3, 4))}, r"stages: expected runs .* \(got "),
        ({"stages": ((0, 2), (1, 4))}, r"stages: expected runs .* \(got "),
        ({"stages": ((0, 2), (2, 2), (2, 4))}, r"stages: expected runs .* \(got "),
        ({"seed": -1}, r"seed: expected a whole number from 0 \(got -1\)"),
        ({"seed": 0.5}, r"seed: expected a whole number from 0 \(got 0.5\)"),
        ({"way": [0, 1]}, r"way: expected an int64 vector on the CPU \(got \[0, 1\]\)"),
        ({"way": WAY.int()}, r"way: expected an int64 vector .* \(got \[6\] torch.int32 on cpu\)"),
        ({"chunk": CHUNK[None]}, r"chunk: expected an int64 vector .* \(got \[1, 6\] torch.int64 on cpu\)"),
        ({"chunk": CHUNK[1:]}, r"way and chunk: expected one entry for each .* \(got 6 and 5\)"),
        ({"way": WAY[:0], "chunk": CHUNK[:0]}, r"of at least one node \(got 0 and 0\)"),
        ({"way": WAY - 1}, r"way and chunk: expected numbers from 0 \(got -1, 0\)"),
        ({"chunk": CHUNK * 10**12}, r"at most as many cells as the 6 nodes \(got 2 ways of 2000000000001 chunks\)"),
        ({"chunk": torch.tensor([0, 1, 2, 3, 1, 0])}, r"as the 6 nodes \(got 2 ways of 4 chunks\)"),
        ({"chunk": torch.tensor([0, 1, 2, 2, 1, 1])}, r"a node in every cell \(got none in way 1, chunk 0\)"),
    ],
)
def test_what_is_no_plan_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_ranks_stages_ways_and_epochs_out_of_range_are_refused() -> None:
    one = small()
    for rank in (-1, 6):
        with pytest.raises(ValueError, match=rf"rank: expected 0 to 5 \(got {rank}\)"):
            one.place(rank)
    for stage, way in ((3, 0), (0, 2), (-1, 0)):
        with pytest.raises(ValueError, match=rf"rank: .* \(got stage {stage}, way {way}\)"):
            one.rank(stage, way)
    with pytest.raises(ValueError, match=r"epoch: expected a number from 0 \(got -1\)"):
        one.order(-1)


# ------------------------------------------------------------------ plan


def check_cells(one: Plan, ways: int, chunks: int) -> Tensor:
    cells = one.way * chunks + one.chunk
    assert (one.ways, one.num_chunks) == (ways, chunks)
    assert cells.unique().tolist() == list(range(ways * chunks))
    return cells


@settings(max_examples=40)
@given(data=st.data())
def test_any_graph_gets_a_plan_of_the_sizes_asked_for(data: Any) -> None:
    num_nodes = data.draw(st.integers(1, 30))
    node = st.integers(0, num_nodes - 1)
    edges = data.draw(st.lists(st.tuples(node, st.one_of(node, st.just(0))), max_size=60))
    ways = data.draw(st.integers(1, num_nodes))
    chunks = data.draw(st.integers(1, num_nodes // ways))
    layers = data.draw(st.lists(st.floats(0, 10), min_size=1, max_size=6))
    stages = data.draw(st.integers(1, len(layers)))
    adj = Adjacency.from_edge_index(torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t(), num_nodes)
    one = plan(adj, layers, stages=stages, chunks=chunks, ways=ways, partitioner="builtin")
    cells = check_cells(one, ways, chunks)
    assert (one.num_stages, one.num_layers, one.num_nodes) == (stages, len(layers), num_nodes)
    work = node_work(adj)  # edges from other ways count
    load = torch.zeros(ways * chunks, dtype=torch.int64).index_add_(0, cells, work)
    for cell in range(ways * chunks):
        mean = float(load[cell // chunks * chunks :][:chunks].double().mean())
        assert int(load[cell]) <= max(1.03 * mean, mean + int(work[cells == cell].min()))


def test_a_way_of_one_hub_still_has_a_node_for_every_chunk() -> None:
    star = torch.stack([torch.arange(1, 100), torch.zeros(99, dtype=torch.int64)])
    one = plan(Adjacency.from_edge_index(star, 100), 2, chunks=10, ways=2, partitioner="builtin")
    check_cells(one, 2, 10)


def test_ways_and_the_chunks_of_each_work_alike_and_lie_together() -> None:
    ids = torch.randperm(2400, generator=torch.Generator().manual_seed(0))
    adj = Adjacency.from_edge_index(torch.stack([ids, ids.roll(-1)]))
    one = plan(adj, 4, stages=2, chunks=6, ways=2, partitioner="builtin")
    cells = check_cells(one, 2, 6)
    assert int(one.way.bincount().max()) <= 1.03 * 1200
    assert int(cells.bincount().max()) <= 1.03**2 * 200
    src, dst = adj.to_edge_index()
    assert int((one.way[src] != one.way[dst]).sum()) < 20
    assert int((cells[src] != cells[dst]).sum()) < 120  # at random 2200


def test_edges_from_another_way_are_work_of_a_chunk() -> None:
    """Two ways of four groups each; into the first group of each come edges from the other way besides."""
    draw, group = torch.Generator().manual_seed(1), torch.arange(800) // 100

    def towards(nodes: Tensor, low: Tensor, count: int, each: int) -> Tensor:
        """Edges into nodes, ``each`` of one of ``count`` nodes from ``low``."""
        dst = nodes.repeat(each)
        return torch.stack([low.repeat(each) + torch.randint(count, (len(dst),), generator=draw), dst])

    ids = torch.arange(800)
    hot = ids[group % 4 == 0]
    edges = [towards(ids, group * 100, 100, 12), towards(ids, group // 4 * 400, 400, 8)]
    edges.append(towards(hot, 400 - group[hot] // 4 * 400, 400, 12))
    adj = Adjacency.from_edge_index(torch.cat(edges, 1), 800)
    one = plan(adj, 2, chunks=4, ways=2, partitioner="builtin")
    assert torch.equal(one.way, group // 4) or torch.equal(one.way, 1 - group // 4)
    load = (one.way * 4 + one.chunk).bincount(node_work(adj).double()).reshape(2, 4)
    assert bool((load <= 1.03 * load.mean(1, keepdim=True) + 1).all())


def test_defaults() -> None:
    adj = ring(64)
    assert plan(adj, 4).num_chunks == 1
    one = plan(adj, 4, stages=2)
    assert (one.num_chunks, one.stages, one.seed, one.shuffle) == (8, ((0, 2), (2, 4)), 0, True)
    other = plan(adj, 4, stages=2, seed=5, shuffle=False)
    assert (other.seed, other.shuffle) == (5, False)


def test_costs_and_ends_decide_the_stages() -> None:
    assert plan(ring(8), [3, 1, 1, 1], stages=2).stages == ((0, 1), (1, 4))
    assert plan(ring(8), 8, stages=2, ends=(4.0, 0.0)).stages == ((0, 2), (2, 8))


def test_given_cells_are_taken_as_they_are() -> None:
    cells = torch.tensor([3, 2, 1, 0, 5, 4, 3, 3])
    one = plan(ring(8), 2, chunks=3, ways=2, partitioner=cells)
    assert one.way.tolist() == [1, 0, 0, 0, 1, 1, 1, 1]
    assert one.chunk.tolist() == [0, 2, 1, 0, 2, 1, 0, 0]


def test_the_same_arguments_give_the_same_plan() -> None:
    plans = [plan(ring(300), 4, stages=2, ways=2, partitioner="builtin", seed=seed) for seed in (0, 0, 1)]
    assert plans[0].digest() == plans[1].digest() != plans[2].digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": 5}, r"stages: expected 1 to 4, the number of layers \(got 5\)"),
        ({"stages": 0}, r"stages: expected 1 to 4, the number of layers \(got 0\)"),
        ({"layers": 0}, r"layers: expected a whole number from 1 \(got 0\)"),
        ({"layers": [1.0, -1.0]}, r"costs: expected finite numbers from 0.* \(got \[1.0, -1.0\]\)"),
        ({"chunks": 0}, r"chunks: expected a whole number from 1 \(got 0\)"),
        ({"chunks": 2.0}, r"chunks: expected a whole number from 1 \(got 2.0\)"),
        ({"ways": 0}, r"ways: expected a whole number from 1 \(got 0\)"),
        ({"seed": -1}, r"seed: expected a whole number from 0 \(got -1\)"),
        ({"chunks": 13}, r"chunks: expected at most as many cells as the 12 nodes \(got 1 ways of 13 chunks\)"),
        ({"ways": 5, "chunks": 3}, r"as the 12 nodes \(got 5 ways of 3 chunks\)"),
        ({"partitioner": "scotch"}, r"method: expected auto, metis or builtin \(got 'scotch'\)"),
        ({"partitioner": torch.zeros(12)}, r"partitioner: expected cells \[12\] int64 \(got \[12\] torch.float32\)"),
        ({"partitioner": torch.zeros(11, dtype=torch.int64)}, r"partitioner: expected cells \[12\] int64 \(got \[11\]"),
        ({"partitioner": torch.arange(12) % 5}, r"partitioner: expected cells from 0 to 3 \(got 0 to 4\)"),
        ({"partitioner": torch.arange(12) % 3}, r"a node in each of 4 cells \(got nodes in 3\)"),
        ({"ends": (0.0, -1.0)}, r"ends: expected two finite numbers from 0 \(got \(0.0, -1.0\)\)"),
        ({"adj": Adjacency.from_edge_index(torch.tensor([[0], [0]]), (2, 1))}, r"expected .* \(got "),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**{"adj": ring(12), "layers": 4, "chunks": 4, "partitioner": "builtin", **change})
