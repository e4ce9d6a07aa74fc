"""Rows that stay a promise never show, whatever a message does with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from both_layers import EDGES, WEIGHT, X, both, make, same, with_gradients
from hidden import Doubled
from torch import Tensor, nn
from torch_geometric.nn import EdgeConv, MessagePassing


def _looked_at_then_hidden(layer: Any, x_j: Tensor, weight: Tensor) -> Tensor:
    return Doubled.apply(x_j) + 0 * x_j.norm()


def _product_without_gradients(layer: Any, x_j: Tensor, weight: Tensor) -> Tensor:
    with torch.no_grad():
        constant = weight.view(-1, 1) * x_j
    return constant + x_j


def _product_returned_without_gradients(layer: Any, x_j: Tensor, weight: Tensor) -> Tensor:
    with torch.no_grad():
        constant = weight.view(-1, 1) * x_j
    return constant if weight.requires_grad else x_j


def _draws_and_hides(layer: Any, x_j: Tensor, weight: Tensor) -> Tensor:
    return nn.functional.dropout(weight).view(-1, 1) * Doubled.apply(x_j)


@pytest.mark.parametrize("message", [_looked_at_then_hidden, _product_without_gradients, _draws_and_hides])
def test_gradients_and_draws_of_odd_messages(message: Any, gathered_once: Any) -> None:
    with gathered_once():
        same(make(message), with_gradients)


def test_a_product_without_gradients_has_none(gathered_once: Any) -> None:
    _, fast = both(make(_product_returned_without_gradients))
    with gathered_once():
        assert not fast(X.clone().requires_grad_(), EDGES, WEIGHT.clone().requires_grad_()).requires_grad


def test_a_weight_written_after_its_product(gathered_once: Any) -> None:
    def message(layer: Any, x_j: Tensor, weight: Tensor) -> Tensor:
        own = weight.clone()
        out = own.view(-1, 1) * x_j
        own.zero_()
        return out

    with gathered_once():
        same(make(message), lambda layer: layer(X, EDGES, WEIGHT))


def test_gradients_switched_on_inside() -> None:
    def message(layer: Any, x_j: Tensor, weight: Tensor) -> Tensor:
        with torch.enable_grad():
            out = weight.view(-1, 1) * x_j
        return out * (2 if out.requires_grad else 1)

    def call(layer: Any) -> Tensor:
        with torch.no_grad():
            out: Tensor = layer(X.clone().requires_grad_(), EDGES, WEIGHT)
        return out

    same(make(message), call)


def _hold(layer: Any, x_j: Tensor, weight: Tensor) -> Tensor:
    layer.held = weight.view(-1, 1) * x_j
    held: Tensor = layer.held
    return held


def test_a_message_that_the_layer_keeps(gathered_once: Any) -> None:
    def call(layer: Any) -> tuple[Tensor, ...]:
        x = X.clone().requires_grad_()
        out = layer(x, EDGES, WEIGHT)
        assert type(layer.held) is Tensor
        with torch.no_grad():
            norm = layer.held.norm()
        layer.held.retain_grad()
        out.square().sum().backward()
        return norm, layer.held.grad, x.grad

    with gathered_once():
        same(make(_hold), call)


def test_an_update_that_returns_rows() -> None:
    class Last(MessagePassing):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x)

        def update(self, inputs: Tensor, x_j: Tensor) -> Tensor:
            return x_j

    plain, fast = both(Last())
    assert type(fast(X, EDGES)) is Tensor
    torch.testing.assert_close(fast(X, EDGES), plain(X, EDGES))


def test_a_checkpoint_that_ends_its_second_forward_early() -> None:
    def call(layer: Any) -> tuple[Tensor, ...]:
        x = X.clone().requires_grad_()
        out = torch.utils.checkpoint.checkpoint(layer, x, EDGES, use_reentrant=False)
        out.square().sum().backward()
        return out.detach(), x.grad

    same(EdgeConv(nn.Linear(6, 4)), call)
