"""The least hop there is, one that goes too far, and a network around a layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.pipeline import Neighbourhood, Network, OneHop


class Sum(OneHop):
    """Add up the neighbours' rows; subclasses change one part."""

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        return graph.adj.spmm(z, graph.edge_weight)


class TwoHops(Sum):
    """Add up the neighbours' neighbours' rows."""

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        adj = graph.adj
        return adj.spmm(torch.cat([adj.spmm(z), z[adj.num_dst :]]))


def with_layer(layer: nn.Module, **options: Any) -> Network:
    """Put a layer second in a network of width 6."""
    return Network(nn.Linear(4, 6), [Sum(), layer], nn.Linear(6, 3), **options)
