"""The layers that everybody uses, and a graph for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, MessagePassing, SAGEConv

import gnnkit

LAYERS: dict[str, Callable[[], MessagePassing]] = {
    "gcn": lambda: GCNConv(3, 4),
    "gcn cached": lambda: GCNConv(3, 4, cached=True),
    "sage": lambda: SAGEConv(3, 4),
    "gin": lambda: GINConv(nn.Linear(3, 4)),
    "gat": lambda: GATConv(3, 2, heads=2),
    "gatv2": lambda: GATv2Conv(3, 2, heads=2),
}
for _make in LAYERS.values():  # PyG writes propagate into a class as its first instance wants it: let that be these
    _make()
X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
EDGES = torch.randint(12, (2, 40), generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers, as in every tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SAGEConv(3, 8), GCNConv(8, 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


def fast_copy(layer: nn.Module) -> Any:
    return gnnkit.accelerate(copy.deepcopy(layer))


def ran(calls: list[int]) -> bool:
    found = bool(calls)
    calls.clear()
    return found
