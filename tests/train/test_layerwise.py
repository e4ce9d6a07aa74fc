"""Inference layer by layer gives what one forward pass over the whole graph gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnkit import Adjacency
from gnnkit.bench import MODELS, ModelConfig
from gnnkit.bench._models import build
from gnnkit.data import InMemory
from gnnkit.datasets import card
from gnnkit.datasets.synthetic import power_law
from gnnkit.train import Step, layerwise

NODES = 60


@pytest.fixture(scope="module")
def edge_index() -> Tensor:
    """A skewed graph with loops, parallel edges and nodes without edges."""
    edges = power_law(NODES - 5, 300, exponent=2.0, seed=1)
    loops = torch.tensor([[3, 3, 9], [3, 3, 9]])
    return torch.cat([edges, loops, edges[:, :4]], dim=1)


def network(name: str, block: str) -> nn.Module:
    shape: Any = {"hidden_channels": 8, "num_layers": 3, "heads": 2, "block": block}
    model = build(name, card("karate"), ModelConfig(**shape), one_graph=False).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):  # statistics that differ from those of a new one
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("name", MODELS)
def test_it_equals_a_forward_pass(name: str, block: str, edge_index: Tensor) -> None:
    torch.manual_seed(0)
    model, x = network(name, block), torch.rand(NODES, 34, dtype=torch.float64)
    adj = Adjacency.from_edge_index(edge_index, num_nodes=NODES)
    with torch.no_grad():
        expected = model(x, edge_index)
    for piece_edges in (1, 37, 10**6):
        out = layerwise(model, InMemory(x), adj, piece_edges=piece_edges)  # type: ignore[arg-type]
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-12)


def test_states_between_steps_may_lie_in_files(edge_index: Tensor, tmp_path: Path) -> None:
    model, x = network("sage", "plain"), torch.rand(NODES, 34, dtype=torch.float64)
    adj = Adjacency.from_edge_index(edge_index, num_nodes=NODES)
    inside = layerwise(model, InMemory(x), adj)  # type: ignore[arg-type]
    assert torch.equal(layerwise(model, InMemory(x), adj, scratch=tmp_path), inside)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_for_the_states_is_told_before_they_are_written(
    edge_index: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = network("sage", "plain"), torch.rand(NODES, 34, dtype=torch.float64)
    adj = Adjacency.from_edge_index(edge_index, num_nodes=NODES)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"expected 3,840 bytes of free space .* \(got 1,000\)"):
        layerwise(model, InMemory(x), adj, scratch=tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


class _Reads:
    """Counts what is read, and how."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.shape = x, tuple(x.shape)
        self.batches: list[int] = []

    def read(self, ids: Tensor) -> Tensor:
        self.batches.append(ids.numel())
        assert ids.unique().numel() == ids.numel()
        return self.x[ids]


class _Sums(nn.Module):
    """One step that sums over neighbours; edges of all pieces are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[int] = []

    def steps(self) -> list[Step]:
        def run(x: Tensor, edge_index: Tensor | None, edge_weight: Tensor | None) -> Tensor:
            assert edge_index is not None
            assert edge_weight is None
            self.pieces.append(edge_index.shape[1])
            return torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])

        return [Step(run)]


def test_pieces_hold_every_edge_once_and_no_more_than_asked(edge_index: Tensor) -> None:
    adj, model, store = Adjacency.from_edge_index(edge_index, num_nodes=NODES), _Sums(), _Reads(torch.eye(NODES))
    out = layerwise(model, store, adj, piece_edges=50)
    assert torch.equal(out, adj.spmm(torch.eye(NODES)))
    assert sum(model.pieces) == edge_index.shape[1]
    largest = int(adj.indptr.diff().max())
    assert max(model.pieces) <= max(50, largest)
    assert len(model.pieces) > 4


def test_degrees_are_counted_in_pieces_too(edge_index: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    adj, lengths, repeat = Adjacency.from_edge_index(edge_index, num_nodes=NODES), [], torch.repeat_interleave

    def spy(*args: Tensor) -> Tensor:
        out = repeat(*args)
        lengths.append(out.numel())
        return out

    monkeypatch.setattr(torch, "repeat_interleave", spy)
    layerwise(network("gcn", "plain"), InMemory(torch.rand(NODES, 34).double()), adj, piece_edges=50)  # type: ignore[arg-type]
    assert 0 < max(lengths) <= max(50, int(adj.indptr.diff().max())) < edge_index.shape[1]


def test_what_does_not_fit_is_refused(edge_index: Tensor) -> None:
    adj = Adjacency.from_edge_index(edge_index, num_nodes=NODES)
    with pytest.raises(ValueError, match=r"features: expected one row for each node .*\(got 9 rows"):
        layerwise(_Sums(), InMemory(torch.ones(9, 2)), adj)
    with pytest.raises(ValueError, match=r"piece_edges: expected a whole number >= 1 \(got 0\)"):
        layerwise(_Sums(), InMemory(torch.ones(NODES, 2)), adj, piece_edges=0)
    empty = Adjacency.from_edge_index(torch.empty(2, 0, dtype=torch.int64), num_nodes=0)
    with pytest.raises(ValueError, match=r"model: expected at least one step and one node \(got 0 nodes\)"):
        layerwise(_Sums(), InMemory(torch.ones(0, 2)), empty)
