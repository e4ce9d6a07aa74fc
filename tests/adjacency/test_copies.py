"""Copies, and moves to other devices, equal their original."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from adjacency_inputs import EDGES, NUM_NODES
from torch.testing import assert_close

from gnnkit import Adjacency


@pytest.mark.parametrize(
    "copied",
    [lambda adj: pickle.loads(pickle.dumps(adj)), copy.deepcopy, copy.copy],
    ids=["pickle", "deepcopy", "copy"],
)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_copy_equals_its_original(copied: Callable[[Adjacency], Adjacency], used: bool) -> None:
    adj = Adjacency.from_edge_index(EDGES, (7, 5))
    x, logits = torch.arange(7.0).unsqueeze(-1), torch.arange(6.0)
    if used:
        adj.softmax(logits)
        adj.spmm(x)
    twin = copied(adj)
    assert twin is not adj
    assert repr(twin) == repr(adj)
    assert torch.equal(twin.to_edge_index(), EDGES)
    assert torch.equal(twin.spmm(x, logits), adj.spmm(x, logits))
    assert torch.equal(twin.softmax(logits), adj.softmax(logits))
    assert all(torch.equal(a, b) for a, b in zip(twin.transpose, adj.transpose, strict=True))


def test_moving_to_where_it_is_gives_itself() -> None:
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    assert adj.to("cpu") is adj
    assert adj.to(torch.device("cpu")) is adj
    assert adj.device == torch.device("cpu")


def test_moving_elsewhere_takes_a_built_transpose_along() -> None:
    adj = Adjacency.from_edge_index(EDGES, (7, 5))
    assert adj.to("meta")._transpose is None
    shapes = [t.shape for t in adj.transpose]
    moved = adj.to("meta")
    assert moved._transpose is not None
    assert (moved.num_src, moved.num_dst, moved.num_edges) == (7, 5, 6)
    assert [t.shape for t in moved.transpose] == shapes
    for tensor in (moved.indptr, moved.indices, moved.edge_ids, *moved.transpose):
        assert tensor.device.type == "meta"
    assert adj.device.type == "cpu"


@pytest.mark.cuda
def test_on_a_gpu_it_gives_what_it_gives_on_the_cpu() -> None:
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    moved = adj.to("cuda")
    x, logits = torch.arange(12.0).reshape(6, 2), torch.arange(6.0)
    for tensor in (x, logits):
        tensor.requires_grad_()
    expected = adj.spmm(x, adj.softmax(logits))
    ours = moved.spmm(x.cuda(), moved.softmax(logits.cuda()))
    assert_close(ours.cpu(), expected)
    want = torch.autograd.grad(expected.square().sum(), [x, logits])
    assert_close(torch.autograd.grad(ours.square().sum(), [x, logits]), want)
    assert torch.equal(moved.to("cpu").to_edge_index(), EDGES)
