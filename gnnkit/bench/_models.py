"""The benchmark's models: stacks of PyG's own layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from gnnkit.train._config import require

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": nn.functional.relu, "elu": nn.functional.elu}


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model.

    Attributes:
        hidden_channels: Width of the hidden layers (of each head, for attention).
        num_layers: Number of layers.
        dropout: Dropout before every layer.
        activation: Between layers.
        heads: Attention heads of the hidden layers.
        out_heads: Attention heads of the last layer, averaged.
        attention_dropout: Dropout of the attention coefficients.
    """

    hidden_channels: int = 64
    num_layers: int = 2
    dropout: float = 0.5
    activation: Literal["relu", "elu"] = "relu"
    heads: int = 8
    out_heads: int = 1
    attention_dropout: float = 0.6

    def __post_init__(self) -> None:
        for name in ("hidden_channels", "num_layers", "heads", "out_heads"):
            require(f"model.{name}", getattr(self, name), low=1, high=1e6)
        for name in ("dropout", "attention_dropout"):
            require(f"model.{name}", getattr(self, name), low=0, high=1)
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"model.activation: expected relu or elu (got {self.activation!r})")


class Stack(nn.Module):
    """Dropout, layer, activation, …, layer."""

    def __init__(self, layers: list[nn.Module], config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout, self.activation = config.dropout, _ACTIVATIONS[config.activation]

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for depth, layer in enumerate(self.layers):
            x = self.activation(x) if depth else x
            x = nn.functional.dropout(x, self.dropout, self.training)
            x = layer(x, edge_index)  # [N, D]
        return x


class _Row(nn.Linear):
    """A linear layer that does not look at the graph."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


def _widths(in_channels: int, out_channels: int, config: ModelConfig) -> list[tuple[int, int]]:
    inner = [config.hidden_channels] * (config.num_layers - 1)
    return list(zip([in_channels, *inner], [*inner, out_channels], strict=True))


def _mlp(in_channels: int, out_channels: int, config: ModelConfig) -> list[nn.Module]:
    return [_Row(a, b) for a, b in _widths(in_channels, out_channels, config)]


def _gcn(in_channels: int, out_channels: int, config: ModelConfig) -> list[nn.Module]:
    from torch_geometric.nn import GCNConv

    # cached: the one graph's normalised edges are computed once
    return [GCNConv(a, b, cached=True) for a, b in _widths(in_channels, out_channels, config)]


def _sage(in_channels: int, out_channels: int, config: ModelConfig) -> list[nn.Module]:
    from torch_geometric.nn import SAGEConv

    return [SAGEConv(a, b) for a, b in _widths(in_channels, out_channels, config)]


def _gat(in_channels: int, out_channels: int, config: ModelConfig) -> list[nn.Module]:
    from torch_geometric.nn import GATConv

    layers: list[nn.Module] = []
    for depth in range(config.num_layers):
        last = depth == config.num_layers - 1
        wide = config.hidden_channels * config.heads
        sizes = (wide if depth else in_channels, out_channels if last else config.hidden_channels)
        heads = config.out_heads if last else config.heads
        layers.append(GATConv(*sizes, heads=heads, concat=not last, dropout=config.attention_dropout))
    return layers


MODELS: dict[str, Callable[[int, int, ModelConfig], list[nn.Module]]] = {
    "mlp": _mlp,
    "gcn": _gcn,
    "sage": _sage,
    "gat": _gat,
}

ABOUT = {
    "mlp": "multilayer perceptron: looks at no edge, the baseline that a graph model must beat",
    "gcn": "graph convolution, Kipf and Welling 2017 (PyG GCNConv)",
    "sage": "GraphSAGE with mean aggregation, Hamilton et al. 2017 (PyG SAGEConv)",
    "gat": "graph attention, Veličković et al. 2018 (PyG GATConv)",
}


def build(name: str, data: Any, config: ModelConfig) -> Stack:
    """Make a model by name for the features and classes of a dataset.

    Raises:
        ValueError: No model has this name.
    """
    if name not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)} (got {name!r})")
    return Stack(MODELS[name](data.card.num_features, data.card.num_classes, config), config)
