"""What samplers keep of a graph."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from gnnkit.data._graph import NODES, read_graph


def test_nodes_are_sorted_by_time_once() -> None:
    """A batch of temporal links draws negatives by it: sorting all nodes anew would cost the graph each time."""
    time = torch.tensor([3, 1, 2, 1])
    graph = read_graph(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=4, time=time), "time")
    times, nodes = graph.nodes_by_time(NODES)
    assert (times.tolist(), nodes.tolist()) == ([1, 1, 2, 3], [1, 3, 2, 0])
    again = graph.nodes_by_time(NODES)
    assert again[0] is times
    assert again[1] is nodes
