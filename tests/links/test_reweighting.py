"""Weights that follow the predictor: in-neighbours share one strength, and only training edges have a part in it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gnnkit import Adjacency
from gnnkit.links import LinkGraph, reweighted


def make() -> tuple[Tensor, Tensor, Adjacency]:
    """Draw edges in no order, so that theirs differs from the CSR's, with weights and scores."""
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(9, (2, 40), generator=draw)
    edge_index[1] %= 8  # node 8 receives nothing
    adj = Adjacency.from_edge_index(edge_index, num_nodes=9)
    weight, scores = torch.rand(2, 40, generator=draw)
    scores[edge_index[1] == 3] = 0
    return weight, scores, adj


def test_each_destination_shares_out_the_strength() -> None:
    weight, scores, adj = make()
    before = weight.clone(), scores.clone()
    found = reweighted(weight, scores, adj, 2.0)
    src, dst = adj.to_edge_index()
    assert (dst == 3).any()
    for edge in range(40):
        total = scores[dst == dst[edge]].sum()
        added = 2 * scores[edge] / total if total else 0.0
        assert_close(found[edge], weight[edge] + added)
    sums = torch.zeros(9).index_add_(0, dst, found - weight)
    assert_close(sums, torch.tensor([2.0 if node in dst and node != 3 else 0.0 for node in range(9)]))
    assert torch.equal(weight, before[0])
    assert torch.equal(scores, before[1])
    assert len(set(src.tolist())) > 1


def test_the_strength_alone_decides_how_much() -> None:
    weight, scores, adj = make()
    assert torch.equal(reweighted(weight, scores, adj, 0), weight)
    assert_close(reweighted(weight, 8 * scores, adj, 0.5), reweighted(weight, scores, adj, 0.5))


def test_no_gradient_goes_through_it() -> None:
    weight, scores, adj = make()
    assert not reweighted(weight, scores.requires_grad_(), adj, 1.0).requires_grad


def test_on_a_training_graph_the_directions_are_weighted_each_for_itself() -> None:
    graph = LinkGraph.from_edges(torch.tensor([[0, 0, 1], [1, 2, 2]]), 4)
    weight = reweighted(torch.ones(6), torch.tensor([0.1, 0.3, 0.1, 0.3, 0.3, 0.3]), graph.adj, 1.0)
    assert_close(weight, torch.tensor([1.25, 1.75, 1.25, 1.75, 1.5, 1.5]))
    empty = LinkGraph.from_edges(torch.empty(2, 0, dtype=torch.int64), 2)
    assert reweighted(torch.ones(0), torch.ones(0), empty.adj, 1.0).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adj": 1}, r"adj: expected an Adjacency \(got int\)"),
        ({"edge_weight": torch.ones(39)}, r"edge_weight: expected .* of shape \[40\] \(got"),
        ({"scores": torch.ones(40, 1)}, r"scores: expected .* of shape \[40\] \(got"),
        ({"scores": torch.ones(40, dtype=torch.float64)}, r"expected one dtype \(got"),
        ({"scores": torch.full((40,), -0.1)}, r"scores: expected finite numbers >= 0"),
        ({"scores": torch.full((40,), float("nan"))}, r"scores: expected finite numbers >= 0"),
        ({"strength": -1.0}, r"strength: expected a finite number >= 0 \(got -1.0\)"),
        ({"strength": float("inf")}, r"strength: .*\(got inf\)"),
        ({"strength": None}, r"strength: .*\(got None\)"),
    ],
)
def test_bad_input_is_told(change: dict[str, Any], message: str) -> None:
    weight, scores, adj = make()
    valid: dict[str, Any] = {"edge_weight": weight, "scores": scores, "adj": adj, "strength": 1.0}
    reweighted(**valid)
    with pytest.raises(ValueError, match=message):
        reweighted(**{**valid, **change})
