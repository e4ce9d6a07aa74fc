"""What an epoch in chunks has to compute, written down once more, densely, without anything of gnnkit.

Every row of every layer is chosen between this epoch's and a historical one, the graph is a full matrix, and autograd
walks through all chunks at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_MASK = (1 << 64) - 1


def seeded(*parts: int) -> None:
    """Seed torch's generator as the documentation says: SplitMix64 over (seed, epoch, layer, chunk, way, phase)."""
    state = 0
    for part in parts:
        state = (state + (part + 1) * 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    torch.manual_seed(state)


def normalised(edge_index: Tensor, num_nodes: int) -> Tensor:
    """D^-1/2 (A + I) D^-1/2, dense: entry (i, j) for an edge j -> i; parallel edges count, loops once."""
    src, dst = edge_index
    matrix = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    for j, i in zip(src.tolist(), dst.tolist(), strict=True):
        matrix[i, j] += i != j
    matrix += torch.eye(num_nodes, dtype=torch.float64)
    scale = matrix.sum(1).rsqrt()
    return scale[:, None] * matrix * scale


@dataclass
class Oracle:
    """GCN or GCNII of so many layers on a dense graph, trained in chunks by plain gradient descent."""

    kind: str
    parameters: dict[str, Tensor]
    matrix: Tensor
    x: Tensor
    y: Tensor
    train: Tensor
    chunk: Tensor
    num_layers: int
    dropout: float
    seed: int

    def __post_init__(self) -> None:
        self.parameters = {name: value.clone().requires_grad_() for name, value in self.parameters.items()}
        width = self.parameters["first.1.weight"].shape[0]
        self.historical = [torch.zeros(len(self.x), width, dtype=torch.float64) for _ in range(self.num_layers)]

    def prime(self) -> None:
        """Make the rows of one exact pass, with the random numbers of epoch -1, historical."""
        chunks = range(int(self.chunk.max()) + 1)
        with torch.no_grad():
            rows = torch.zeros_like(self.historical[0])
            for c in chunks:
                rows[self.chunk == c] = self._first(-1, c)
            first = rows
            for layer in range(self.num_layers):
                seen = torch.zeros_like(rows)
                for c in chunks:
                    seen[self.chunk == c] = self._before(-1, layer, c, rows[self.chunk == c])
                self.historical[layer] = seen
                rows = self._after(layer, self.matrix @ seen, first)

    def epoch(self, epoch: int, order: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Return the loss of an epoch, for autograd, and the rows that neighbours saw of each layer."""
        seen = [value.clone() for value in self.historical]  # row by row replaced by this epoch's
        total = torch.zeros((), dtype=torch.float64)
        for c in order:
            own = self.chunk == c
            rows = first = self._first(epoch, c)
            for layer in range(self.num_layers):
                z = self._before(epoch, layer, c, rows)
                seen[layer] = seen[layer].index_put((own.nonzero().flatten(),), z)
                rows = self._after(layer, self.matrix[own] @ seen[layer], first)
            seeded(self.seed, epoch, self.num_layers + 1, c, 0, 0)
            weight, bias = self.parameters["last.1.weight"], self.parameters["last.1.bias"]
            outputs = F.linear(F.dropout(rows, self.dropout), weight, bias)
            trained = torch.isin(own.nonzero().flatten(), self.train)
            total = total + F.cross_entropy(outputs[trained], self.y[own][trained], reduction="sum")
        return total / len(self.train), seen

    def step(self, epoch: int, order: list[int], lr: float, refresh: bool) -> float:
        """Descend once; return the loss."""
        loss, seen = self.epoch(epoch, order)
        gradients = torch.autograd.grad(loss, list(self.parameters.values()))
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
                parameter -= lr * gradient
        if refresh:
            self.historical = [value.detach() for value in seen]
        return float(loss.detach())

    def _first(self, epoch: int, c: int) -> Tensor:
        seeded(self.seed, epoch, 0, c, 0, 0)
        weight, bias = self.parameters["first.1.weight"], self.parameters["first.1.bias"]
        return F.linear(F.dropout(self.x[self.chunk == c], self.dropout), weight, bias).relu()

    def _before(self, epoch: int, layer: int, c: int, rows: Tensor) -> Tensor:
        seeded(self.seed, epoch, layer + 1, c, 0, 0)
        return F.dropout(rows, self.dropout)

    def _after(self, layer: int, gathered: Tensor, first: Tensor) -> Tensor:
        if self.kind == "gcn":
            weight = self.parameters[f"layers.{layer}.conv.lin.weight"]
            return F.linear(gathered, weight, self.parameters[f"layers.{layer}.conv.bias"]).relu()
        beta = math.log(0.5 / (layer + 1) + 1)
        mixed = 0.9 * gathered + 0.1 * first
        return ((1 - beta) * mixed + beta * mixed @ self.parameters[f"layers.{layer}.conv.weight1"]).relu()
