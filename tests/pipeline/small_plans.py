"""Random graphs, plans of them and shapes of hops, for the tests of what follows from a plan."""

from __future__ import annotations

from itertools import pairwise

import torch

from gnnkit import Adjacency
from gnnkit.pipeline import HopShape, Plan


def random_graph(num_nodes: int = 30, num_edges: int = 120, seed: int = 0) -> Adjacency:
    """Make a graph with loops and parallel edges."""
    draw = torch.Generator().manual_seed(seed)
    return Adjacency.from_edge_index(torch.randint(num_nodes, (2, num_edges), generator=draw), num_nodes)


def random_plan(num_nodes: int, stages: list[int], ways: int, chunks: int, seed: int = 0) -> Plan:
    """Make a plan with so many hops a stage and random cells."""
    draw = torch.Generator().manual_seed(seed)
    cells = torch.randint(ways * chunks, (num_nodes,), generator=draw)
    cells[: ways * chunks] = torch.arange(ways * chunks)  # every cell has a node
    bounds = [0, *torch.tensor(stages).cumsum(0).tolist()]
    return Plan(tuple(pairwise(bounds)), cells // chunks, cells % chunks, seed)


def hops(count: int, channels: int = 8, parameters: int = 10) -> list[HopShape]:
    """Make hops that are equally wide all over."""
    return [HopShape(channels, channels, channels, 0, True, parameters)] * count
