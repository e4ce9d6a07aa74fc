"""What is remembered of a graph never shows: mutation, writes, copies, threads, code that others rewrite."""

from __future__ import annotations

import copy
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    APPNP,
    AGNNConv,
    ChebConv,
    FAConv,
    GCNConv,
    HypergraphConv,
    MessagePassing,
    SGConv,
    SuperGATConv,
    TransformerConv,
)
from torch_geometric.nn.conv import sg_conv
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import softmax

import gnnkit
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._marks import mark, topology_of
from gnnkit._accelerate._remembered import Remembered
from gnnkit.kernels import _numba

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 4, dtype=torch.float64, generator=RNG)
EDGES = torch.randint(10, (2, 40), generator=RNG)  # nodes 10 and 11 have no edges


# ------------------------------------------------------------------ marks


def test_a_mark_holds_for_what_was_marked() -> None:
    topology: Any = object()
    index = EDGES[1].clone()
    assert topology_of(index) is None
    mark(index, topology)
    assert topology_of(index) is topology
    assert topology_of(index.clone()) is None
    assert topology_of(index[:]) is None
    assert topology_of(None) is None
    index[0] = 1
    assert topology_of(index) is None
    with torch.inference_mode():
        other = EDGES[1].clone()
        mark(other, topology)
        assert topology_of(other) is None


# ------------------------------------------------------------------ what is remembered


def test_remembered_by_content() -> None:
    calls = []

    def function(edges: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor, None]:
        calls.append(scale)
        return edges, edges * scale, None

    remembered = Remembered(function, share=True)
    edges = EDGES.clone()
    first = remembered(edges, scale=2.0)
    assert remembered(EDGES, scale=2.0)[1] is first[1]
    assert calls == [2.0]
    assert first[0] is not edges  # what came in is the caller's to write
    remembered(edges, scale=2)  # another type may mean another thing
    edges[0, 0] += 1
    torch.testing.assert_close(remembered(edges, scale=2.0)[1], edges * 2.0)
    assert calls == [2.0, 2, 2.0]
    weight = torch.ones(3, requires_grad=True)
    remembered(weight)
    remembered(weight)
    assert len(calls) == 5  # with gradients: computed every time
    assert remembered(weight)[1].requires_grad
    assert remembered(torch.ones(3, 2))[1] is not remembered(torch.ones(3, 2))[1]  # features are too large to keep
    copied = Remembered(function, share=False)
    assert copied(EDGES)[1] is not copied(EDGES)[1]
    with pytest.raises(TypeError):
        remembered(EDGES, 1.0, 2.0)


@pytest.mark.parametrize("make_layer", [lambda: SGConv(4, 3), lambda: AGNNConv(), lambda: ChebConv(4, 3, K=3)])
def test_never_stale(make_layer: Callable[[], nn.Module]) -> None:
    plain = make_layer().double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    array = EDGES.numpy().copy()
    edge_index = torch.from_numpy(array)
    for step in range(5):
        torch.testing.assert_close(fast(X, edge_index), plain(X, edge_index))
        array[:, step] = (array[:, step] + 1) % 12  # torch cannot know
    with torch.inference_mode():
        edge_index = EDGES.clone()
        for step in range(5):
            torch.testing.assert_close(fast(X, edge_index), plain(X, edge_index))
            edge_index[:, step] = (edge_index[:, step] + 1) % 12
    expected = plain(X, EDGES)
    for one in (fast(X, EDGES), fast(X, EDGES)):
        torch.testing.assert_close(one, expected)
        one.detach().zero_()  # what a layer returned is its caller's


def test_made_in_inference_mode_for_training() -> None:
    layer = gnnkit.accelerate(SGConv(4, 3).double())
    with torch.inference_mode():
        layer(X, EDGES.clone())
    layer(X, EDGES).sum().backward()


def test_a_layer_that_writes_its_normalised_graph() -> None:
    class Writes(MessagePassing):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            edge_index, weight = gcn_norm(edge_index, None, len(x), dtype=x.dtype)
            out = self.propagate(edge_index, x=x, weight=weight)
            weight *= 3
            edge_index[:, 0] = 0
            return out + self.propagate(edge_index, x=x, weight=weight)

        def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
            return weight.view(-1, 1) * x_j

    class Renamed(SGConv):
        def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
            return edge_weight.mul_(2).view(-1, 1) * x_j

    for layer in (Writes(), Renamed(4, 4, K=2).double()):
        fast = gnnkit.accelerate(copy.deepcopy(layer))
        for _ in range(3):
            torch.testing.assert_close(fast(X, EDGES), layer(X, EDGES))


