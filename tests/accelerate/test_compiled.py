"""Inside torch.compile the commonest layers are one operation of ours each, and give what plain PyG gives."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
import torch_geometric.nn as pyg_nn
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager
from torch.testing import assert_close

import gnnkit
from gnnkit._accelerate import _cache

pytestmark = pytest.mark.usefixtures("fresh_dynamo")

Maker = Callable[[], nn.Module]

# layers, and the operation that each is
FAMILIES: dict[str, list[tuple[Maker, str]]] = {
    "GCN": [
        (lambda: pyg_nn.GCNConv(4, 6), "gcn"),
        (lambda: pyg_nn.GCNConv(4, 6, improved=True, bias=False), "gcn"),
        (lambda: pyg_nn.GCNConv(4, 6, add_self_loops=False), "gcn"),
        (lambda: pyg_nn.GCNConv(4, 6, normalize=False), "aggregate"),
    ],
    "GAT": [
        (lambda: pyg_nn.GATConv(4, 3, heads=2), "gat"),
        (lambda: pyg_nn.GATConv(4, 6, heads=2, concat=False, residual=True), "gat"),
        (lambda: pyg_nn.GATConv(4, 3, heads=2, add_self_loops=False), "gat"),
    ],
    "GATv2": [
        (lambda: pyg_nn.GATv2Conv(4, 3, heads=2), "gatv2"),
        (lambda: pyg_nn.GATv2Conv(4, 3, heads=2, share_weights=True, add_self_loops=False), "gatv2"),
    ],
    "unweighted": [
        (lambda: pyg_nn.SAGEConv(4, 6), "aggregate"),
        (lambda: pyg_nn.SAGEConv(4, 6, aggr="max", project=True), "aggregate"),
        (lambda: pyg_nn.SAGEConv(4, 6, flow="target_to_source"), "aggregate"),
        (lambda: pyg_nn.GINConv(nn.Linear(4, 6), train_eps=True), "aggregate"),
    ],
    "optional weights": [
        (lambda: pyg_nn.GraphConv(4, 6), "aggregate"),
        (lambda: pyg_nn.GraphConv(4, 6, aggr="min"), "aggregate"),
        (lambda: pyg_nn.SGConv(4, 6), "aggregate"),
        (lambda: pyg_nn.APPNP(1, 0.1), "aggregate"),
    ],
}
FIRST = [layers[0][0] for layers in FAMILIES.values()]
BOTH_GATS = (pyg_nn.GATConv, pyg_nn.GATv2Conv)


class Side(nn.Module):
    """Layers side by side, their outputs beside one another."""

    def __init__(self, *makers: Maker) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make() for make in makers)

    def forward(self, x: Any, *args: Any) -> Tensor:
        return torch.cat([layer(x, *args) for layer in self.layers], dim=-1)


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """Forget compiled code before and after."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _untouched(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
    """The backend that changes nothing: quicker, where what the compiler makes of the graph is not the question."""
    return graph.forward


class Seen:
    """A backend that notes which operations of ours each graph holds, and hands it to another one."""

    def __init__(self, then: Callable[..., Any] = aot_eager) -> None:
        self.graphs: list[list[str]] = []
        self.then = then

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        targets = [str(node.target).split(".") for node in graph.graph.nodes]
        self.graphs.append([name for space, name, *_ in (t for t in targets if len(t) > 1) if "gnnkit" in space])
        return self.then(graph, inputs)


def draw(num_nodes: int, num_edges: int) -> tuple[Tensor, Tensor]:
    """A graph with self-loops and parallel edges, and rows of its nodes."""
    rng = torch.Generator().manual_seed(num_nodes)
    edge_index = torch.randint(num_nodes - 1, (2, num_edges), generator=rng)  # the last node has no edge
    edge_index[:, :2] = 1
    return torch.randn(num_nodes, 4, dtype=torch.float64, generator=rng), edge_index


GRAPHS = [draw(12, 40), draw(9, 21)]


def results(model: nn.Module, x: Any, *args: Any) -> list[Tensor]:
    """The output and the gradients of everything that has one."""
    leaves = [t.clone().requires_grad_() for t in (x if isinstance(x, tuple) else (x,))]
    out = model(tuple(leaves) if isinstance(x, tuple) else leaves[0], *args)
    wanted = [*leaves, *(a for a in args if a.requires_grad), *model.parameters()]
    pull = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out.detach(), *torch.autograd.grad((out * pull).sum(), wanted)]


