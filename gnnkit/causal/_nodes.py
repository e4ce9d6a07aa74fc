"""Nodes: the features of a graph's nodes, and what depends on features and graph alone, computed once."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from gnnkit.adjacency import Adjacency


class Nodes:
    """Features ``x [N, d]`` and ``edge_index [2, E]`` with the operators of graph networks, each built when first used.

    A learner fits a dozen networks on the same nodes. The first layer of each propagates the same features, so they are
    propagated once here, and the symmetric normalisation is computed once.
    """

    def __init__(self, x: Tensor, edge_index: Tensor) -> None:
        self.x, self.edge_index = x, edge_index

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Nodes:
        """The same on another device."""
        return self if self.x.device == device else Nodes(self.x.to(device), self.edge_index.to(device))

    def with_features(self, x: Tensor) -> Nodes:
        """The same graph with other features; the operators are shared."""
        other = Nodes(x, self.edge_index)
        for name in ("_normalised", "_neighbours", "log_degree"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @cached_property
    def location(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each feature, 1 where it is constant."""
        return location(self.x)

    @cached_property
    def standardised(self) -> Nodes:
        """The same graph with standardised features."""
        centre, scale = self.location
        return self.with_features((self.x - centre) / scale)

    @cached_property
    def _normalised(self) -> tuple[Adjacency, Tensor]:
        edge_index, weight = gcn_norm(self.edge_index, None, len(self), add_self_loops=True, dtype=self.x.dtype)
        return Adjacency.from_edge_index(edge_index, len(self)), weight

    @cached_property
    def _neighbours(self) -> Adjacency:
        return Adjacency.from_edge_index(self.edge_index, len(self))

    @cached_property
    def log_degree(self) -> Tensor:
        """``[N, 1]``: log(1 + number of neighbours)."""
        degree = torch.bincount(self.edge_index[1], minlength=len(self))
        return degree.to(self.x.dtype).log1p().unsqueeze(1)

    def gcn(self, rows: Tensor) -> Tensor:
        """Rows ``[N, h]`` summed over neighbours and self with the weights of GCN."""
        adjacency, weight = self._normalised
        return adjacency.spmm(rows, weight)

    def mean(self, rows: Tensor) -> Tensor:
        """The mean of the neighbours' rows ``[N, h]``, 0 without neighbours."""
        return self._neighbours.spmm(rows, reduce="mean")

    @cached_property
    def gcn_x(self) -> Tensor:
        """`gcn` of the features."""
        return self.gcn(self.x)

    @cached_property
    def mean_x(self) -> Tensor:
        """`mean` of the features."""
        return self.mean(self.x)

    def hops(self, number: int) -> Tensor:
        """``[N, (number + 1) d + 1]``: features, propagated 1 to ``number`` times as GCN does, and log degree."""
        if number == 0:
            return self.x
        known: dict[int, Tensor] = self.__dict__.setdefault("_hops", {})
        if number not in known:
            columns = [self.x, self.gcn_x]
            while len(columns) <= number:
                columns.append(self.gcn(columns[-1]))
            known[number] = torch.cat([*columns, self.log_degree], dim=1)
        return known[number]


def location(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each column, 1 where it is constant."""
    deviation = columns.std(0, correction=0)
    mean = columns.mean(0)
    return mean, torch.where(deviation > 1e-6 * mean.abs(), deviation, 1.0)  # below lies rounding
