"""The benchmark's models by name, built for the task that a dataset's card names."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from torch import nn

from gnnkit.bench import _link_models as links
from gnnkit.bench._heuristics import HEURISTICS
from gnnkit.bench._layers import KINDS, Kind, Place
from gnnkit.bench._stacks import Categories, GraphNet, Residual, Stack
from gnnkit.datasets import Card
from gnnkit.train import METRICS
from gnnkit.train._config import require


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model.

    Attributes:
        hidden_channels: Width of the hidden layers (of each head, for attention in a plain stack).
        num_layers: Number of layers.
        dropout: Dropout before every layer (plain), in every block (residual), after every layer (graphs).
        activation: Between layers.
        heads: Attention heads of the hidden layers.
        out_heads: Attention heads of the last layer of a plain stack, averaged.
        attention_dropout: Dropout of the attention coefficients.
        block: For tasks on nodes: ``"plain"`` layers, or ``"residual"`` blocks with layer normalisation and a
            feed-forward part around each, as Platonov et al. 2023 use.
        pooling: For tasks on graphs: how node states become the state of a graph.
        edge_features: For tasks on graphs: whether layers that can do so read ``edge_attr``.
    """

    hidden_channels: int = 64
    num_layers: int = 2
    dropout: float = 0.5
    activation: Literal["relu", "elu"] = "relu"
    heads: int = 8
    out_heads: int = 1
    attention_dropout: float = 0.6
    block: Literal["plain", "residual"] = "plain"
    pooling: Literal["sum", "mean", "max"] = "sum"
    edge_features: bool = True

    def __post_init__(self) -> None:
        for name in ("hidden_channels", "num_layers", "heads", "out_heads"):
            require(f"model.{name}", getattr(self, name), low=1, high=1e6)
        for name in ("dropout", "attention_dropout"):
            require(f"model.{name}", getattr(self, name), low=0, high=1)
        for name in ("activation", "block", "pooling"):
            choices = typing.get_args(typing.get_type_hints(ModelConfig)[name])
            if getattr(self, name) not in choices:
                raise ValueError(f"model.{name}: expected {' or '.join(choices)} (got {getattr(self, name)!r})")


MODELS = KINDS
LINK_MODELS = links.ABOUT | {name: about for name, (about, _) in HEURISTICS.items()}
ABOUT = {name: kind.about for name, kind in KINDS.items()} | LINK_MODELS


def check_fit(name: str, card: Card) -> None:
    """Require that the benchmark trains this task, and has this model for it.

    Raises:
        ValueError: It does not, or no model has this name.
    """
    if card.task == "link_prediction":
        if card.metric != "mrr" and not card.metric.startswith("hits@"):
            raise ValueError(f"{card.name}: expected hits@K or mrr, which the benchmark trains (got {card.metric})")
        if name not in LINK_MODELS:
            raise ValueError(f"model: expected one of {', '.join(LINK_MODELS)} for {card.name}, links (got {name!r})")
        return
    if name not in KINDS:
        links_only = f", which predicts links, as of {card.name}:link" if name in LINK_MODELS else ""
        raise ValueError(f"model: expected one of {', '.join(KINDS)} (got {name!r}{links_only})")
    if card.metric not in METRICS:
        raise ValueError(
            f"{card.name}: expected a task on nodes or on graphs and a metric among {', '.join(METRICS)}, which the "
            f"benchmark trains (got {card.task}, {card.metric})"
        )
    if card.node_type is not None:
        raise ValueError(
            f"{card.name}: expected nodes of one type, which the benchmark trains (got classes on {card.node_type!r})"
        )
    fitting = [each for each, kind in KINDS.items() if kind.for_graphs or card.task == "node_classification"]
    if name not in fitting:
        raise ValueError(f"model: expected one of {', '.join(fitting)} for {card.name}, {card.task} (got {name!r})")


def build(name: str, card: Card, config: ModelConfig, one_graph: bool = True) -> nn.Module:
    """Make a model by name for the features and targets of a dataset.

    Args:
        name: A key of `MODELS`.
        card: The dataset's.
        config: The shape.
        one_graph: For tasks on nodes: whether every step sees the same whole graph, of which layers may keep what they
            compute; False where steps see samples.

    Raises:
        ValueError: No model has this name, or it does not fit the task.
    """
    check_fit(name, card)
    kind = KINDS[name]
    if card.task != "node_classification":
        return _graph_net(kind, card, config)
    if config.block == "residual":
        width = config.hidden_channels
        layers = [kind.make(_inner_place(kind, config, one_graph=one_graph)) for _ in range(config.num_layers)]
        shape = card.num_features, card.out_channels
        return Residual(*shape, layers, kind.reads, width, config.dropout, config.activation)
    return Stack(_plain_layers(kind, card, config, one_graph), kind.reads, config.dropout, config.activation)


def _plain_layers(kind: Kind, card: Card, config: ModelConfig, one_graph: bool) -> list[nn.Module]:
    """Attention widens the hidden layers by its heads."""
    layers: list[nn.Module] = []
    wide = config.hidden_channels * (config.heads if kind.attends else 1)
    for depth in range(config.num_layers):
        last = depth == config.num_layers - 1
        place = Place(
            wide if depth else card.num_features,
            card.out_channels if last else config.hidden_channels,
            heads=config.out_heads if last else config.heads,
            concat=not last,
            attention_dropout=config.attention_dropout,
            one_graph=one_graph,
        )
        layers.append(kind.make(place))
    return layers


def _inner_place(kind: Kind, config: ModelConfig, edge_dim: int | None = None, one_graph: bool = True) -> Place:
    """A place between states of one width; attention shares the width among its heads."""
    width, heads = config.hidden_channels, config.heads if kind.attends else 1
    if width % heads:
        raise ValueError(f"model.heads: expected a divisor of model.hidden_channels={width} (got {heads})")
    return Place(width, width // heads, heads, True, config.attention_dropout, edge_dim, one_graph)


def _graph_net(kind: Kind, card: Card, config: ModelConfig) -> GraphNet:
    width = config.hidden_channels
    edges = None
    if kind.takes_edges and config.edge_features and card.num_edge_features:
        edges = _encoder(card.num_edge_features, card.edge_categories, width)
    place = _inner_place(kind, config, edge_dim=width if edges is not None else None, one_graph=False)
    return GraphNet(
        _encoder(card.num_features, card.node_categories, width),
        edges,
        [kind.make(place) for _ in range(config.num_layers)],
        width,
        card.out_channels,
        config.pooling,
        config.dropout,
        config.activation,
    )


def _encoder(in_channels: int, categories: tuple[int, ...] | None, width: int) -> nn.Module:
    return nn.Linear(in_channels, width) if categories is None else Categories(categories, width)
