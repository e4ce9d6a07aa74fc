"""The blocks that NCN's predictors are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnkit.models._dropout import Dropout


def block(in_channels: int, out_channels: int, dropout: float, norm: bool) -> list[nn.Module]:
    """Linear, LayerNorm with ``norm``, Dropout, ReLU."""
    normed = [nn.LayerNorm(out_channels)] if norm else []
    # in place: what a linear map or a norm gives is not read by its own gradient
    return [nn.Linear(in_channels, out_channels), *normed, Dropout(dropout, inplace=True), nn.ReLU(inplace=True)]


class SumMLP(nn.Sequential):
    """Lin-Drop-ReLU, a block, and a last linear map unless ``tail_activation``: for sums over sets of neighbours.

    Where most sets are empty, what an empty one gives is computed once; with dropout in training, which draws for each
    row, only the first linear map of it is.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, dropout: float, norm: bool, *, tail_activation: bool = True
    ) -> None:
        first = block(in_channels, hidden_channels, dropout, norm=False)
        second = block(hidden_channels, hidden_channels, dropout, norm)
        super().__init__(*first, *second, *tail(hidden_channels, tail_activation))
        self.dropout = dropout

    def forward(self, sums: Tensor, place: Tensor | None = None) -> Tensor:
        """Return ``[P, hidden_channels]``.

        Args:
            sums: ``[P, in_channels]``, or with ``place`` ``[Q, in_channels]``, those of sets that are not empty.
            place: ``[P]``, for each pair the row of its sum, Q for an empty set.
        """
        linear, *others = self
        assert isinstance(linear, nn.Linear)
        hidden: Tensor = linear(sums)
        last = None  # where rows of the result are gathered from
        if place is not None:
            hidden = torch.cat([hidden, linear.bias.unsqueeze(0)])  # [Q + 1, hidden_channels]
            if self.training and self.dropout > 0:
                hidden = hidden.index_select(0, place)
            else:
                last = place
        for layer in others:
            hidden = layer(hidden)
        return hidden if last is None else hidden.index_select(0, last)


def tail(hidden_channels: int, activation: bool) -> list[nn.Module]:
    """A last linear map, unless an MLP shall end with its activation."""
    return [] if activation else [nn.Linear(hidden_channels, hidden_channels)]