def pair(*makers: Maker, then: Any = aot_eager, **how: Any) -> tuple[nn.Module, Any, Seen]:
    """Plain layers, their accelerated and compiled copy, and what the compiler saw."""
    torch.manual_seed(0)
    plain, seen = Side(*makers).double(), Seen(then)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    return plain, torch.compile(fast, **{"fullgraph": True, "dynamic": True, "backend": seen, **how}), seen


def check(plain: nn.Module, compiled: Any, *args: Any) -> None:
    """Compare outputs and gradients."""
    assert_close(results(compiled, *args), results(plain, *args), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_is_one_operation_and_equals_pyg(family: str) -> None:
    plain, compiled, seen = pair(*(make for make, _ in FAMILIES[family]))
    check(plain, compiled, *GRAPHS[0])
    count = len(seen.graphs)
    for graph in GRAPHS[1:]:
        check(plain, compiled, *graph)
    assert seen.graphs[-1] == [op for _, op in FAMILIES[family]]
    assert len(seen.graphs) == count  # one graph for all sizes


@pytest.mark.parametrize("constant", [True, False])
def test_weights_of_edges(constant: bool) -> None:
    layers = [FAMILIES["GCN"][0], FAMILIES["GCN"][3], *FAMILIES["optional weights"][:2]]
    plain, compiled, seen = pair(*(make for make, _ in layers), then=_untouched)
    for x, edge_index in GRAPHS[:2]:
        weight = torch.rand(edge_index.shape[1], dtype=x.dtype).requires_grad_(not constant)
        check(plain, compiled, x, edge_index, weight)
    assert seen.graphs[-1] == [op if constant else "aggregate" for _, op in layers]


def test_bipartite_graphs() -> None:
    plain, compiled, seen = pair(
        lambda: pyg_nn.SAGEConv((4, 3), 5),
        lambda: pyg_nn.SAGEConv((4, 3), 5, aggr="max"),
        lambda: pyg_nn.GraphConv((4, 3), 5),
        lambda: pyg_nn.GATConv((4, 3), 5, heads=2),
        lambda: pyg_nn.GATv2Conv((4, 3), 5, heads=2),
        then=_untouched,
    )
    for num_src, num_dst, num_edges in [(11, 7, 30), (6, 9, 20)]:
        edge_index = torch.stack([torch.randint(num_src, (num_edges,)), torch.randint(num_dst, (num_edges,))])
        x = torch.randn(num_src, 4, dtype=torch.float64), torch.randn(num_dst, 3, dtype=torch.float64)
        check(plain, compiled, x, edge_index)
    assert seen.graphs[-1] == [*3 * ["aggregate"], "gat", "gatv2"]


def test_attention_with_features_of_edges_aggregates_by_one_operation() -> None:
    how = {"heads": 2, "edge_dim": 2, "add_self_loops": False}
    plain, compiled, seen = pair(*(lambda kind=kind: kind(4, 3, **how) for kind in BOTH_GATS), then=_untouched)
    for x, edge_index in GRAPHS[:2]:
        check(plain, compiled, x, edge_index, torch.rand(edge_index.shape[1], 2, dtype=x.dtype))
    assert seen.graphs[-1] == ["aggregate", "aggregate"]


class Scaled(pyg_nn.SAGEConv):
    def message(self, x_j: Tensor) -> Tensor:
        return 2 * x_j


class Added(pyg_nn.GCNConv):
    def message(self, x_j: Tensor, edge_weight: Any) -> Tensor:
        return x_j + edge_weight.view(-1, 1)


class Updated(pyg_nn.GraphConv):
    def update(self, inputs: Tensor) -> Tensor:
        return inputs.square()


class Sharper(pyg_nn.GATConv):
    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return x_j * alpha.square().unsqueeze(-1)


def test_a_layer_with_other_functions_is_pygs() -> None:
    kinds = (Scaled, Added, Updated, Sharper, pyg_nn.TransformerConv)
    plain, compiled, seen = pair(
        *(lambda kind=kind: kind(4, 6) for kind in kinds),
        lambda: pyg_nn.EdgeConv(nn.Linear(8, 6)),
        *(lambda aggr=aggr: pyg_nn.SAGEConv(4, 6, aggr=aggr) for aggr in ("std", ["mean", "max"])),
        then=_untouched,
    )
    for graph in GRAPHS[:2]:
        check(plain, compiled, *graph)
    assert seen.graphs
    assert not any(seen.graphs)


def test_a_message_replaced_on_the_instance_is_called() -> None:
    plain, compiled, seen = pair(lambda: pyg_nn.SAGEConv(4, 6), then=_untouched)
    for model in (plain, compiled._orig_mod):
        model.layers[0].message = lambda x_j: 3 * x_j
    check(plain, compiled, *GRAPHS[0])
    assert not any(seen.graphs)


def test_dropout_of_attention_drops_what_pyg_drops() -> None:
    """By a seed, where no self-loop is taken out: how many there are is not known when the graph is traced."""
    plain, compiled, seen = pair(*(lambda kind=kind: kind(4, 3, heads=2, dropout=0.5) for kind in BOTH_GATS))
    for x, edge_index in GRAPHS[:2]:
        simple = edge_index[:, edge_index[0] != edge_index[1]]
        outs = []
        for model in (plain, compiled):
            torch.manual_seed(7)
            outs.append(results(model, x, simple))
        assert_close(outs[1], outs[0], rtol=1e-10, atol=1e-10)
    drawn = compiled(x, simple)
    assert not torch.equal(compiled(x, simple), drawn)  # drawn anew
    assert seen.graphs[-1] == ["gat", "gatv2"]


def test_dropout_of_attention_beside_self_loops() -> None:
    """Every edge has a factor of its own, 0 or 2: the mean of many draws is what is computed without dropout."""
    makers = (lambda kind=kind: kind(4, 3, heads=2, dropout=0.5) for kind in BOTH_GATS)
    plain, compiled, _ = pair(*makers, then=_untouched)
    x, edge_index = GRAPHS[0]
    with torch.no_grad():
        expected = plain.eval()(x, edge_index)
        torch.manual_seed(0)
        draws = torch.stack([compiled(x, edge_index) for _ in range(600)])
    error = (draws.mean(0) - expected).abs() / (draws.std(0) / 600**0.5).clamp(min=1e-9)
    assert error.max() < 5


def test_cached_gcn_keeps_its_graph() -> None:
    plain, compiled, seen = pair(lambda: pyg_nn.GCNConv(4, 6, cached=True))
    for _ in range(2):
        check(plain, compiled, *GRAPHS[0])
    assert all(graph == ["aggregate"] for graph in seen.graphs)


def test_a_graph_that_was_dropped_before_the_backward_is_built_again() -> None:
    plain, compiled, _ = pair(*FIRST, then=_untouched)
    x, edge_index = GRAPHS[0]
    grads = []
    for model in (plain, compiled):
        out = model(x, edge_index)
        _cache.CACHE.clear()
        grads.append(torch.autograd.grad(out.square().sum(), list(model.parameters())))
    assert_close(grads[1], grads[0], rtol=1e-10, atol=1e-10)


def test_a_bad_id_is_a_value_error() -> None:
    _, compiled, _ = pair(lambda: pyg_nn.SAGEConv(4, 6), then=_untouched)
    x, edge_index = GRAPHS[0]
    compiled(x, edge_index)
    with pytest.raises(ValueError, match="got 99"):
        compiled(x, torch.full_like(edge_index, 99))


def test_transforms_inside_are_pygs() -> None:
    plain, compiled, _ = pair(*FIRST)
    x, edge_index = GRAPHS[0]
    fast, seen = compiled._orig_mod, Seen(_untouched)

    def gradient(model: nn.Module) -> Callable[[Tensor], Any]:
        return lambda x: torch.func.grad(lambda x: model(x, edge_index).square().sum())(x)

    out = torch.compile(gradient(fast), backend=seen)(x)
    assert_close(out, gradient(plain)(x), rtol=1e-10, atol=1e-10)
    assert not any(seen.graphs)


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_program_is_pygs(strict: bool) -> None:
    plain, compiled, _ = pair(*FIRST)
    x, edge_index = GRAPHS[0]
    program = torch.export.export(compiled._orig_mod, (x, edge_index), strict=strict)
    assert "gnnkit" not in str(program.graph)
    assert_close(program.module()(x, edge_index), plain(x, edge_index))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = pyg_nn.GCNConv(4, 6), pyg_nn.GATConv(6, 3, heads=2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x, edge_index).relu(), edge_index).log_softmax(-1)
        return out


@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="inductor on CPU needs a C++ compiler: none is here"
)
def test_inductor() -> None:
    plain, compiled, _ = pair(Network, backend="inductor")
    eager = gnnkit.accelerate(copy.deepcopy(plain))
    for graph in GRAPHS:
        # it may write over what an operation returned, and what is remembered stays right
        for model in (eager, compiled, eager, compiled):
            check(plain, model, *graph)
