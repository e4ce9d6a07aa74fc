"""Rows that escape inside an activation checkpoint: its second forward saves what the first one counted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hidden import Doubled
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import MessagePassing

import gnnkit

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 4, dtype=torch.float64, generator=RNG)
EDGES = torch.randint(12, (2, 30), generator=RNG)
ATTR = torch.randn(30, 4, dtype=torch.float64, generator=RNG)
Message = Callable[[Any, Tensor, Tensor], Tensor]

# each saves tensors for the backward before its rows escape
MESSAGES: dict[str, Message] = {
    "a function of each row": lambda layer, x_j, e: Doubled.apply(x_j.sigmoid()),
    "a linear map": lambda layer, x_j, e: Doubled.apply(layer.lin(x_j)),
    "a function of each edge": lambda layer, x_j, e: (e * layer.scale).sigmoid() * Doubled.apply(x_j.tanh()),
}
REENTRANT = pytest.mark.parametrize("reentrant", [False, True], ids=["not reentrant", "reentrant"])


def make(message: Message) -> MessagePassing:
    """A layer of a class of its own: whether its rows stay pending is the class's."""

    class Layer(MessagePassing):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.scale = nn.Linear(4, 4), nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
            return self.propagate(edge_index, x=self.lin(x), edge_attr=edge_attr)

        def message(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
            return message(self, x_j, edge_attr)

    torch.manual_seed(0)
    return Layer().double()


def results(layer: nn.Module, run: Callable[..., Tensor]) -> list[Tensor]:
    """The output and all gradients."""
    x, attr = X.clone().requires_grad_(), ATTR.clone().requires_grad_()
    layer.zero_grad()
    out = run(layer, x, EDGES, attr)
    out.square().sum().backward()
    return [out.detach(), *(torch.zeros_like(t) if t.grad is None else t.grad for t in (x, attr, *layer.parameters()))]


@REENTRANT
@pytest.mark.parametrize("name", MESSAGES)
def test_rows_escape_first_inside_a_checkpoint(name: str, reentrant: bool, gathered_once: Any) -> None:
    plain = make(MESSAGES[name])
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    expected = results(plain, lambda layer, *args: layer(*args))
    with gathered_once():
        for _ in range(2):
            actual = results(fast, lambda layer, *args: checkpoint(layer, *args, use_reentrant=reentrant))
            torch.testing.assert_close(actual, expected)


@REENTRANT
def test_rows_escape_first_inside_one_of_two_checkpoints(reentrant: bool, gathered_once: Any) -> None:
    """The class is known to gather when the first checkpoint runs again, and was not when it ran first."""

    def run(layer: Any, x: Tensor, *args: Tensor, step: Callable[..., Tensor]) -> Tensor:
        return step(layer, step(layer, x, *args), *args)

    plain = make(lambda layer, x_j, e: Doubled.apply(x_j.sigmoid()))
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    expected = results(plain, lambda *args: run(*args, step=lambda layer, *args: layer(*args)))
    step = lambda *args: checkpoint(*args, use_reentrant=reentrant)  # noqa: E731
    with gathered_once():
        torch.testing.assert_close(results(fast, lambda *args: run(*args, step=step)), expected)


@pytest.mark.parametrize("escapes", [False, True])
def test_hooks_see_what_the_successful_attempt_saved_and_no_more(escapes: bool, gathered_once: Any) -> None:
    def message(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
        rows = x_j.sigmoid()
        return Doubled.apply(rows) if escapes else rows

    layer = gnnkit.accelerate(make(message))
    packed: list[Tensor] = []

    def saved() -> tuple[list[torch.Size], list[Tensor]]:
        packed.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t * 1, lambda t: t):
            out = results(layer, lambda layer, *args: layer(*args))
        return [t.shape for t in packed], out

    if escapes:
        with gathered_once():
            first = saved()
    else:
        first = saved()
    second = saved()
    assert first[0] == second[0]
    rows = layer.lin(X).sigmoid()  # saved by the message itself
    assert any(torch.equal(t, rows[EDGES[0]] if escapes else rows) for t in packed)
    torch.testing.assert_close(first[1], second[1])


def test_a_gradient_asked_for_inside_the_message() -> None:
    """What is saved can be asked for before the attempt has succeeded."""

    def message(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad((e * layer.scale).sigmoid().sum(), e, create_graph=True)
        return x_j * slope.sum(-1, keepdim=True)

    plain = make(message)
    fast = gnnkit.accelerate(copy.deepcopy(plain))

    def run(layer: nn.Module, *args: Tensor) -> Tensor:
        with torch.autograd.graph.save_on_cpu():
            out: Tensor = layer(*args)
        return out

    torch.testing.assert_close(results(fast, run), results(plain, run))
    assert not type(fast).why_gathered


def test_a_saved_tensor_that_the_message_writes_is_saved_as_it_was(gathered_once: Any) -> None:
    def message(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
        weight = (e * layer.scale).sum(-1, keepdim=True).exp()  # saves its result
        out = x_j * weight.tanh()
        with torch.no_grad():
            weight.zero_()
        return out

    def run(layer: nn.Module, *args: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda t: t):
            out: Tensor = layer(*args)
        return out

    plain = make(message)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    expected = results(plain, run)
    with gathered_once():
        torch.testing.assert_close(results(fast, run), expected)
