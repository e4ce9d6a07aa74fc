"""What stays a promise and what is remembered never shows: views, writes, infinities, copies, threads, foreign code."""

from __future__ import annotations

import copy
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import (
    APPNP,
    AGNNConv,
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
from gnnkit._accelerate import _pairs
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._layer import FastLayer
from gnnkit._accelerate._marks import mark, topology_of
from gnnkit._accelerate._remembered import Remembered
from gnnkit.kernels import _numba

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 4, dtype=torch.float64, generator=RNG)
EDGES = torch.randint(10, (2, 40), generator=RNG)  # nodes 10 and 11 have no edges
ATTR = torch.randn(40, 4, dtype=torch.float64, generator=RNG)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    CACHE.clear()
    yield
    CACHE.clear()


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
    assert same(make(KEPT[name], aggr=aggr)).keeps_rows_pending


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


ODD = [
    _view_written,
    _viewed_then_written,
    _item_written,
    _written_after_joining,
    _slice_of_joined_written,
    _out,
    _without_gradients,
]


@pytest.mark.parametrize("message", ODD)
def test_odd_messages(message: Message) -> None:
    same(make(message))


@pytest.mark.parametrize("message", [*ODD, _written_after_a_product, _index_written])
def test_values_of_odd_messages(message: Message) -> None:
    layer = make(message)
    fast = gnnkit.accelerate(copy.deepcopy(layer))
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(fast(X, EDGES, ATTR), layer(X, EDGES, ATTR))


def test_infinite_features_of_a_node_without_edges() -> None:
    """Node 11 is at no edge: what it holds is in no message, and no gradient of PyG's."""
    x = X.clone()
    x[11] = torch.tensor([torch.inf, torch.nan, -torch.inf, 1.0])
    for message in KEPT.values():
        layer = make(message)
        assert same(layer, x).keeps_rows_pending
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
        with pytest.raises(type(expected.value)):
            gnnkit.accelerate(layer)(X, EDGES, ATTR)


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
    copied = Remembered(function, share=False)
    assert copied(EDGES)[1] is not copied(EDGES)[1]
    with pytest.raises(TypeError):
        remembered(EDGES, 1.0, 2.0)


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
    if name == "hypergraph":
        pytest.skip("its number of edges is data: PyG's own does not compile into one graph")
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
