"""Splits: nothing of validation or test in the training graph, no negative that is an edge, the protocols' sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.links import LinkGraph, LinkSplit, heart_split, ogb_link_split, random_link_split


def random_pairs(num_nodes: int, num_pairs: int, seed: int) -> Tensor:
    """Pairs with loops, copies and reversed copies."""
    return torch.randint(num_nodes, (2, num_pairs), generator=torch.Generator().manual_seed(seed))


def unordered(pairs: Tensor) -> set[tuple[int, int]]:
    """The pairs as a set, the smaller node first."""
    return {(min(u, v), max(u, v)) for u, v in pairs.flatten(1).t().tolist()}


def protocols(edges: Tensor, num_nodes: int, seed: int) -> list[LinkSplit]:
    """Both random protocols."""
    return [random_link_split(edges, num_nodes, seed), heart_split(edges, num_nodes)]


@given(st.integers(15, 60), st.integers(0, 10**6))
def test_parts_share_no_pair_and_negatives_are_no_positives(num_nodes: int, seed: int) -> None:
    edges = random_pairs(num_nodes, 4 * num_nodes, seed)
    graph = LinkGraph.from_edges(edges, num_nodes)
    # negatives of validation: as many as test has, and as many as it has edges
    for split, as_many in zip(protocols(edges, num_nodes, seed), (2, 1), strict=True):
        parts = [unordered(part) for part in (split.train, split.valid, split.test)]
        assert set.union(*parts) == unordered(graph.edges)
        assert sum(map(len, parts)) == graph.num_edges == sum(split.sizes)
        negatives = [unordered(split.valid_neg), unordered(split.test_neg)]
        assert [len(part) for part in negatives] == [split.sizes[as_many], split.sizes[2]]
        assert not negatives[0] & negatives[1]
        for part in negatives:
            assert not part & unordered(graph.edges)
            assert all(u != v for u, v in part)
        assert set(split.leaks().values()) == {0}


@given(st.integers(0, 10**6))
def test_the_training_graph_holds_training_pairs_alone(seed: int) -> None:
    for split in protocols(random_pairs(30, 120, seed), 30, seed):
        graph = split.graph()
        assert unordered(graph.edges) == unordered(split.train)
        held = torch.cat([split.valid, split.test], dim=1)
        assert set(graph.numbers(torch.cat([held, held.flip(0)], dim=1)).tolist()) == {-1}
        more = split.graph(include_valid=True)
        assert unordered(more.edges) == unordered(split.train) | unordered(split.valid)
        assert set(more.numbers(split.test).tolist()) == {-1}


@pytest.mark.parametrize("num_edges", [20, 57, 5278])
def test_sizes_are_those_of_the_authors(num_edges: int) -> None:
    path = torch.stack([torch.arange(num_edges), torch.arange(num_edges) + 1])
    drawn = int(num_edges * 0.2)  # for test, and again for validation, of which a half goes back to training
    expected = (num_edges - drawn - drawn // 2, drawn // 2, drawn)
    assert random_link_split(path, num_edges + 1, 0).sizes == expected
    tenth, twentieth = int(num_edges * 0.1), int(num_edges * 0.05)
    assert heart_split(path, num_edges + 1).sizes == (num_edges - tenth - twentieth, twentieth, tenth)


def test_the_seed_alone_decides_and_directions_copies_and_loops_do_not() -> None:
    edges = random_pairs(40, 150, 3)
    first = random_link_split(edges, 40, seed=1)
    torch.manual_seed(5)
    noisy = torch.cat([edges.flip(0), edges[:, :9], torch.arange(40).repeat(2, 1)], dim=1)
    again, other = random_link_split(noisy, 40, seed=1), random_link_split(edges, 40, seed=2)
    for name in ("train", "valid", "valid_neg", "test", "test_neg"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))
    assert torch.equal(heart_split(edges, 40).test, heart_split(noisy, 40).test)


def test_every_edge_tests_and_every_other_pair_is_drawn_about_equally_often() -> None:
    edges = random_pairs(12, 40, 0)
    graph = LinkGraph.from_edges(edges, 12)
    tested, drawn = torch.zeros(graph.num_edges), torch.zeros(12, 12)
    for seed in range(600):
        split = random_link_split(edges, 12, seed)
        tested[graph.numbers(split.test)] += 1
        drawn[split.test_neg[0], split.test_neg[1]] += 1
    free = torch.ones(12, 12).triu(1)
    free[graph.edges[0], graph.edges[1]] = 0
    assert drawn[free == 0].sum() == 0
    for counts in (tested, drawn[free == 1]):  # each within six deviations of a binomial's
        mean = counts.mean()
        assert (counts - mean).abs().max() < 6 * mean.sqrt()


def test_a_graph_that_is_nearly_complete_gives_the_pairs_that_are_left() -> None:
    every = torch.triu_indices(12, 12, 1)
    edges = every[:, 12:]  # 54 edges: 5 validate, 10 test, and 12 pairs are free
    with pytest.raises(ValueError, match=r"^edges: expected at least 20 pairs .* \(got 12\)$"):
        random_link_split(edges, 12, 0)
    split = random_link_split(edges, 12, 0, valid=0.04, test=0.12)  # 2 and 6
    assert len(unordered(split.valid_neg) | unordered(split.test_neg)) == 12
    assert split.leaks()["test_neg in train"] == 0


@pytest.mark.parametrize(
    ("valid", "test"), [(0.3, 0.2), (0.0, 0.2), (0.1, 0.5), (-0.1, 0.2), (1, 2), (float("nan"), 0.2), ("0.1", 0.2)]
)
def test_shares_that_leave_nothing_to_train_on_are_refused(valid: Any, test: Any) -> None:
    with pytest.raises(ValueError, match=r"^valid and test: expected shares 0 < valid <= test < 0.5 \(got "):
        random_link_split(random_pairs(9, 30, 0), 9, 0, valid=valid, test=test)


def test_too_few_edges_and_a_wrong_seed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^edges: expected some for .*test \(got 4, 0 and 0 of 4\)$"):
        random_link_split(torch.stack([torch.arange(4), torch.arange(4) + 1]), 9, 0)
    with pytest.raises(ValueError, match=r"^edges: expected some for .*test \(got 18, 0 and 1 of 19\)$"):
        heart_split(torch.stack([torch.arange(19), torch.arange(19) + 1]), 20)
    with pytest.raises(ValueError, match=r"^seed: expected a whole number >= 0 \(got -1\)$"):
        random_link_split(random_pairs(9, 30, 0), 9, -1)


# ------------------------------------------------------------------ LinkSplit, OGB's layouts


def fields(**changed: Any) -> dict[str, Any]:
    """What a small split holds."""
    pairs = {name: torch.tensor([[0, 1], [1, 2]]) for name in ("train", "valid", "valid_neg", "test", "test_neg")}
    return {**pairs, "num_nodes": 3, **changed}


def test_leaks_counts_pairs_in_either_direction() -> None:
    train, valid, test = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0], [1, 3]]), torch.tensor([[3, 0], [0, 4]])
    negatives = torch.tensor([[[1, 4]], [[0, 3]]])  # (1, 0) is a training pair
    split = LinkSplit(train, valid, negatives.transpose(1, 2), test, test, num_nodes=5)
    assert {name: count for name, count in split.leaks().items() if count} == {
        "valid in train": 1,
        "test in valid": 1,
        "valid_neg in train": 1,
        "test_neg in valid": 1,
        "test_neg in test": 2,
    }


def test_fields_are_int64_and_move_together() -> None:
    split = LinkSplit(**fields(train=torch.tensor([[0], [1]], dtype=torch.int32))).to("cpu")
    assert split.train.dtype == torch.int64
    assert split.num_nodes == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_nodes": 2}, r"^train: expected ids in \[0, 2\) \(got 2\)$"),
        (
            {"test": torch.zeros(3, 2).long()},
            r"^test: expected .*shape \[2, P\] \(got int64 tensor of shape \[3, 2\]\)$",
        ),
        ({"test_neg": torch.zeros(2, 3, 5).long()}, r"^test_neg: expected rows for 2 positives \(got 3\)$"),
        ({"valid_neg": torch.zeros(2, 3)}, r"^valid_neg: expected an int32 or int64 .*\(got float32 "),
        ({"valid_neg": torch.full((2, 2, 1), 9)}, r"^valid_neg: expected ids in \[0, 3\) \(got 9\)$"),
    ],
)
def test_a_split_of_other_shapes_is_refused(changed: dict[str, Any], message: str) -> None:
    LinkSplit(**fields())
    with pytest.raises(ValueError, match=message):
        LinkSplit(**fields(**changed))


def test_both_layouts_of_ogb_are_read() -> None:
    edges, negatives = torch.tensor([[0, 3], [1, 2]]), torch.tensor([[2, 3], [0, 2], [1, 3]])
    held = {"edge": edges, "edge_neg": negatives}
    split = ogb_link_split({"train": {"edge": edges, "year": torch.ones(2)}, "valid": held, "test": held}, 4)
    assert torch.equal(split.train, edges.t())
    assert torch.equal(split.test_neg, negatives.t())
    ends = {"source_node": torch.tensor([0, 1]), "target_node": torch.tensor([2, 3])}
    held = {**ends, "target_node_neg": torch.tensor([[1, 2, 3], [0, 2, 2]])}
    split = ogb_link_split({"train": ends, "valid": held, "test": held}, 4)
    assert torch.equal(split.valid, torch.tensor([[0, 1], [2, 3]]))
    assert split.valid_neg.tolist() == [[[0, 0, 0], [1, 1, 1]], [[1, 2, 3], [0, 2, 2]]]


@pytest.mark.parametrize(
    ("split_edge", "message"),
    [
        ([], r"^split_edge: expected a dict of train, valid, test \(got list\)$"),
        ({"train": {}}, r"^split_edge: expected a dict of train, valid, test \(got train\)$"),
        ({"train": {"head": 1}, "valid": {}, "test": {}}, r"^train: expected edge, or source_node .*\(got head\)$"),
        ({part: {"edge": torch.ones(1, 2)} for part in ("train", "valid", "test")}, r"^valid: expected edge_neg or"),
    ],
)
def test_other_layouts_are_refused(split_edge: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ogb_link_split(split_edge, 3)
