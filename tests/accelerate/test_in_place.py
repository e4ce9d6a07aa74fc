"""Sums that are added in place never show: to who writes on, to hooks, to replaced methods, to tracing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from both_layers import EDGES, LAYERS, WEIGHT, X, both, make, same
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.modules.module import register_module_forward_hook
from torch_geometric.nn import GINConv, Linear, SAGEConv

import gnnkit
from gnnkit.kernels import spmm

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
