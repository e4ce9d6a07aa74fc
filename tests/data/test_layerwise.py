"""LayerWiseSampler and random_walk."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch_geometric.loader as pyg
from scipy.stats import chisquare
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import NodeSamplerInput

from gnnkit import Adjacency
from gnnkit.data import LayerWiseSampler, NodeLoader, random_walk

NUM_NODES = 40


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NUM_NODES, (2, 250), generator=draw)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]].unique(dim=1)
    return Data(x=torch.randn(NUM_NODES, 5, generator=draw), edge_index=edge_index)


def dense(data: Data, normalization: str) -> Tensor:
    """P [destination, source], with self-loops."""
    matrix = torch.eye(NUM_NODES, dtype=torch.float64)
    matrix[data.edge_index[1], data.edge_index[0]] += 1
    degree = matrix.sum(1)
    return matrix / degree[:, None] if normalization == "row" else matrix / (degree[:, None] * degree).sqrt()


def sample(sampler: LayerWiseSampler, seeds: Tensor, key: int = 0) -> Any:
    return sampler.sample_from_nodes(NodeSamplerInput(None, seeds), key=key)


@pytest.mark.parametrize("normalization", ["sym", "row"])
def test_layers_hold_what_the_formula_says(normalization: str) -> None:
    data, seeds, sizes = graph(), torch.tensor([3, 8, 20]), [4, 6]
    matrix = dense(data, normalization)
    out = sample(LayerWiseSampler(data, sizes, normalization=normalization), seeds)
    assert torch.equal(out.node[:3], seeds)
    assert len(out.node.unique()) == len(out.node) == sum(out.num_sampled_nodes)
    above, edges = 3, [part.split(out.num_sampled_edges) for part in (out.row, out.col, out.metadata[2])]
    for layer, size in enumerate(sizes):
        row, col, weight = (part[layer] for part in edges)
        nodes = out.node[:above]
        assert out.num_sampled_nodes[layer + 1] <= size
        below = out.node[: above + out.num_sampled_nodes[layer + 1]]
        importance = (matrix[nodes] ** 2).sum(0)
        assert size < int((importance > 0).sum())
        expected = matrix[nodes][:, below] / (size * importance / importance.sum())[below].clamp(max=1)
        expected = expected / expected.sum(1, keepdim=True)
        got = torch.zeros_like(expected).index_put_((col, row), weight.double(), accumulate=True)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
        above = len(below)


def test_all_nodes_are_the_whole_graph() -> None:
    data = graph()
    loader = NodeLoader(data, LayerWiseSampler(data, [NUM_NODES] * 2, normalization="row"), batch_size=8, num_workers=2)
    expected = (dense(data, "row") @ dense(data, "row")).float() @ data.x
    for batch in loader:
        x, sizes = batch.x, batch.num_sampled_edges
        for edge_index, weight in reversed(
            list(zip(batch.edge_index.split(sizes, 1), batch.edge_weight.split(sizes), strict=True))
        ):
            x = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]] * weight[:, None])
        torch.testing.assert_close(x[: batch.batch_size], expected[batch.input_id])
    for batch in pyg.NodeLoader(data, LayerWiseSampler(data, [4, 4]), batch_size=8):
        assert torch.equal(batch.x, data.x[batch.n_id])


def test_first_draws_follow_the_importance() -> None:
    data, seeds, runs = graph(), torch.tensor([3, 8, 20]), 1000
    importance = (dense(data, "sym")[seeds] ** 2).sum(0)
    importance[seeds] = 0  # they are kept whether drawn or not
    sampler = LayerWiseSampler(data, [1])
    drawn = Counter(
        int(out.node[3]) for out in (sample(sampler, seeds, key) for key in range(runs)) if len(out.node) > 3
    )
    columns = importance.nonzero().view(-1).tolist()
    assert set(drawn) <= set(columns)
    expected = importance[columns] / importance.sum() * sum(drawn.values())
    assert chisquare([drawn[k] for k in columns], expected.numpy(), sum_check=False).pvalue > 1e-4


def test_same_key_same_layers() -> None:
    sampler, seeds = LayerWiseSampler(graph(), [5, 5]), torch.tensor([1, 2])
    assert torch.equal(sample(sampler, seeds, 1).node, sample(sampler, seeds, 1).node)
    assert not torch.equal(sample(sampler, seeds, 1).row, sample(sampler, seeds, 2).row)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LayerWiseSampler(graph(), []), r"num_nodes: .*\(got \[\]\)"),
        (lambda: LayerWiseSampler(graph(), [0]), r"num_nodes: .*\(got \[0\]\)"),
        (lambda: LayerWiseSampler(graph(), [2], normalization="col"), r"normalization: .*\(got 'col'\)"),
        (
            lambda: sample(LayerWiseSampler(graph(), [2]), torch.tensor([1, 1])),
            r"expected different nodes \(got 1 among 2\)",
        ),
        (lambda: sample(LayerWiseSampler(graph(), [2]), torch.tensor([40])), r"\(got 40\)"),
        (lambda: LayerWiseSampler(graph(), [2]).sample_from_edges(None), r"\(got a LayerWiseSampler\)"),
        (lambda: LayerWiseSampler(HeteroData(a={"num_nodes": 2}), [2]), r"data: expected one type"),
    ],
)
def test_what_is_wrong_is_said(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------ random_walk


def test_walks_go_along_edges() -> None:
    data = graph()
    adj = Adjacency.from_edge_index(data.edge_index, NUM_NODES)
    walks = random_walk(adj, torch.arange(NUM_NODES).repeat(5), 6, seed=0)
    assert walks.shape == (200, 7)
    assert torch.equal(walks[:, 0], torch.arange(NUM_NODES).repeat(5))
    edges = set(map(tuple, data.edge_index.t().tolist()))
    leaves = set(data.edge_index[0].tolist())
    for walk in walks.tolist():
        assert all((a, b) in edges or (a == b and a not in leaves) for a, b in pairwise(walk))
    assert torch.equal(walks, random_walk(adj, torch.arange(NUM_NODES).repeat(5), 6, seed=0))
    assert not torch.equal(walks, random_walk(adj, torch.arange(NUM_NODES).repeat(5), 6, seed=1))
    assert random_walk(adj, torch.tensor([3]), 0).tolist() == [[3]]


@pytest.mark.parametrize("weighted", [False, True])
def test_steps_have_their_odds(weighted: bool) -> None:
    edge_index = torch.tensor([[1, 0, 0, 0], [0, 3, 1, 2]])
    weight = torch.tensor([9.0, 1.0, 2.0, 5.0])
    adj = Adjacency.from_edge_index(edge_index, 4)
    walks = random_walk(adj, torch.zeros(4000, dtype=torch.long), 1, weight=weight if weighted else None, seed=0)
    counts = torch.bincount(walks[:, 1], minlength=4)[[3, 1, 2]]
    expected = weight[1:] / 8 * 4000 if weighted else torch.full((3,), 4000 / 3)
    assert chisquare(counts.numpy(), expected.double().numpy(), sum_check=False).pvalue > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": torch.tensor([4])}, r"start: .*\(got 4\)"),
        ({"start": torch.tensor([0.5])}, r"start: "),
        ({"length": -1}, r"length: .*\(got -1\)"),
        ({"weight": torch.ones(3)}, r"weight: expected 2 numbers"),
        ({"weight": torch.tensor([1.0, 0.0])}, r"weight: expected finite weights > 0"),
        ({"seed": 0.5}, r"seed: .*\(got 0.5\)"),
    ],
)
def test_what_is_wrong_with_walks_is_said(options: dict[str, Any], message: str) -> None:
    adj = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 4)
    with pytest.raises(ValueError, match=message):
        random_walk(**{"adj": adj, "start": torch.tensor([0]), "length": 2, **options})
