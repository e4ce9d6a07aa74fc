"""The blocks that NCN's predictors are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnkit.kernels import backend_name, norm_relu
from gnnkit.kernels._check import FLOAT_DTYPES
from gnnkit.models._dropout import Dropout


class Block(nn.Module):
    """Linear, LayerNorm with ``norm``, Dropout, ReLU; on CPUs all after the product of matrices is one pass.

    Where that pass would not be these modules (a hook, a pruned or quantised map, autocast, a GPU), they are called one
    after the other.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float, norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.norm = nn.LayerNorm(out_channels) if norm else None
        # in place: what a linear map or a norm gives is not read by its own gradient
        self.dropout = Dropout(dropout, inplace=True)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """``[P, in_channels] -> [P, out_channels]``; the rows at ``place`` alone are taken once they are mapped."""
        fused = self._is_one_pass(x)
        product = F.linear(x, self.linear.weight) if fused else self.linear(x)
        if place is not None:
            product = product.index_select(0, place)
        if fused:
            return self._in_one_pass(product)
        for layer in (self.norm, self.dropout, self.activation):
            product = product if layer is None else layer(product)
        return product

    def _is_one_pass(self, x: Tensor) -> bool:
        if backend_name(x) != "numba" or x.dtype not in FLOAT_DTYPES or x.dim() != 2:
            return False
        if torch.is_autocast_enabled("cpu") or self.dropout.p == 1:
            return False
        kinds = {"linear": nn.Linear, "norm": nn.LayerNorm, "dropout": Dropout, "activation": nn.ReLU}
        return all(_is_plain(layer, kinds[name]) for name, layer in self.named_children())

    def _in_one_pass(self, product: Tensor) -> Tensor:
        weight, shift, eps = None, None, 0.0
        if self.norm is not None:
            weight, shift, eps = self.norm.weight, self.norm.bias, self.norm.eps
        rate, seed = 0.0, 0
        if self.dropout.training and self.dropout.p > 0:
            rate, seed = self.dropout.p, int(torch.empty((), dtype=torch.int64, device="cpu").random_())
        inplace = not torch.is_grad_enabled()  # the product is this block's own
        return norm_relu(product, self.linear.bias, weight, shift, eps=eps, dropout=rate, seed=seed, inplace=inplace)


def _is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a call of a layer is its kind's computation and nothing else."""
    hooks = layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks
    return type(layer) is kind and not any(hooks)


class SumMLP(nn.Module):
    """Lin-Drop-ReLU, a block, and a last linear map unless ``tail_activation``: for sums over sets of neighbours.

    Where most sets are empty, what an empty one gives is computed once; with dropout in training, which draws for each
    row, only the first linear map of it is.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, dropout: float, norm: bool, *, tail_activation: bool = True
    ) -> None:
        super().__init__()
        self.first = Block(in_channels, hidden_channels, dropout, norm=False)
        self.second = nn.Sequential(
            Block(hidden_channels, hidden_channels, dropout, norm), *tail(hidden_channels, tail_activation)
        )

    def forward(self, sums: Tensor, place: Tensor | None = None) -> Tensor:
        """Return ``[P, hidden_channels]``.

        Args:
            sums: ``[P, in_channels]``, or with ``place`` ``[Q, in_channels]``, those of sets that are not empty.
            place: ``[P]``, for each pair the row of its sum, Q for an empty set.
        """
        early, late = place, None
        if place is not None:
            sums = torch.cat([sums, sums.new_zeros(1, sums.shape[1])])  # [Q + 1, in_channels]
            if not (self.training and self.first.dropout.p > 0):
                early, late = None, place
        hidden: Tensor = self.second(self.first(sums, early))
        return hidden if late is None else hidden.index_select(0, late)


def tail(hidden_channels: int, activation: bool) -> list[nn.Module]:
    """A last linear map, unless an MLP shall end with its activation."""
    return [] if activation else [nn.Linear(hidden_channels, hidden_channels)]
