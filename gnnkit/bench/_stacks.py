"""The benchmark's networks: ways to stack layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.bench._layers import Reads, call
from gnnkit.train import Step

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": nn.functional.relu, "elu": nn.functional.elu}


class Stack(nn.Module):
    """Dropout, layer, activation, …, layer."""

    def __init__(self, layers: list[nn.Module], reads: Reads, dropout: float, activation: str) -> None:
        super().__init__()
        self.layers, self.reads = nn.ModuleList(layers), reads
        self.dropout, self.activation = dropout, ACTIVATIONS[activation]

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for depth in range(len(self.layers)):
            x = self._at(depth, x, edge_index)  # [N, D]
        return x

    def steps(self) -> list[Step]:
        """Return what a forward pass goes through, for `gnnkit.train.layerwise`."""
        return [Step(partial(self._at, depth), self.reads) for depth in range(len(self.layers))]

    def _at(self, depth: int, x: Tensor, edge_index: Tensor | None, edge_weight: Tensor | None = None) -> Tensor:
        x = self.activation(x) if depth else x
        x = nn.functional.dropout(x, self.dropout, self.training)
        return call(self.layers[depth], x, edge_index, edge_weight)


class Residual(nn.Module):
    """Blocks x + FFN(layer(norm(x))) between two linear layers, as Platonov et al. 2023 use for every graph layer.

    The FFN is linear, dropout, activation, linear, dropout; norm is layer normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        layers: list[nn.Module],
        reads: Reads,
        width: int,
        dropout: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.reads = reads
        self.first, self.last = nn.Linear(in_channels, width), nn.Linear(width, out_channels)
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(len(layers) + 1))
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in layers)
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in layers)
        self.dropout, self.activation = dropout, ACTIVATIONS[activation]

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self._enter(x)  # [N, D]
        for depth in range(len(self.layers)):
            x = self._at(depth, x, edge_index)
        return self._leave(x)

    def steps(self) -> list[Step]:
        """Return what a forward pass goes through, for `gnnkit.train.layerwise`."""
        blocks = [Step(partial(self._at, depth), self.reads) for depth in range(len(self.layers))]
        return [Step(self._enter, "rows"), *blocks, Step(self._leave, "rows")]

    def _enter(self, x: Tensor, edge_index: Tensor | None = None, edge_weight: Tensor | None = None) -> Tensor:
        return self.activation(self._drop(self.first(x)))

    def _at(self, depth: int, x: Tensor, edge_index: Tensor | None, edge_weight: Tensor | None = None) -> Tensor:
        h = call(self.layers[depth], self.norms[depth](x), edge_index, edge_weight)
        h = self.activation(self._drop(self.inner[depth](h)))
        return x + self._drop(self.outer[depth](h))

    def _leave(self, x: Tensor, edge_index: Tensor | None = None, edge_weight: Tensor | None = None) -> Tensor:
        logits: Tensor = self.last(self.norms[-1](x))
        return logits

    def _drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.dropout, self.training)


class Categories(nn.Module):
    """The sum of an embedding of each column of whole numbers ``[N, F]``, as OGB encodes atoms and bonds."""

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        tables = [nn.Embedding(size, width) for size in sizes]
        for table in tables:
            nn.init.xavier_uniform_(table.weight)
        self.tables = nn.ModuleList(tables)

    def forward(self, ids: Tensor) -> Tensor:
        columns = ids.reshape(len(ids), -1).long().unbind(1)
        return torch.stack([table(column) for table, column in zip(self.tables, columns, strict=True)]).sum(0)


class GraphNet(nn.Module):
    """Encoder, (layer, batch normalisation, activation, dropout) …, pooling, linear."""

    def __init__(
        self,
        encoder: nn.Module,
        edge_encoder: nn.Module | None,
        layers: list[nn.Module],
        width: int,
        out_channels: int,
        pooling: str,
        dropout: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.encoder, self.edge_encoder = encoder, edge_encoder
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in layers)
        self.head = nn.Linear(width, out_channels)
        self.pooling, self.dropout, self.activation = pooling, dropout, ACTIVATIONS[activation]

    def forward(
        self, x: Tensor, edge_index: Tensor, *, edge_attr: Tensor | None, batch: Tensor, batch_size: int
    ) -> Tensor:
        x = self.encoder(x)  # [N, D]
        edges: tuple[Any, ...] = () if self.edge_encoder is None else (self.edge_encoder(edge_attr),)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x, edge_index, *edges)))
            x = nn.functional.dropout(x, self.dropout, self.training)
        outputs: Tensor = self.head(_pool(x, batch, batch_size, self.pooling))
        return outputs


def _pool(x: Tensor, batch: Tensor, batch_size: int, pooling: str) -> Tensor:
    from torch_geometric import nn as pyg

    pool = {"sum": pyg.global_add_pool, "mean": pyg.global_mean_pool, "max": pyg.global_max_pool}[pooling]
    pooled: Tensor = pool(x, batch, size=batch_size)
    return pooled
