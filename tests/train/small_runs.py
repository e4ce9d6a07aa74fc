"""Small models and graphs for the loop."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from gnnkit.train import Metric


class Net(nn.Module):
    """Two graph convolutions with dropout."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList([GCNConv(34, hidden), GCNConv(hidden, 4)])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = nn.functional.dropout(self.layers[0](x, edge_index).relu(), 0.5, self.training)
        return self.layers[1](x, edge_index)


class Scripted:
    """A task whose validation scores are written beforehand, and whose loss moves the one weight by lr an epoch."""

    def __init__(self, rows: list[tuple[float, float]], higher_is_better: bool = True) -> None:
        self.rows = rows
        self.metric = Metric(lambda logits, y: 0.0, higher_is_better)
        self.weights: list[float] = []  # after each epoch

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        yield model.weight.sum()  # its gradient is 1: Adam's step is then exactly the learning rate

    def scores(self, model: nn.Module) -> dict[str, float]:
        valid, valid_loss = self.rows[len(self.weights)]
        self.weights.append(model.weight.item())
        return {"train": 0.0, "valid": valid, "test": 0.0, "valid_loss": valid_loss}


def one_weight() -> nn.Linear:
    """A model with a single weight, 0."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


GENERATORS = {
    "torch": lambda: float(torch.rand(())),
    "python": random.random,  # PyG's negative_sampling draws from this one
    "numpy": lambda: float(np.random.rand()),  # noqa: NPY002
}
