"""The scores by which HeaRT ranks candidates: common neighbours, PageRank, features."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import spmm
from gnnkit.links._graph import LinkGraph
from gnnkit.links._ppr import pagerank

_LEAST_COSINE = 1e-12  # less is what rounding leaves where products cancel


class Scores:
    """Rows of N scores of anchors, in float32, so that what is equal but for rounding is equal.

    Args:
        graph: The edges that are read.
        x: ``[N, D]`` features or None.
        common: ``"ra"``, ``"cn"`` or ``"cn/degree"``.
        alpha: Of the PageRank.
        eps: Below it times the degree a PageRank is 0.
    """

    def __init__(self, graph: LinkGraph, x: Tensor | None, common: str, alpha: float, eps: float) -> None:
        self._graph, self._alpha = graph, alpha
        degree = graph.degree().double()
        share = degree.clamp(min=1).reciprocal().unsqueeze(1)  # [N, 1]
        self._of_common, self._of_candidate = share if common == "ra" else 1, share if common == "cn/degree" else 1
        self._least = eps * degree
        self._directions = None
        if x is not None:
            length = x.double().norm(dim=1, keepdim=True)
            self._directions = x.double() / length.masked_fill(length == 0, 1)

    def of(self, anchors: Tensor) -> list[Tensor]:
        """``[B]`` anchors to ``[B, N]`` float32 of each score."""
        rank = pagerank(self._graph, anchors, self._alpha)
        found = [self._through_neighbors(anchors), rank.masked_fill_(rank < self._least, 0)]
        if self._directions is not None:
            cosines = self._directions[anchors] @ self._directions.t()
            found.append(cosines.masked_fill_(cosines.abs() < _LEAST_COSINE, 0))
        return [rows.float() for rows in found]

    def _through_neighbors(self, anchors: Tensor) -> Tensor:
        """Sum over the common neighbours of an anchor and every node of their weights."""
        indptr, indices = self._graph.adj.indptr, self._graph.adj.indices
        start = torch.zeros(self._graph.num_nodes, len(anchors), dtype=torch.float64, device=anchors.device)
        start[anchors, torch.arange(len(anchors), device=anchors.device)] = 1
        neighbors = spmm(indptr, indices, start) * self._of_common
        return (spmm(indptr, indices, neighbors) * self._of_candidate).t()
