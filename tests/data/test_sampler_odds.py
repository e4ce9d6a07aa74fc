"""NeighborSampler's odds: uniform draws, and draws by weight."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.sampler import NodeSamplerInput

from gnnkit.data import NeighborSampler


def sample(sampler: NeighborSampler, seeds: list[int], key: int) -> Any:
    return sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor(seeds)), key=key)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("disjoint", [False, True])
def test_draws_are_uniform(replace: bool, disjoint: bool) -> None:
    degree, fanout, runs = 12, 4, 600
    data = Data(
        edge_index=torch.stack([torch.arange(1, degree + 1), torch.zeros(degree, dtype=torch.long)]), num_nodes=13
    )
    sampler = NeighborSampler(data, [fanout], replace=replace, disjoint=disjoint)
    counts = sum(torch.bincount(sample(sampler, [0], key).edge, minlength=degree) for key in range(runs))
    assert isinstance(counts, Tensor)
    assert int(counts.sum()) == fanout * runs
    assert chisquare(counts.numpy()).pvalue > 1e-4


def test_draws_follow_weights() -> None:
    weight, runs = torch.tensor([1.0, 2.0, 0.0, 4.0, 1.0]), 2000
    edge_index = torch.stack([torch.arange(1, 6), torch.zeros(5, dtype=torch.long)])
    data = Data(edge_index=edge_index, num_nodes=6, weight=weight)
    for replace in (False, True):
        sampler = NeighborSampler(data, [1], weight_attr="weight", replace=replace)
        counts = Counter(int(sample(sampler, [0], key).edge) for key in range(runs))
        kept = [0, 1, 3, 4]
        assert set(counts) == set(kept)
        expected = weight[kept] / weight.sum() * runs
        assert chisquare([counts[k] for k in kept], expected.double().numpy(), sum_check=False).pvalue > 1e-4
    out = sample(NeighborSampler(data, [5], weight_attr="weight"), [0], 0)
    assert sorted(out.edge.tolist()) == kept


def test_weights_of_very_different_sizes_keep_their_odds_row_by_row() -> None:
    """Running sums start anew in each row: large weights elsewhere cost small ones nothing."""
    edge_index = torch.tensor([[1, 2, 1, 2], [0, 0, 3, 3]])
    data = Data(
        edge_index=edge_index, num_nodes=4, weight=torch.tensor([1e30, 3e30, 1e-30, 3e-30], dtype=torch.float64)
    )
    sampler = NeighborSampler(data, [1], weight_attr="weight")
    for seed, heavy in ((0, 1), (3, 3)):
        share = sum(int(sample(sampler, [seed], key).edge) == heavy for key in range(400)) / 400
        assert 0.68 < share < 0.82
