"""What stays a promise never shows: views, writes, infinities, errors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import (
    MessagePassing,
)
from torch_geometric.utils import softmax

import gnnkit
from gnnkit._accelerate import _pairs
from gnnkit._accelerate._layer import FastLayer

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 4, dtype=torch.float64, generator=RNG)
EDGES = torch.randint(10, (2, 40), generator=RNG)  # nodes 10 and 11 have no edges
ATTR = torch.randn(40, 4, dtype=torch.float64, generator=RNG)


def make(message: Callable[..., Tensor], **kwargs: Any) -> MessagePassing:
    """A layer of a class of its own: whether its rows stay pending is the class's."""

    class Layer(MessagePassing):
        def __init__(self) -> None:
            super().__init__(**kwargs)
            self.lin, self.both = nn.Linear(4, 3), nn.Linear(8, 3)
            self.factor = nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x, edge_attr=edge_attr)

        def message(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor, index: Tensor) -> Tensor:
            return message(self, x_i, x_j, edge_attr, index)

    torch.manual_seed(0)
    return Layer().double()


def results(layer: nn.Module, x: Tensor = X) -> tuple[Tensor, ...]:
    x, attr = x.clone().requires_grad_(), ATTR.clone().requires_grad_()
    torch.manual_seed(1)
    out = layer(x, EDGES, attr)
    grads = torch.autograd.grad(
        out.square().sum(), [x, attr, *layer.parameters()], allow_unused=True, materialize_grads=True
    )
    return out.detach(), *grads


def same(layer: MessagePassing, x: Tensor = X) -> type[FastLayer]:
    fast = gnnkit.accelerate(copy.deepcopy(layer))
    for _ in range(2):
        torch.testing.assert_close(results(fast, x), results(layer, x), equal_nan=True)
    return type(fast)


# ------------------------------------------------------------------ messages

Message = Callable[[Any, Tensor, Tensor, Tensor, Tensor], Tensor]
KEPT: dict[str, Message] = {
    "a dot product": lambda _, x_i, x_j, e, index: (x_i * x_j).sum(-1, keepdim=True) * x_j,
    "a dot product by torch.sum": lambda _, x_i, x_j, e, index: torch.sum(x_j * x_i, dim=1).unsqueeze(-1) * x_j,
    "a dot product of halves": lambda _, x_i, x_j, e, index: (x_i[:, :2] * x_j[:, 2:]).sum(-1, True) * x_j,
    "heads": lambda _, x_i, x_j, e, index: (
        softmax((x_i.view(-1, 2, 2) * x_j.reshape(len(e), 2, 2)).sum(-1), index).unsqueeze(-1) * x_j.view(-1, 2, 2)
    ).flatten(1),
    "heads, weighted twice": lambda _, x_i, x_j, e, index: (
        e[:, :1].unsqueeze(-1) * x_j.view(-1, 2, 2) * e[:, 1:3].unsqueeze(-1) * e[:, 3:].view(-1, 1, 1)
    ).view(-1, 4),
    "flat heads": lambda _, x_i, x_j, e, index: torch.flatten(x_j.view(-1, 2, 2) * e[:, 1:3].unsqueeze(-1), 1) + 0,
    "an activation": lambda _, x_i, x_j, e, index: F.relu(x_j),
    "activations": lambda _, x_i, x_j, e, index: torch.sigmoid(F.leaky_relu(x_j, 0.3)).tanh() * 2 / 3 - 1 + 0.5,
    "a square": lambda _, x_i, x_j, e, index: x_j * x_j,
    "scaled channels": lambda layer, x_i, x_j, e, index: layer.factor * x_j,
    "a linear map": lambda layer, x_i, x_j, e, index: layer.lin(x_j),
    "a linear map of both": lambda layer, x_i, x_j, e, index: layer.both(torch.cat([x_i, x_j], dim=-1)),
    "a linear map of one and an edge": lambda layer, x_i, x_j, e, index: layer.both(torch.cat([e, x_j], 1)).relu(),
    "a linear map of one twice": lambda layer, x_i, x_j, e, index: layer.both(torch.cat([x_j, x_j], 1)),
    "a linear map of a difference": lambda layer, x_i, x_j, e, index: layer.both(torch.cat([x_i, x_j - x_i], 1)),
    "sums": lambda _, x_i, x_j, e, index: (x_i + x_j) * (x_j - x_i) + (x_j + e) - (e + x_i),
    "a row sum": lambda _, x_i, x_j, e, index: x_j.sum(-1).view(-1, 1) * x_j,
    "another end's number": lambda _, x_i, x_j, e, index: x_i.sum(-1, keepdim=True) * x_j,
}


@pytest.mark.parametrize("aggr", ["sum", "max"])
@pytest.mark.parametrize("name", KEPT)
def test_rows_stay_pending(name: str, aggr: str) -> None:
    assert not same(make(KEPT[name], aggr=aggr)).why_gathered


