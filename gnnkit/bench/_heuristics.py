"""Heuristics of link prediction in the benchmark: scored by the same protocols, with nothing to train."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit import links
from gnnkit.adjacency import Adjacency
from gnnkit.links import LinkGraph
from gnnkit.train import FitResult, LinkPrediction, evaluate

HEURISTICS: dict[str, tuple[str, Callable[[LinkGraph, Tensor], Tensor]]] = {
    "cn": ("common neighbours, counted; nothing is trained", links.common_neighbors_score),
    "aa": ("Adamic-Adar: common neighbours by 1 / log of their degrees", links.adamic_adar),
    "ra": ("resource allocation: common neighbours by 1 / their degrees", links.resource_allocation),
    "jaccard": ("the share of two nodes' neighbours that they have in common", links.jaccard),
    "pa": ("preferential attachment: the product of two nodes' degrees", links.preferential_attachment),
    "katz": ("walks of all lengths between two nodes, the longer the less", links.katz),
    "ppr": ("personalised PageRank of one node for walks from the other", links.ppr),
    "shortest-path": ("one over two nodes' distance", links.shortest_path),
}


def score_heuristic(name: str, task: LinkPrediction) -> FitResult:
    """Score a heuristic on a task's graphs: a result whose one row is of epoch 0."""
    begun = time.perf_counter()
    # all pairs at once: what a node costs is paid once, and each heuristic bounds its own memory
    pairs = max(each.numel() for each in (task.split.valid_neg, task.split.test_neg, task.graph.edges))
    task.eval_batch_size = max(pairs, task.eval_batch_size)
    row = {"epoch": 0, **evaluate(_Heuristic(HEURISTICS[name][1], task), task)}
    del row["valid_loss"]  # what is not trained has none
    return FitResult(row, [row], time.perf_counter() - begun)


class _Heuristic(nn.Module):
    """What `LinkPrediction` calls a model: ``encode`` finds the graph that ``score`` reads."""

    def __init__(self, function: Callable[[LinkGraph, Tensor], Tensor], task: LinkPrediction) -> None:
        super().__init__()
        self.function, self.graphs = function, (task.graph, task.test_graph)

    def encode(self, x: Any, adj: Adjacency, keep: Tensor | None = None) -> Tensor:
        """Return no embeddings."""
        return torch.empty(adj.num_nodes, 0, device=adj.device)

    def score(self, h: Tensor, adj: Adjacency, pairs: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return ``[P]`` scores."""
        return self.function(next(graph for graph in self.graphs if graph.adj is adj), pairs)
