"""A layer and its accelerated copy, called alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, MessagePassing, SAGEConv

import gnnkit
from gnnkit._accelerate._layer import FastLayer

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 3, dtype=torch.float64, generator=RNG)
EDGES = torch.randint(12, (2, 40), generator=RNG)
WEIGHT = torch.rand(40, dtype=torch.float64, generator=RNG)
LAYERS: dict[str, Callable[[], MessagePassing]] = {
    "gcn": lambda: GCNConv(3, 4),
    "sage": lambda: SAGEConv(3, 4),
    "gin": lambda: GINConv(nn.Linear(3, 4)),
    "gat": lambda: GATConv(3, 4),
}


def both(layer: nn.Module) -> tuple[Any, Any]:
    plain = layer.double()
    return plain, gnnkit.accelerate(copy.deepcopy(plain))


def same(layer: nn.Module, call: Callable[[Any], Any]) -> None:
    """The same from both layers, at the first call and at the second."""
    plain, fast = both(layer)
    assert isinstance(fast, FastLayer)
    for _ in range(2):
        results = []
        for one in (plain, fast):
            torch.manual_seed(1)
            results.append(call(one))
        torch.testing.assert_close(results[1], results[0])


def with_gradients(layer: nn.Module, *args: Tensor) -> tuple[Tensor, ...]:
    x = X.clone().requires_grad_()
    weight = WEIGHT.clone().requires_grad_()
    out = layer(x, EDGES, weight, *args)
    grads = torch.autograd.grad(out.square().sum(), [x, weight], allow_unused=True, materialize_grads=True)
    return out.detach(), *grads


# ------------------------------------------------------------------ messages


def make(message: Callable[[Any, Tensor, Tensor], Tensor], **kwargs: Any) -> MessagePassing:
    """A layer of a class of its own: whether its rows stay pending is the class's."""

    class Layer(MessagePassing):
        held: Any

        def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x, edge_weight=edge_weight)

        def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
            return message(self, x_j, edge_weight)

    return Layer(**kwargs)
