"""Edges in random order, Adjacency of them, and a warning of torch to be ignored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnkit import Adjacency

BETA = pytest.mark.filterwarnings("ignore:Sparse CS[RC] tensor support is in beta state:UserWarning")
# six edges, shuffled, with a loop (2, 2) and a parallel pair (0, 3); nodes 4 and 5 are isolated
EDGES = torch.tensor([[3, 0, 2, 0, 1, 0], [0, 3, 2, 3, 0, 1]])
NUM_NODES = 6


def shuffled(graph: Any) -> Tensor:
    """The ``edge_index`` of a graph of conftest, in random order."""
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(3))
    return torch.stack([graph.src, graph.dst])[:, order]


def adjacency_of(graph: Any) -> tuple[Adjacency, Tensor]:
    """Shuffle a graph's edges and build its Adjacency."""
    edge_index = shuffled(graph)
    return Adjacency.from_edge_index(edge_index, (graph.num_src, graph.num_dst)), edge_index
