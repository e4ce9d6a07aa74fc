"""Hits, ranks and means at nodes against loops over links."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gnnkit.links import LinkGraph, hits_at, link_hits, node_ranks, per_node
from gnnkit.models import NCN

PAIRS = torch.tensor([[0, 0, 3, 5], [1, 2, 0, 4]])


def make() -> tuple[LinkGraph, Tensor, Callable[[Tensor], Tensor]]:
    """Draw known edges, new links, and a score that sees which end asks, with many ties."""
    draw = torch.Generator().manual_seed(0)
    known = LinkGraph.from_edges(torch.randint(15, (2, 25), generator=draw), 16)
    drawn = LinkGraph.from_edges(torch.randint(16, (2, 40), generator=draw), 16).edges
    links = drawn[:, known.numbers(drawn) < 0].flip(0)
    table = torch.randint(6, (16, 16), generator=draw).float()
    return known, links, lambda pairs: table[pairs[0], pairs[1]]


def test_a_link_is_a_hit_above_the_kth_negative() -> None:
    draw = torch.Generator().manual_seed(0)
    pos, neg = torch.randint(20, (50,), generator=draw).float(), torch.randint(20, (30,), generator=draw).float()
    for k in (1, 2, 10, 30):
        threshold = sorted(neg.tolist(), reverse=True)[k - 1]
        hits = link_hits(pos, neg, k)
        assert hits.tolist() == [score > threshold for score in pos.tolist()]
        assert hits.double().mean().item() == pytest.approx(hits_at(pos, neg, k))
    assert link_hits(pos, neg, 31).all()
    assert link_hits(pos[:0], neg, 3).tolist() == []


@pytest.mark.parametrize("max_pairs", [1, 50, 2**20])
def test_ranks_at_nodes_are_those_of_a_loop(max_pairs: int) -> None:
    known, links, score = make()
    edges = {frozenset(edge) for edge in known.edges.t().tolist()}
    assert links.shape[1] > 10
    expected: list[list[int]] = []
    for ends in (links, links.flip(0)):
        row = []
        for i, j in ends.t().tolist():
            others = [u for u in range(16) if u not in (i, j) and {i, u} not in edges]
            own = score(torch.tensor([[i], [j]])).item()
            row.append(1 + sum(score(torch.tensor([[i], [u]])).item() >= own for u in others))
        expected.append(row)
    assert node_ranks(score, links, known, max_pairs=max_pairs).tolist() == expected


def test_models_can_be_ranked_by() -> None:
    known, links, _ = make()
    ncn, h = NCN(4, 8).eval(), torch.rand(16, 4)
    table = torch.full((16, 16), -math.inf)
    for i in range(16):
        for j in range(16):
            if i != j and int(known.numbers(torch.tensor([[i], [j]]))) < 0:
                table[i, j] = ncn(h, known.adj, torch.tensor([[i], [j]])).item()
    ranks = node_ranks(lambda pairs: ncn(h, known.adj, pairs), links, known)
    for (i, j), (first, second) in zip(links.t().tolist(), ranks.t().tolist(), strict=True):
        assert first == int((table[i] >= table[i, j] - 1e-6).sum())
        assert second == int((table[j] >= table[j, i] - 1e-6).sum())


def test_ranks_of_no_links() -> None:
    known, links, score = make()
    assert node_ranks(score, links[:, :0], known).shape == (2, 0)


def test_values_are_gathered_at_both_ends() -> None:
    nan = math.nan
    values = torch.tensor([1.0, 0.0, 0.5, 2.0])
    found = per_node(PAIRS, values, 7)
    assert_close(found, torch.tensor([0.5, 1, 0, 0.5, 2, 2, nan], dtype=torch.float64), equal_nan=True)
    best = per_node(PAIRS, values, 7, "max")
    assert_close(best, torch.tensor([1, 1, 0, 0.5, 2, 2, nan], dtype=torch.float64), equal_nan=True)
    ends = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = per_node(PAIRS, ends, 7)
    assert_close(found, torch.tensor([10 / 3, 5, 6, 3, 8, 4, nan], dtype=torch.float64), equal_nan=True)
    assert per_node(PAIRS[:, :0], values[:0], 2).isnan().all()


def test_recall_and_hits_at_a_node() -> None:
    known, links, score = make()
    found = node_ranks(score, links, known) <= 4
    recall, hits = per_node(links, found, 16), per_node(links, found, 16, "max")
    assert torch.equal(hits > 0, recall > 0)
    assert ((recall > 0) & (recall < 1)).any()
    assert set(hits[~hits.isnan()].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("function", "change", "message"),
    [
        (link_hits, {"k": 0}, r"k: expected a whole number >= 1 \(got 0\)"),
        (link_hits, {"pos": torch.tensor([math.nan])}, r"pos: expected scores \(got NaN\)"),
        (link_hits, {"neg": torch.tensor([math.nan])}, r"neg: expected scores \(got NaN\)"),
        (link_hits, {"neg": torch.zeros(2, 2)}, r"neg: expected a 1-D .*got"),
        (link_hits, {"neg": torch.zeros(2, dtype=torch.float64)}, r"expected one dtype \(got"),
        (per_node, {"pairs": torch.tensor([[0], [7]])}, r"expected .*got"),
        (per_node, {"pairs": torch.tensor([[0, 1, 2, 3], [1, 1, 1, 1]])}, r"pairs: .*\(got a self-loop\)"),
        (per_node, {"values": torch.zeros(3)}, r"values: expected \[P\] or \[2, P\] for P = 4 \(got"),
        (per_node, {"values": torch.zeros(4, dtype=torch.complex64)}, r"values: .*got complex64"),
        (per_node, {"reduce": "sum"}, r"reduce: expected 'mean' or 'max' \(got 'sum'\)"),
        (node_ranks, {"known": None}, r"graph: expected a LinkGraph \(got NoneType\)"),
        (node_ranks, {"pairs": torch.tensor([[0], [16]])}, r"expected .*got"),
        (node_ranks, {"pairs": torch.tensor([[0], [0]])}, r"pairs: expected links between two nodes .*got"),
        (node_ranks, {"pairs": make()[0].edges}, r"pairs: expected links .*got"),
        (node_ranks, {"max_pairs": 0}, r"max_pairs: expected a whole number >= 1 \(got 0\)"),
        (node_ranks, {"score": lambda pairs: pairs[0]}, r"score: expected \d+ float scores \(got int64"),
        (node_ranks, {"score": lambda pairs: pairs[0, 1:] * 1.0}, r"score: expected \d+ float scores \(got float32"),
        (node_ranks, {"score": lambda pairs: pairs[0] * math.nan}, r"score: expected finite scores \(got NaN"),
        (node_ranks, {"score": lambda pairs: pairs[0] / 0.0}, r"score: expected finite scores \(got NaN"),
    ],
)
def test_bad_input_is_told(function: Callable[..., Tensor], change: dict[str, Any], message: str) -> None:
    known, links, score = make()
    valid: dict[Any, dict[str, Any]] = {
        link_hits: {"pos": torch.zeros(1), "neg": torch.zeros(2), "k": 1},
        per_node: {"pairs": PAIRS, "values": torch.zeros(4), "num_nodes": 7},
        node_ranks: {"score": score, "pairs": links, "known": known},
    }
    function(**valid[function])
    with pytest.raises(ValueError, match=message):
        function(**{**valid[function], **change})
