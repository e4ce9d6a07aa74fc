"""Where rows cannot stay a promise, a layer says so once and is right; the layer's own errors are its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hidden import Doubled
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

import gnnkit

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 4, generator=RNG)
EDGES = torch.randint(12, (2, 12), generator=RNG)  # as many edges as nodes
ATTR = torch.randn(12, 4, generator=RNG)
Message = Callable[[Any, Tensor, Tensor], Tensor]


def make(message: Message, update: bool = False) -> MessagePassing:
    """A layer of a class of its own, which counts its messages (with ``update``: its updates of edges)."""

    class Escaping(MessagePassing):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(4, 4)

        def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
            if update:
                return self.edge_updater(edge_index, x=x, edge_attr=edge_attr)
            return self.propagate(edge_index, x=x, edge_attr=edge_attr)

        def message(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
            self.calls += 1
            return message(self, x_j, edge_attr)

        def edge_update(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
            self.calls += 1
            return message(self, x_j, edge_attr)

    torch.manual_seed(0)
    return Escaping()


def results(layer: nn.Module) -> tuple[Tensor, Tensor]:
    x = X.clone().requires_grad_()
    out = layer(x, EDGES, ATTR)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    return out.detach(), gradient


# ------------------------------------------------------------------ the layer's own errors


class OwnError(Exception):
    pass


def _own(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    raise OwnError("mine")


def _after_a_look(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    raise RuntimeError(f"mine: {x_j.sum():.3f}")


def _of_torch(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    return F.linear(x_j, torch.ones(3, 5))


def _type(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    return F.leaky_relu(x_j, "steep")


@pytest.mark.parametrize("update", [False, True], ids=["message", "edge_update"])
@pytest.mark.parametrize("message", [_own, _after_a_look, _of_torch, _type])
def test_an_error_of_the_layer_comes_out_once(message: Message, update: bool) -> None:
    plain = make(message, update)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    with pytest.raises(Exception) as expected:  # noqa: PT011 (whatever the plain layer raises)
        plain(X, EDGES, ATTR)
    with pytest.raises(type(expected.value)) as error:
        fast(X, EDGES, ATTR)
    assert str(error.value) == str(expected.value)
    assert error.value.__context__ is None
    assert fast.calls == 1
    assert not type(fast).why_gathered


# ------------------------------------------------------------------ rows that escape


def _caught(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    try:
        return Doubled.apply(x_j)
    except RuntimeError:
        return x_j


def _replaced(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    try:
        return Doubled.apply(x_j)
    except RuntimeError:
        raise OwnError("mine") from None


def _memory(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    return torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(x_j)) * x_j


def _compiled(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
    compiled = torch.compile(F.gelu, fullgraph=True, backend="eager")
    out: Tensor = compiled(x_j)
    return out


ESCAPES: dict[str, tuple[Message, str]] = {
    "autograd.Function": (lambda _, x_j, e: Doubled.apply(x_j), "inside an autograd.Function"),
    "memory": (_memory, "asked for their memory"),
    "torch.compile": (_compiled, "met by torch.compile"),
    "vmap": (lambda _, x_j, e: torch.vmap(torch.sin)(x_j), "aten.sin.default met rows that were not gathered"),
    "caught by the layer": (_caught, "inside an autograd.Function"),
    "another error of the layer": (_replaced, "inside an autograd.Function"),
}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch.compile's
@pytest.mark.parametrize("name", ESCAPES)
def test_rows_that_escape_warn_once_and_are_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    message, why = ESCAPES[name]
    plain = make(message)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    expected = results(plain)
    with pytest.warns(UserWarning, match="Escaping: its rows are gathered") as caught:
        torch.testing.assert_close(results(fast), expected)
    assert len(caught) == 1
    assert why in str(caught[0].message)
    assert caught[0].filename == __file__  # where the layer propagates
    other = gnnkit.accelerate(copy.deepcopy(plain))
    for layer in (fast, other):  # no warning any more, and one message a call
        before = layer.calls
        torch.testing.assert_close(results(layer), expected)
        assert layer.calls == before + 1
    gnnkit.accelerate(other, verbose=True)
    assert f"accelerated before; {str(caught[0].message).partition(': ')[2]}" in capsys.readouterr().out


def test_an_error_after_an_escape_is_the_layer_s() -> None:
    def message(layer: Any, x_j: Tensor, e: Tensor) -> Tensor:
        Doubled.apply(x_j)
        raise OwnError("mine")

    fast = gnnkit.accelerate(make(message))
    for _ in range(2):
        with pytest.raises(OwnError, match="mine"):
            fast(X.clone().requires_grad_(), EDGES, ATTR)
    assert not type(fast).why_gathered  # nothing was right yet


# ------------------------------------------------------------------ calls that a rule does not know

UNKNOWN: dict[str, Message] = {
    "relu": lambda _, x_j, e: torch.relu(input=x_j),
    "sum": lambda _, x_j, e: torch.sum(input=x_j, dim=-1, keepdim=True) * x_j,
    "product": lambda _, x_j, e: torch.mul(input=x_j, other=e),
    "alpha": lambda _, x_j, e: x_j.add(other=e, alpha=2),
    "shape": lambda _, x_j, e: x_j.reshape(shape=(-1, 2, 2)).flatten(1),
    "linear": lambda layer, x_j, e: F.linear(input=x_j, weight=layer.lin.weight),
    "a bias for each edge": lambda layer, x_j, e: F.linear(x_j, layer.lin.weight, e),
    "a bias for all channels": lambda layer, x_j, e: F.linear(x_j, layer.lin.weight, e[0, :1]),
    "a bias for each edge of joined rows": lambda _, x_j, e: F.linear(torch.cat([x_j, e], 1), torch.ones(4, 8), e),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_arguments_that_a_rule_does_not_know_gather_and_cost_nothing_later(name: str) -> None:
    plain = make(UNKNOWN[name])
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    torch.testing.assert_close(results(fast), results(plain))
    assert not type(fast).why_gathered