def test_what_a_layer_keeps_or_returns_is_its_caller_s() -> None:
    plain = APPNP(2, 0.1, cached=True)
    layers = [gnnkit.accelerate(copy.deepcopy(plain)) for _ in range(2)]
    expected = plain(X, EDGES)
    for layer in layers:
        torch.testing.assert_close(layer(X, EDGES), expected)
        layer._cached_edge_index[1].zero_()
    torch.testing.assert_close(gnnkit.accelerate(APPNP(2, 0.1))(X, EDGES), expected)
    attention = FAConv(4).double()
    fast = gnnkit.accelerate(copy.deepcopy(attention))
    for _ in range(2):
        out, (edges, _) = fast(X, X, EDGES, return_attention_weights=True)
        torch.testing.assert_close(out, attention(X, X, EDGES))
        edges.zero_()


def test_two_threads_normalise_one_graph() -> None:
    layer = gnnkit.accelerate(SGConv(4, 3, K=2).double())
    expected = layer(X, EDGES).detach()
    CACHE.clear()
    outs: list[Tensor] = []
    threads = [
        threading.Thread(target=lambda: outs.extend(layer(X, EDGES).detach() for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outs) == 80
    for out in outs:
        torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_modules_are_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    names = dict(vars(sg_conv))
    plain = SGConv(4, 3).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    fast(X, EDGES)
    assert dict(vars(sg_conv)) == names
    assert vars(SGConv)["forward"].__globals__ is vars(sg_conv)
    # and what somebody else writes there is seen
    monkeypatch.setattr(sg_conv, "gcn_norm", lambda edge_index, *args, **kwargs: (edge_index, X.new_zeros(40)))
    torch.testing.assert_close(fast(X, EDGES), plain(X, EDGES))


def test_a_class_that_is_written_to_later(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = gnnkit.accelerate(SGConv(4, 3).double())
    monkeypatch.setattr(SGConv, "forward", lambda self, x, edge_index: x)
    assert fast(X, EDGES) is X


def test_functions_that_are_no_methods() -> None:
    class Base(MessagePassing):
        def scores(self, x_j: Tensor, index: Tensor) -> Tensor:
            return softmax(x_j, index)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.propagate(edge_index, x=x)

        def message(self, x_j: Tensor, index: Tensor) -> Tensor:
            from torch_geometric import utils

            assert utils.__name__ == "torch_geometric.utils"
            return self.scores(x_j, index) * x_j

    class Static(Base):
        @staticmethod
        def scores(x_j: Tensor, index: Tensor) -> Tensor:  # type: ignore[override]
            return softmax(2 * x_j, index)

    for plain in (Base(), Static()):
        torch.testing.assert_close(gnnkit.accelerate(copy.deepcopy(plain))(X, EDGES), plain(X, EDGES))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "sgc": lambda: SGConv(4, 3, K=2),
    "agnn": lambda: AGNNConv(),
    "transformer": lambda: TransformerConv(4, 3, heads=2),
    "hypergraph": lambda: HypergraphConv(4, 3),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "undo"])
def test_copies(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LAYERS[name]().double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    fast(X, EDGES)
    other = {
        "deepcopy": copy.deepcopy,
        "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
        "undo": lambda layer: gnnkit.accelerate(layer, undo=True),
    }[how](fast)
    calls: list[int] = []
    original = _numba.spmm
    monkeypatch.setattr(_numba, "spmm", lambda *args: calls.append(1) or original(*args))
    torch.testing.assert_close(other(X, EDGES), plain(X, EDGES))
    assert bool(calls) == (how != "undo")


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(name: str, dynamic: bool) -> None:
    plain = LAYERS[name]().double()
    compiled = torch.compile(
        gnnkit.accelerate(copy.deepcopy(plain)), fullgraph=True, dynamic=dynamic, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(X, EDGES), plain(X, EDGES))


def test_static_graphs() -> None:
    """Several tables on one graph, the nodes in the last dimension but one."""
    x = torch.randn(3, 12, 4, dtype=torch.float64)
    for plain in (GCNConv(4, 2).double(), SGConv(4, 2, K=2).double()):
        torch.testing.assert_close(gnnkit.accelerate(copy.deepcopy(plain))(x, EDGES), plain(x, EDGES))


def test_supergat_draws_what_it_draws() -> None:
    plain = SuperGATConv(4, 3, heads=2).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    losses = []
    for layer in (plain, fast):
        torch.manual_seed(0)
        random.seed(0)
        layer(X, EDGES)
        losses.append(layer.get_attention_loss())
    torch.testing.assert_close(losses[1], losses[0])