@pytest.mark.parametrize("name", KEPT)
def test_a_table_that_is_written_before_the_backward(name: str) -> None:
    """``h += conv(h)``: PyG's messages hold copies, so whatever is kept of the table must be one."""
    layer = make(lambda *args: KEPT[name](*args).sum(-1, keepdim=True).expand(-1, 4))

    def call(layer: Any) -> tuple[Tensor, ...]:
        x = X.clone().requires_grad_()
        hidden = 1 * x
        hidden += layer(hidden, EDGES, ATTR)
        grads = torch.autograd.grad(
            hidden.square().sum(), [x, *layer.parameters()], materialize_grads=True, allow_unused=True
        )
        return hidden.detach(), *grads

    torch.testing.assert_close(call(gnnkit.accelerate(copy.deepcopy(layer))), call(layer))


def _view_written(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    x_j[:, :2].mul_(3)
    return x_j


def _viewed_then_written(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    heads = x_j.view(-1, 2, 2)
    x_j += 1
    return x_j + heads.flatten(1)


def _item_written(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    left = x_j[:, 0:1]
    x_j[:, 0] = 7
    return x_j * left


def _written_after_a_product(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    product = x_i * x_j
    x_j.mul_(2)
    return product + x_j


def _written_after_joining(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    own = e.clone()
    joined = torch.cat([own, x_j], dim=-1)
    own.zero_()
    x_j.neg_()
    out: Tensor = layer.both(joined)
    return out + x_j[:, :3]


def _slice_of_joined_written(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    joined = torch.cat([x_i, x_j], dim=-1)
    joined[:, :].mul_(2)
    out: Tensor = layer.both(joined)
    return out


def _out(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    with torch.no_grad():
        torch.mul(e, 2, out=(other := torch.empty_like(e)))
    return x_j * other


def _without_gradients(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    with torch.no_grad():
        scores = (x_i * x_j).sum(-1, keepdim=True)
    return scores * x_j


def _index_written(layer: Any, x_i: Tensor, x_j: Tensor, e: Tensor, index: Tensor) -> Tensor:
    other = index.clone()
    alpha = softmax(e, other)
    other.zero_()
    return (alpha + softmax(e, other)) * x_j


ESCAPING = [_view_written, _viewed_then_written, _item_written, _written_after_joining]
PASSING = [_slice_of_joined_written, _out]


@pytest.mark.parametrize("message", [*ESCAPING, _without_gradients])
def test_odd_messages_that_gather(message: Message, gathered_once: Any) -> None:
    with gathered_once():
        same(make(message))


@pytest.mark.parametrize("message", PASSING)
def test_odd_messages(message: Message) -> None:
    same(make(message))


def same_values(layer: MessagePassing) -> None:
    fast = gnnkit.accelerate(copy.deepcopy(layer))
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(fast(X, EDGES, ATTR), layer(X, EDGES, ATTR))


@pytest.mark.parametrize("message", ESCAPING)
def test_values_of_odd_messages_that_gather(message: Message, gathered_once: Any) -> None:
    with gathered_once():
        same_values(make(message))


@pytest.mark.parametrize("message", [*PASSING, _without_gradients, _written_after_a_product, _index_written])
def test_values_of_odd_messages(message: Message) -> None:
    same_values(make(message))


def test_infinite_features_of_a_node_without_edges() -> None:
    """Node 11 is at no edge: what it holds is in no message, and no gradient of PyG's."""
    x = X.clone()
    x[11] = torch.tensor([torch.inf, torch.nan, -torch.inf, 1.0])
    for message in KEPT.values():
        layer = make(message)
        assert not same(layer, x).why_gathered
        assert all(gradient.isfinite().all() for gradient in results(gnnkit.accelerate(layer), x)[2:])


def test_fewer_edges_than_nodes_are_mapped_at_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = gnnkit.accelerate(make(KEPT["a linear map"]))
    rows = []
    original = F.linear
    monkeypatch.setattr(F, "linear", lambda x, *args: rows.append(len(x)) or original(x, *args))
    layer(X, EDGES, ATTR)
    layer(X, EDGES[:, :5], ATTR[:5])
    assert rows[-1] == 5


@pytest.mark.parametrize("narrow", [4, 5])
def test_narrow_rows_are_mapped_at_the_edges(narrow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pairs, "NARROW", narrow)
    layer = make(KEPT["a linear map of both"])
    rows = []
    original = F.linear
    monkeypatch.setattr(F, "linear", lambda x, *args: rows.append(len(x)) or original(x, *args))
    same(layer)
    fast = gnnkit.accelerate(layer)
    rows.clear()
    fast(X, EDGES, ATTR)
    assert (12 in rows) == (narrow == 4)


def test_errors_are_pyg_s() -> None:
    for message in (
        lambda layer, x_i, x_j, e, index: layer.both(x_j),
        lambda layer, x_i, x_j, e, index: layer.both(torch.cat([x_i, x_j, e], dim=-1)),
        lambda layer, x_i, x_j, e, index: x_j.view(-1, 3),
        lambda layer, x_i, x_j, e, index: x_j[:, 9] * x_j,
        lambda layer, x_i, x_j, e, index: torch.cat([x_i, x_j.float()[:1]], dim=-1),
    ):
        layer = make(message)
        with pytest.raises(Exception) as expected:  # noqa: PT011 (whatever PyG raises)
            layer(X, EDGES, ATTR)
        with pytest.raises(type(expected.value)) as error:
            gnnkit.accelerate(layer)(X, EDGES, ATTR)
        assert str(error.value) == str(expected.value)
