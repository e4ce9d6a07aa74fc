"""Any message gives what it gives on gathered rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg_nn
from hidden import Doubled
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from usual_layers import EDGES, X, fast_copy

import gnnkit
from gnnkit._accelerate._layer import FastLayer


def _in_place(x_j: Tensor) -> Tensor:
    x_j *= 2
    x_j.add_(1)
    return x_j


MESSAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "autograd.Function": Doubled.apply,
    "in place": _in_place,
    "without gradients": lambda x_j: torch.no_grad()(lambda: x_j * 3)() + x_j,
    "NumPy": lambda x_j: x_j * float(x_j.detach().numpy().max()),
    "indexing": lambda x_j: x_j[:, :1] * x_j,
    "a number": lambda x_j: 0.5 * x_j,
    "a row": lambda x_j: x_j * torch.arange(3.0),
    "itself": lambda x_j: x_j * x_j,
    "another dtype": lambda x_j: (x_j * torch.ones(len(x_j), 1, dtype=torch.float64)).float(),
    "twice weighted": lambda x_j: torch.full((len(x_j), 1), 2.0) * x_j * torch.full((len(x_j), 1), 3.0),
    "isinstance": lambda x_j: x_j if isinstance(x_j, Tensor) and x_j.shape[-1] == x_j.size(1) == 3 else 1 / 0,
    "a list": lambda x_j: torch.stack([x_j, x_j]).sum(0),
    "detached": lambda x_j: x_j.detach() + 0 * x_j,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_any_message(name: str, gathered_once: Any) -> None:
    class Layer(MessagePassing):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x)

        def message(self, x_j: Tensor) -> Tensor:
            return MESSAGES[name](x_j)

    plain = Layer()
    fast = fast_copy(plain)
    assert isinstance(fast, FastLayer)
    with gathered_once() if name in ("autograd.Function", "without gradients") else contextlib.nullcontext():
        for _ in range(2):
            results = []
            for layer in (plain, fast):
                x = X.clone().requires_grad_()
                out = layer(x, EDGES)
                out.square().sum().backward()
                results.append((out, x.grad))
            torch.testing.assert_close(results[1], results[0])


def test_scripted_message(gathered_once: Any) -> None:
    class Layer(MessagePassing):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x)

        def message(self, x_j: Tensor) -> Tensor:
            return scripted(x_j)

    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        scripted = torch.jit.script(_twice)
    plain = Layer()
    fast = fast_copy(plain)
    results = []
    with gathered_once():
        for layer in (plain, fast):
            x = X.clone().requires_grad_()
            layer(x, EDGES).square().sum().backward()
            results.append(x.grad)
    torch.testing.assert_close(results[1], results[0])


def _twice(x: Tensor) -> Tensor:
    return x * 2


def test_an_error_of_the_layer_stays_one_and_costs_nothing_later(kernel_calls: list[int]) -> None:
    layer = gnnkit.accelerate(pyg_nn.GINEConv(nn.Linear(3, 4)))
    with pytest.raises(ValueError, match="dimensionalities do not match"):
        layer(X, EDGES, torch.ones(40, 5))
    assert not type(layer).why_gathered
