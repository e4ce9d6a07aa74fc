"""Rows that stay a promise and sums that are added in place never show: to hooks, to odd messages, to who writes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.modules.module import register_module_forward_hook
from torch_geometric.nn import EdgeConv, GATConv, GCNConv, GINConv, Linear, MessagePassing, SAGEConv

import gnnkit
from gnnkit._accelerate._layer import FastLayer
from gnnkit.kernels import spmm

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 3, dtype=torch.float64, generator=RNG)
EDGES = torch.randint(12, (2, 40), generator=RNG)
WEIGHT = torch.rand(40, dtype=torch.float64, generator=RNG)
LAYERS: dict[str, Callable[[], MessagePassing]] = {
    "gcn": lambda: GCNConv(3, 4),
    "sage": lambda: SAGEConv(3, 4),
    "gin": lambda: GINConv(nn.Linear(3, 4)),
    "gat": lambda: GATConv(3, 4),
}


def both(layer: nn.Module) -> tuple[Any, Any]:
    plain = layer.double()
    return plain, gnnkit.accelerate(copy.deepcopy(plain))


def same(layer: nn.Module, call: Callable[[Any], Any]) -> None:
    """The same from both layers, at the first call and at the second."""
    plain, fast = both(layer)
    assert isinstance(fast, FastLayer)
    for _ in range(2):
        results = []
        for one in (plain, fast):
            torch.manual_seed(1)
            results.append(call(one))
        torch.testing.assert_close(results[1], results[0])


def with_gradients(layer: nn.Module, *args: Tensor) -> tuple[Tensor, ...]:
    x = X.clone().requires_grad_()
    weight = WEIGHT.clone().requires_grad_()
    out = layer(x, EDGES, weight, *args)
    grads = torch.autograd.grad(out.square().sum(), [x, weight], allow_unused=True, materialize_grads=True)
    return out.detach(), *grads


# ------------------------------------------------------------------ messages


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


def make(message: Callable[[Any, Tensor, Tensor], Tensor], **kwargs: Any) -> MessagePassing:
    """A layer of a class of its own: whether its rows stay pending is the class's."""

    class Layer(MessagePassing):
        held: Any

        def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x, edge_weight=edge_weight)

        def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
            return message(self, x_j, edge_weight)

    return Layer(**kwargs)


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


# ------------------------------------------------------------------ tensors that others write


@pytest.mark.parametrize("aggr", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_input_written_before_the_backward(aggr: str, weighted: bool) -> None:
    def call(layer: Any) -> tuple[Tensor, ...]:
        x = X.clone().requires_grad_()
        weight = WEIGHT.clone().requires_grad_()
        hidden = 1 * x
        hidden += layer(hidden, EDGES, weight)
        hidden.square().sum().backward()
        return hidden.detach(), x.grad, *([weight.grad] if weighted else [])

    same(make(lambda _, x_j, w: w.view(-1, 1) * x_j if weighted else x_j, aggr=aggr), call)


@pytest.mark.parametrize("reduce", ["max", "min"])
def test_an_extreme_written_before_its_backward_is_refused(reduce: str) -> None:
    x = X.clone().requires_grad_()
    out = spmm(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]), x, reduce=reduce)
    out.relu_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


# ------------------------------------------------------------------ hooks, replaced methods, tracing


def _forward_hook(lin: Any, kept: list[Tensor]) -> Any:
    return lin.register_forward_hook(lambda module, args, out: kept.append(out))


def _replaced_forward(lin: Any, kept: list[Tensor]) -> Any:
    original = lin.forward
    lin.forward = lambda x: kept.append(original(x)) or kept[-1]


def _global_hook(lin: Any, kept: list[Tensor]) -> Any:
    return register_module_forward_hook(lambda module, args, out: kept.append(out) if module is lin else None)


@pytest.mark.parametrize("keep", [_forward_hook, _replaced_forward, _global_hook])
def test_what_a_dense_layer_returned_stays(keep: Any) -> None:
    def call(layer: Any) -> Tensor:
        kept: list[Tensor] = []
        handle = keep(layer.lin_l, kept)
        layer(X, EDGES)
        if handle is not None:
            handle.remove()
        return kept[0]

    same(SAGEConv(3, 4), call)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("hook", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hooks_on_every_module(name: str, hook: str) -> None:
    seen: list[list[str]] = []
    for layer in both(LAYERS[name]()):
        calls: list[str] = []
        for path, module in layer.named_modules():
            getattr(module, hook)(lambda *args, path=path, calls=calls: calls.append(path))
        layer(X.clone().requires_grad_(), EDGES).sum().backward()
        seen.append(calls)
    assert sorted(seen[0]) == sorted(seen[1])
    assert "aggr_module" in seen[0]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_propagate_replaced_on_the_instance(name: str, when: str) -> None:
    layer = LAYERS[name]()
    original = layer.propagate
    replacement = lambda *args, **kwargs: original(*args, **kwargs) + 1  # noqa: E731
    layer.propagate = replacement
    expected = layer(X.float(), EDGES)
    if when == "after":
        del layer.__dict__["propagate"]
    gnnkit.accelerate(layer)
    layer.propagate = replacement
    torch.testing.assert_close(layer(X.float(), EDGES), expected)
    gnnkit.accelerate(layer, undo=True)
    assert layer.propagate is replacement


@pytest.mark.parametrize("name", LAYERS)
def test_make_fx_bakes_no_graph_in(name: str) -> None:
    plain, fast = both(LAYERS[name]())
    traced = make_fx(lambda x, edges: fast(x, edges))(X, EDGES)
    other = EDGES.flip(0).contiguous()
    torch.testing.assert_close(traced(X, other), plain(X, other))


# ------------------------------------------------------------------ GINConv's root term


def test_gin_with_an_eps_of_another_dtype() -> None:
    same(GINConv(nn.Linear(3, 4)), lambda layer: layer(X.float(), EDGES))


def test_gin_with_an_eps_for_each_channel() -> None:
    layer = GINConv(nn.Linear(3, 4))
    layer.register_buffer("eps", torch.arange(3.0))
    same(layer, lambda layer: layer(X, EDGES))


def test_gin_with_a_root_of_another_width() -> None:
    same(GINConv(Linear(3, 4)), lambda layer: layer((X[:, :1], X), EDGES))


@pytest.mark.parametrize("wrong", [(X,), None])
def test_wrong_inputs_fail_as_in_pyg(wrong: Any) -> None:
    for name in ("sage", "gin"):
        plain, fast = both(LAYERS[name]())
        with pytest.raises(Exception) as expected:  # noqa: PT011 (whatever PyG raises)
            plain(wrong, EDGES)
        with pytest.raises(type(expected.value)):
            fast(wrong, EDGES)
