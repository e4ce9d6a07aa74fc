"""The blocks that NCN's predictors are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnkit.kernels import backend_name, norm_relu
from gnnkit.kernels._check import FLOAT_DTYPES
from gnnkit.models._dropout import Dropout


class Block(nn.Sequential):
    """Linear, LayerNorm with ``norm``, Dropout, ReLU; on CPUs all after the product of matrices is one pass."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, norm: bool) -> None:
        normed = [nn.LayerNorm(out_channels)] if norm else []
        # in place: what a linear map or a norm gives is not read by its own gradient
        super().__init__(
            nn.Linear(in_channels, out_channels), *normed, Dropout(dropout, inplace=True), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[P, in_channels] -> [P, out_channels]``."""
        linear = self[0]
        assert isinstance(linear, nn.Linear)
        return self.after(F.linear(x, linear.weight))

    def after(self, product: Tensor) -> Tensor:
        """What follows the product with the linear map's weight, beginning with its bias."""
        linear, *normed, dropout, _ = self
        assert isinstance(linear, nn.Linear)
        assert isinstance(dropout, Dropout)
        if backend_name(product) != "numba" or product.dtype not in FLOAT_DTYPES:
            out = product + linear.bias
            for layer in list(self)[1:]:
                out = layer(out)
            return out
        weight, shift, eps = None, None, 0.0
        for norm in normed:
            assert isinstance(norm, nn.LayerNorm)
            weight, shift, eps = norm.weight, norm.bias, norm.eps
        rate, seed = 0.0, 0
        if dropout.training and dropout.p > 0:
            rate, seed = dropout.p, int(torch.empty((), dtype=torch.int64).random_())
        inplace = not torch.is_grad_enabled()  # the product is this block's own
        return norm_relu(product, linear.bias, weight, shift, eps=eps, dropout=rate, seed=seed, inplace=inplace)


class SumMLP(nn.Sequential):
    """Lin-Drop-ReLU, a block, and a last linear map unless ``tail_activation``: for sums over sets of neighbours.

    Where most sets are empty, what an empty one gives is computed once; with dropout in training, which draws for each
    row, only the first linear map of it is.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, dropout: float, norm: bool, *, tail_activation: bool = True
    ) -> None:
        first = Block(in_channels, hidden_channels, dropout, norm=False)
        second = Block(hidden_channels, hidden_channels, dropout, norm)
        super().__init__(first, second, *tail(hidden_channels, tail_activation))
        self.dropout = dropout

    def forward(self, sums: Tensor, place: Tensor | None = None) -> Tensor:
        """Return ``[P, hidden_channels]``.

        Args:
            sums: ``[P, in_channels]``, or with ``place`` ``[Q, in_channels]``, those of sets that are not empty.
            place: ``[P]``, for each pair the row of its sum, Q for an empty set.
        """
        first, *others = self
        assert isinstance(first, Block)
        linear = first[0]
        assert isinstance(linear, nn.Linear)
        product = F.linear(sums, linear.weight)
        last = None  # where rows of the result are gathered from
        if place is not None:
            product = torch.cat([product, product.new_zeros(1, product.shape[1])])  # [Q + 1, hidden_channels]
            if self.training and self.dropout > 0:
                product = product.index_select(0, place)
            else:
                last = place
        hidden = first.after(product)
        for layer in others:
            hidden = layer(hidden)
        return hidden if last is None else hidden.index_select(0, last)


def tail(hidden_channels: int, activation: bool) -> list[nn.Module]:
    """A last linear map, unless an MLP shall end with its activation."""
    return [] if activation else [nn.Linear(hidden_channels, hidden_channels)]
