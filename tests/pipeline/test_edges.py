"""What layers read of a graph: PyG's normalisation, of the whole graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import add_remaining_self_loops, add_self_loops, degree, remove_self_loops

from gnnkit.pipeline._edges import read_edges

NUM_NODES = 12


@pytest.fixture(params=["random", "loops_and_parallel", "isolated", "no_edges"])
def edge_index(request: pytest.FixtureRequest) -> Tensor:
    """``[2, E]`` on 12 nodes; the random one has self-loops too."""
    if request.param == "random":
        edges = torch.randint(NUM_NODES, (2, 60), generator=torch.Generator().manual_seed(1))
        assert (edges[0] == edges[1]).any()
        return edges
    given: dict[str, list[list[int]]] = {
        "loops_and_parallel": [[0, 0, 3, 3, 3, 11, 11], [0, 0, 3, 4, 4, 11, 2]],
        "isolated": [[0, 1], [1, 0]],
        "no_edges": [[], []],
    }
    return torch.tensor(given[request.param], dtype=torch.int64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gcn_edges_and_weights_are_those_of_pyg_to_the_bit(edge_index: Tensor, dtype: torch.dtype) -> None:
    adj, weight = read_edges(edge_index, NUM_NODES, "gcn", dtype)
    edges, expected = gcn_norm(edge_index, None, NUM_NODES, dtype=dtype)
    assert torch.equal(adj.to_edge_index(), edges)
    assert weight is not None
    assert weight.dtype == dtype
    assert torch.equal(weight, expected)


def test_loops_are_those_of_pyg_by_both_of_its_ways(edge_index: Tensor) -> None:
    adj, weight = read_edges(edge_index, NUM_NODES, "loops")
    assert weight is None
    remaining = add_remaining_self_loops(edge_index, num_nodes=NUM_NODES)[0]
    replaced = add_self_loops(remove_self_loops(edge_index)[0], num_nodes=NUM_NODES)[0]
    assert torch.equal(adj.to_edge_index(), remaining)
    assert torch.equal(adj.to_edge_index(), replaced)


def test_mean_weights_are_one_over_the_in_degree_of_the_destination(edge_index: Tensor) -> None:
    adj, weight = read_edges(edge_index, NUM_NODES, "mean", torch.float64)
    assert torch.equal(adj.to_edge_index(), edge_index)
    assert weight is not None
    count = degree(edge_index[1], NUM_NODES, torch.float64)
    assert torch.equal(weight, 1 / count[edge_index[1]])
    x = torch.randn(NUM_NODES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(adj.spmm(x, weight), adj.spmm(x, reduce="mean"), rtol=1e-12, atol=1e-12)


def test_plain_edges_are_as_they_are(edge_index: Tensor) -> None:
    adj, weight = read_edges(edge_index, NUM_NODES, "plain")
    assert torch.equal(adj.to_edge_index(), edge_index)
    assert weight is None


def test_half_weights_are_those_of_float32_rounded() -> None:
    hub = torch.stack([torch.arange(1, 1001), torch.zeros(1000, dtype=torch.int64)])  # bfloat16 counts to 256
    for kind in ("gcn", "mean"):
        half, single = (read_edges(hub, 1001, kind, dtype)[1] for dtype in (torch.bfloat16, torch.float32))
        assert half is not None
        assert single is not None
        assert torch.equal(half, single.bfloat16())


def test_int32_edges_serve_as_int64_ones() -> None:
    edges = torch.tensor([[0, 1, 1], [1, 1, 0]])
    (adj, weight), (same, expected) = (read_edges(each, 3, "gcn") for each in (edges.int(), edges))
    assert torch.equal(adj.to_edge_index(), same.to_edge_index())
    assert weight is not None
    assert expected is not None
    assert torch.equal(weight, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.tensor([[0], [1]]), 2, "sym"), r"^edges: expected plain, loops, gcn or mean \(got 'sym'\)$"),
        ((torch.tensor([[0], [1]]), 2, "gcn", torch.int64), r"^dtype: expected a floating type .*\(got torch.int64\)$"),
        ((torch.tensor([[0], [5]]), 2, "gcn"), r"^edge_index: expected destinations in \[0, 2\) \(got 5\)"),
        ((torch.tensor([0, 1]), 2, "gcn"), r"^edge_index: expected an int32 or int64 tensor of shape \[2, E\] \(got"),
        ((torch.rand(2, 3), 2, "loops"), r"^edge_index: expected an int32 or int64 tensor of shape \[2, E\] \(got"),
        (([[0], [1]], 2, "loops"), r"^edge_index: expected an int32 or int64 tensor of shape \[2, E\] \(got"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_edges(*arguments)
