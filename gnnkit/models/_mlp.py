"""The blocks that NCN's predictors are made of."""

from __future__ import annotations

from torch import nn

from gnnkit.models._dropout import Dropout


def block(in_channels: int, out_channels: int, dropout: float, norm: bool) -> list[nn.Module]:
    """Linear, LayerNorm with ``norm``, Dropout, ReLU."""
    normed = [nn.LayerNorm(out_channels)] if norm else []
    # in place: what a linear map or a norm gives is not read by its own gradient
    return [nn.Linear(in_channels, out_channels), *normed, Dropout(dropout, inplace=True), nn.ReLU(inplace=True)]


def pool_mlp(in_channels: int, hidden_channels: int, dropout: float, norm: bool) -> list[nn.Module]:
    """A block without norm and one with, as for sums over neighbours."""
    first = block(in_channels, hidden_channels, dropout, norm=False)
    return first + block(hidden_channels, hidden_channels, dropout, norm)


def tail(hidden_channels: int, activation: bool) -> list[nn.Module]:
    """A last linear map, unless an MLP shall end with its activation."""
    return [] if activation else [nn.Linear(hidden_channels, hidden_channels)]
