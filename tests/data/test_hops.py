"""sample_hops: a batch is a subgraph of the graph, hop by hop, in the order that PyG's loaders expect."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Adjacency
from gnnkit.data._hops import Hops, hop_key, sample_hops
from gnnkit.datasets.synthetic import power_law

ADJ = Adjacency.from_edge_index(power_law(200, 2000), num_nodes=200)
CUMULATIVE = torch.cat(
    [part.cumsum(0) for part in (torch.arange(2000) % 7 + 1.0).double().split(ADJ.in_degree().tolist())]
)


def check(hops: Hops, seeds: Tensor, fanouts: list[int], replace: bool) -> None:
    """Require everything that a batch promises."""
    nodes, row, col, entries = hops.nodes, hops.row, hops.col, hops.entries
    assert {t.dtype for t in hops[:4]} == {torch.int64}
    assert torch.equal(nodes[: len(seeds)], seeds.long())
    found = nodes[len(seeds) :]
    assert len(found.unique()) == len(found)
    assert not set(found.tolist()) & set(seeds.tolist())
    # every edge is the graph's
    assert torch.equal(nodes[row], ADJ.indices[entries].long())
    assert bool((entries >= ADJ.indptr[nodes[col]]).all() and (entries < ADJ.indptr[nodes[col] + 1]).all())

    assert len(hops.num_sampled_nodes) == len(fanouts) + 1
    assert len(hops.num_sampled_edges) == len(fanouts)
    assert (sum(hops.num_sampled_nodes), sum(hops.num_sampled_edges)) == (len(nodes), len(row))
    node_ends = list(accumulate(hops.num_sampled_nodes))
    low = 0
    for hop, (fanout, num_edges) in enumerate(zip(fanouts, hops.num_sampled_edges, strict=True)):
        # destinations of a hop are the nodes that the hop before found, each with as many edges as the fan-out says
        begin, end = ([0, *node_ends])[hop], node_ends[hop]
        degree = ADJ.in_degree()[nodes[begin:end]]
        expected = degree if fanout < 0 else degree.clamp(max=fanout)
        if replace and fanout >= 0:
            expected = fanout * (degree > 0)
        part = slice(low, low + num_edges)
        assert torch.equal(col[part], torch.arange(begin, end).repeat_interleave(expected))
        if not replace:
            assert len(torch.unique(torch.stack([col[part], entries[part]]), dim=1)[0]) == num_edges
        # what the hop found is new, and in the order in which its edges come upon it
        new = [label for label in dict.fromkeys(row[part].tolist()) if label >= end]
        assert new == list(range(end, node_ends[hop + 1]))
        low += num_edges


@given(
    st.lists(st.integers(0, 199), max_size=12),
    st.lists(st.integers(-1, 6), max_size=4),
    st.integers(0, 2**64),
    st.booleans(),
    st.booleans(),
    st.sampled_from([torch.int32, torch.int64]),
)
def test_a_batch_keeps_its_promises_and_the_table_is_left_as_it_came(
    seeds: list[int], fanouts: list[int], key: int, replace: bool, weighted: bool, dtype: torch.dtype
) -> None:
    local = torch.full((200,), -1, dtype=torch.int32)
    given_seeds = torch.tensor(seeds, dtype=dtype)
    options = {"replace": replace, "cumulative": CUMULATIVE if weighted else None}
    hops = sample_hops(ADJ.indptr, ADJ.indices, given_seeds, fanouts, key, local=local, **options)
    check(hops, given_seeds, fanouts, replace)
    assert bool((local == -1).all())
    again = sample_hops(ADJ.indptr, ADJ.indices, given_seeds, fanouts, key, **options)
    assert all(torch.equal(a, b) for a, b in zip(hops[:4], again[:4], strict=True))


def test_all_hops_of_all_edges_are_the_neighbourhood(backend: str) -> None:
    seeds = torch.tensor([3, 150])
    reached, edges = {3, 150}, set()
    for _ in range(2):
        inside = torch.isin(torch.arange(200).repeat_interleave(ADJ.in_degree()), torch.tensor(sorted(reached)))
        edges |= set(inside.nonzero().squeeze(1).tolist())
        reached |= set(ADJ.indices[inside].tolist())
    hops = sample_hops(ADJ.indptr, ADJ.indices, seeds, [-1, -1], 0)
    assert set(hops.nodes.tolist()) == reached
    assert sorted(hops.entries.tolist()) == sorted(edges)


def test_a_seed_that_comes_twice_stays_two_nodes_with_draws_of_their_own(backend: str) -> None:
    node = int(ADJ.in_degree().argmax())
    hops = sample_hops(ADJ.indptr, ADJ.indices, torch.tensor([node, 5, node]), [8], 0)
    assert hops.nodes[:3].tolist() == [node, 5, node]
    first, second = (sorted(hops.entries[hops.col == k].tolist()) for k in (0, 2))
    assert len(first) == len(second) == 8
    assert first != second


def test_an_edge_from_a_seed_that_comes_twice_comes_from_the_first(backend: str) -> None:
    indptr, indices = torch.tensor([0, 1, 2]), torch.tensor([1, 0])  # 1 -> 0, 0 -> 1
    hops = sample_hops(indptr, indices, torch.tensor([1, 0, 0, 1]), [1], 0)
    assert (hops.nodes.tolist(), hops.row.tolist(), hops.col.tolist()) == ([1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 2, 3])


def test_hops_have_keys_of_their_own() -> None:
    keys = [hop_key(key, hop) for key in (0, 1, 2**64 - 1) for hop in range(4)]
    assert len(set(keys)) == 12
    assert all(0 <= key < 2**64 for key in keys)
    assert hop_key(2**64 + 1, 2) == hop_key(1, 2)


def test_threads_change_nothing() -> None:
    def nodes(key: int) -> Tensor:
        return sample_hops(ADJ.indptr, ADJ.indices, torch.arange(key, 200, 17), [5, 3], key).nodes

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(nodes, range(16)))
    assert all(torch.equal(nodes(key), found) for key, found in enumerate(together))


@pytest.mark.parametrize("wrong", [200, -1])
def test_a_wrong_seed_is_an_error_and_the_table_is_left_as_it_came(backend: str, wrong: int) -> None:
    local = torch.full((200,), -1, dtype=torch.int32)
    with pytest.raises(ValueError, match=rf"^ids: expected ids in \[0, 200\) \(got {wrong}\)$"):
        sample_hops(ADJ.indptr, ADJ.indices, torch.tensor([4, wrong]), [3], 0, local=local)
    assert bool((local == -1).all())


def test_an_error_half_way_leaves_the_table_as_it_came(backend: str) -> None:
    local = torch.full((3,), -1, dtype=torch.int32)
    indptr, indices = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 7])  # the second hop meets node 7 of 3
    with pytest.raises(ValueError, match=r"^ids: expected ids in \[0, 3\) \(got 7\)$"):
        sample_hops(indptr, indices, torch.tensor([0]), [1, 1], 0, local=local)
    assert bool((local == -1).all())
