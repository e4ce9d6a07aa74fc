"""Accelerated layers stay PyG layers: everything that PyG and torch do with a layer works as before."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.data import HeteroData
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GATConv, GATv2Conv, GCNConv, GINConv, MessagePassing, SAGEConv, to_hetero
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

import gnnkit
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._layer import FastLayer

LAYERS: dict[str, Callable[[], MessagePassing]] = {
    "gcn": lambda: GCNConv(3, 4),
    "gcn cached": lambda: GCNConv(3, 4, cached=True),
    "sage": lambda: SAGEConv(3, 4),
    "gin": lambda: GINConv(nn.Linear(3, 4)),
    "gat": lambda: GATConv(3, 2, heads=2),
    "gatv2": lambda: GATv2Conv(3, 2, heads=2),
}
X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
EDGES = torch.randint(12, (2, 40), generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers, as in every tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SAGEConv(3, 8), GCNConv(8, 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    CACHE.clear()
    yield
    CACHE.clear()


@pytest.fixture(params=LAYERS, ids=[name.replace(" ", "_") for name in LAYERS])
def plain(request: pytest.FixtureRequest) -> MessagePassing:
    torch.manual_seed(0)
    return LAYERS[request.param]()


def fast_copy(layer: nn.Module) -> Any:
    return gnnkit.accelerate(copy.deepcopy(layer))


def ran(calls: list[int]) -> bool:
    found = bool(calls)
    calls.clear()
    return found


# ------------------------------------------------------------------ the layer itself


def test_in_place_with_nothing_to_see(plain: MessagePassing) -> None:
    layer = copy.deepcopy(plain)
    parameters = list(layer.parameters())
    assert gnnkit.accelerate(layer) is layer
    assert all(a is b for a, b in zip(layer.parameters(), parameters, strict=True))
    assert list(layer.state_dict()) == list(plain.state_dict())
    assert isinstance(layer, type(plain))
    assert repr(layer) == repr(plain)
    assert inspect.signature(layer.forward).parameters.keys() == inspect.signature(plain.forward).parameters.keys()
    layer.load_state_dict(plain.state_dict())
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))


def test_twice_is_once(plain: MessagePassing) -> None:
    layer = gnnkit.accelerate(fast_copy(plain))
    assert type(layer).__mro__.count(FastLayer) == 1
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))


def test_undo(plain: MessagePassing, kernel_calls: list[int]) -> None:
    layer = fast_copy(plain)
    assert gnnkit.accelerate(layer, undo=True) is layer
    assert type(layer) is type(plain)
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES), rtol=0, atol=0)
    assert not ran(kernel_calls)
    assert gnnkit.accelerate(plain, undo=True) is plain


def test_verbose_names_what_was_and_was_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    class Own(MessagePassing):
        def aggregate(self, inputs: Tensor, index: Tensor, dim_size: int | None = None) -> Tensor:
            return super().aggregate(inputs, index, dim_size=dim_size)

    class OwnPropagate(MessagePassing):
        def propagate(self, edge_index: Tensor, **kwargs: Any) -> Tensor:
            return super().propagate(edge_index, **kwargs)

    network = nn.ModuleDict(
        {
            "taken": GCNConv(2, 2),
            "lstm": SAGEConv(2, 2, aggr="lstm"),
            "own": Own(),
            "propagate": OwnPropagate(),
            "transposed": GCNConv(2, 2, node_dim=-1),
            "dense": nn.Linear(2, 2),
        }
    )
    gnnkit.accelerate(network, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "taken (GCNConv): accelerated",
        "lstm (SAGEConv): accelerated, but for LSTMAggregation(2, 2)",
        "own (Own): accelerated",
        "propagate (OwnPropagate): left as it is, it has a propagate of its own",
        "transposed (GCNConv): left as it is, it has its nodes in dimension -1",
    ]
    assert [name for name, layer in network.items() if isinstance(layer, FastLayer)] == ["taken", "lstm", "own"]
    gnnkit.accelerate(network, verbose=True)
    assert "taken (GCNConv): accelerated before" in capsys.readouterr().out
    gnnkit.accelerate(network, undo=True, verbose=True)
    assert capsys.readouterr().out.splitlines()[0] == "taken (GCNConv): PyG's own again"
    gnnkit.accelerate(nn.Linear(2, 2), verbose=True)
    assert capsys.readouterr().out == "no PyG layers\n"


@pytest.mark.parametrize("wrong", [None, GCNConv, "model", torch.ones(2)])
def test_not_a_module(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"module: expected a torch.nn.Module \(got"):
        gnnkit.accelerate(wrong)  # type: ignore[type-var]


@pytest.mark.parametrize(
    "edge_index",
    [
        torch.tensor([[0, 1], [1, 12]]),
        torch.tensor([[0, -1], [1, 2]]),
        torch.tensor([[0.0, 1.0], [1.0, 2.0]]),
        torch.tensor([[0], [1], [2]]),
    ],
    ids=["large", "negative", "float", "three rows"],
)
def test_pyg_refuses_in_its_own_words(plain: MessagePassing, edge_index: Tensor) -> None:
    with pytest.raises(Exception) as expected:  # noqa: PT011 (whatever PyG raises)
        plain(X, edge_index)
    with pytest.raises(type(expected.value)) as actual:
        fast_copy(plain)(X, edge_index)
    assert str(actual.value) == str(expected.value)


# ------------------------------------------------------------------ copies


@pytest.mark.parametrize("how", ["deepcopy", "copy", "pickle", "torch.save", "twice"])
def test_copies_are_fast(plain: MessagePassing, how: str, kernel_calls: list[int]) -> None:
    layer = fast_copy(plain)
    layer(X, EDGES)
    ran(kernel_calls)
    if how == "torch.save":
        buffer = io.BytesIO()
        torch.save(layer, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    else:
        other = {
            "deepcopy": copy.deepcopy,
            "copy": copy.copy,
            "pickle": lambda value: pickle.loads(pickle.dumps(value)),
            "twice": lambda value: copy.deepcopy(pickle.loads(pickle.dumps(copy.deepcopy(value)))),
        }[how](layer)
    for one in (other, layer):  # and the original, and the class, still are
        torch.testing.assert_close(one(X, EDGES), plain(X, EDGES))
        assert ran(kernel_calls)
    new = gnnkit.accelerate(type(plain)(*((nn.Linear(3, 4),) if isinstance(plain, GINConv) else (3, 4))))
    new(X, EDGES)
    assert ran(kernel_calls)


def test_plain_layers_stay_plain(plain: MessagePassing, kernel_calls: list[int]) -> None:
    fast_copy(plain)(X, EDGES)
    ran(kernel_calls)
    copy.deepcopy(plain)(X, EDGES)
    plain(X, EDGES)
    assert not ran(kernel_calls)


@pytest.mark.slow
def test_a_pickle_read_by_a_new_process(tmp_path: Path) -> None:
    plain = nn.ModuleList(make() for make in LAYERS.values())
    path = tmp_path / "layers.pt"
    torch.save((fast_copy(plain), X, EDGES, [layer(X, EDGES) for layer in plain]), path)
    script = f"""
import sys, torch
layers, x, edges, expected = torch.load({str(path)!r}, weights_only=False)
from gnnkit.kernels import _numba
import gnnkit
calls = []
for name in ("spmm", "gat_forward", "gatv2_forward"):
    original = getattr(_numba, name)
    setattr(_numba, name, lambda *args, original=original: calls.append(1) or original(*args))
for layer, out in zip(layers, expected):
    torch.testing.assert_close(layer(x, edges), out)
    assert calls, layer
    calls.clear()
    torch.testing.assert_close(gnnkit.accelerate(layer, undo=True)(x, edges), out)
    assert not calls, layer
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ leaving the fast path


@pytest.mark.filterwarnings("ignore:Converting sparse tensor to CSR:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("kind", ["torch_csr", "torch_coo", "EdgeIndex"])
def test_other_forms_of_a_graph(plain: MessagePassing, kind: str) -> None:
    sorted_edges = EDGES[:, EDGES[1].argsort(stable=True)]
    graph: Any = {
        "torch_csr": lambda: to_torch_csr_tensor(EDGES, size=(12, 12)).t().to_sparse_csr(),
        "torch_coo": lambda: to_torch_coo_tensor(EDGES, size=(12, 12)).t().coalesce(),
        "EdgeIndex": lambda: EdgeIndex(sorted_edges, sparse_size=(12, 12), sort_order="col"),
    }[kind]()
    if kind != "EdgeIndex" and isinstance(plain, GATConv | GATv2Conv):
        pytest.skip("PyG's attention takes torch.sparse with torch-sparse only")
    torch.testing.assert_close(fast_copy(plain)(X, graph), plain(X, graph), rtol=0, atol=0)


def test_attention_weights() -> None:
    for make in (LAYERS["gat"], LAYERS["gatv2"]):
        plain = make()
        out, (edges, alpha) = fast_copy(plain)(X, EDGES, return_attention_weights=True)
        expected, (expected_edges, expected_alpha) = plain(X, EDGES, return_attention_weights=True)
        torch.testing.assert_close((out, edges, alpha), (expected, expected_edges, expected_alpha))


HOOKS = [
    "propagate_forward_pre",
    "propagate_forward",
    "message_forward_pre",
    "message_forward",
    "aggregate_forward_pre",
    "aggregate_forward",
]


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_see_what_they_always_saw(plain: MessagePassing, hook: str) -> None:
    layer = fast_copy(plain)
    seen: dict[str, list[Any]] = {"plain": [], "fast": []}
    handles = [
        getattr(one, f"register_{hook}_hook")(lambda _, *inputs, name=name: seen[name].append(inputs))
        for name, one in (("plain", plain), ("fast", layer))
    ]
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES), rtol=0, atol=0)
    torch.testing.assert_close(seen["fast"], seen["plain"])
    assert len(seen["fast"]) == 1
    for handle in handles:
        handle.remove()
    layer(X, EDGES)
    assert len(seen["fast"]) == 1


def test_a_hook_that_changes_messages() -> None:
    plain = SAGEConv(3, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        one.register_message_forward_hook(lambda module, inputs, out: 2 * out)
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))


def test_module_hooks(plain: MessagePassing, kernel_calls: list[int]) -> None:
    layer, seen = fast_copy(plain), []
    layer.register_forward_hook(lambda module, inputs, out: seen.append(out))
    out = layer(X, EDGES)
    assert seen[0] is out
    assert ran(kernel_calls)
    for child in layer.children():
        child.register_forward_hook(lambda module, inputs, out: seen.append(module))
    layer(X, EDGES)
    expected = {child for child in layer.children() if not isinstance(child, pyg_nn.Aggregation)}
    assert expected <= {one for one in seen if isinstance(one, nn.Module)}


def test_a_method_replaced_on_the_instance() -> None:
    plain = SAGEConv(3, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        one.message = lambda x_j: 3 * x_j  # type: ignore[method-assign]
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES), rtol=0, atol=0)


def test_another_aggregation_put_in_later() -> None:
    plain = SAGEConv(3, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        one.aggr_module = pyg_nn.SoftmaxAggregation()
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))


def test_explainer(kernel_calls: list[int]) -> None:
    torch.manual_seed(0)
    network = Net()
    masks = []
    for model in (network, fast_copy(network)):
        torch.manual_seed(0)
        explainer = Explainer(
            model,
            GNNExplainer(epochs=5),
            explanation_type="model",
            node_mask_type="attributes",
            edge_mask_type="object",
            model_config={"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"},
        )
        ran(kernel_calls)
        masks.append(explainer(X, EDGES, index=3))
        # the layers are explained on PyG's path, and are fast again afterwards
        torch.testing.assert_close(model(X, EDGES), network(X, EDGES))
        assert ran(kernel_calls) == (model is not network)
    torch.testing.assert_close(masks[1].edge_mask, masks[0].edge_mask)
    torch.testing.assert_close(masks[1].node_mask, masks[0].node_mask)
    assert masks[0].edge_mask.max() > 0


def test_accelerated_after_it_was_explained(plain: MessagePassing, kernel_calls: list[int]) -> None:
    layer = copy.deepcopy(plain)
    layer.explain = True
    layer.explain = None  # PyG has now bound its own propagate to the instance
    gnnkit.accelerate(layer)
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))
    assert ran(kernel_calls)


def test_feature_decomposition() -> None:
    plain = GCNConv(4, 4, decomposed_layers=2)
    x = torch.randn(12, 4)
    torch.testing.assert_close(fast_copy(plain)(x, EDGES), plain(x, EDGES))


# ------------------------------------------------------------------ messages that pending rows cannot serve


class Doubled(torch.autograd.Function):
    """Sees no operation of Python's on its way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


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


# ------------------------------------------------------------------ what torch does with modules


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(plain: MessagePassing, dynamic: bool) -> None:
    layer = fast_copy(plain)
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    torch.testing.assert_close(compiled(X, EDGES), plain(X, EDGES))
    compiled(X, EDGES).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_script(plain: MessagePassing) -> None:
    if isinstance(plain, GATConv | GATv2Conv):
        pytest.skip("PyG's own attention layers do not compile as TorchScript")
    layer = fast_copy(plain)
    scripted = torch.jit.script(layer)
    torch.testing.assert_close(scripted(X, EDGES), plain(X, EDGES))
    assert isinstance(layer, FastLayer)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_trace_bakes_no_graph_in() -> None:
    plain = SAGEConv(3, 4)
    traced = torch.jit.trace(fast_copy(plain), (X, EDGES))
    other = EDGES.flip(0).contiguous()
    torch.testing.assert_close(traced(X, other), plain(X, other))


def test_functional_transforms(plain: MessagePassing) -> None:
    layer = fast_copy(plain)
    parameters = dict(layer.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x, EDGES)).square().sum()

    grads = torch.func.grad(loss)(parameters, X)
    layer(X, EDGES).square().sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad)
    _, derivative = torch.func.jvp(lambda x: layer(x, EDGES), (X,), (torch.ones_like(X),))
    assert derivative.shape == layer(X, EDGES).shape


def test_autocast(plain: MessagePassing) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, expected = fast_copy(plain)(X, EDGES), plain(X, EDGES)
    assert out.dtype == expected.dtype
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)


def test_half_precision_is_left_to_pyg() -> None:
    plain = SAGEConv(3, 4).bfloat16()
    x = X.bfloat16()
    torch.testing.assert_close(fast_copy(plain)(x, EDGES), plain(x, EDGES), rtol=0.02, atol=0.02)


def test_activation_checkpointing(plain: MessagePassing) -> None:
    layer = fast_copy(plain)
    x = X.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(layer, x, EDGES, use_reentrant=False).square().sum().backward()
    y = X.clone().requires_grad_()
    plain(y, EDGES).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_distributed_data_parallel(plain: MessagePassing, tmp_path: Path, kernel_calls: list[int]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(fast_copy(plain))
        parallel(X, EDGES).square().sum().backward()
        plain(X, EDGES).square().sum().backward()
        assert ran(kernel_calls)
        for a, b in zip(parallel.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)
    finally:
        torch.distributed.destroy_process_group()


# ------------------------------------------------------------------ what PyG does with modules


def test_sequential(kernel_calls: list[int]) -> None:
    plain = pyg_nn.Sequential(
        "x, edge_index",
        [(GCNConv(3, 8), "x, edge_index -> x"), nn.ReLU(), (GATConv(8, 2), "x, edge_index -> x")],
    )
    fast = fast_copy(plain)
    torch.testing.assert_close(fast(X, EDGES), plain(X, EDGES))
    assert ran(kernel_calls)


@pytest.mark.parametrize("first", ["accelerate", "to_hetero"])
def test_to_hetero(first: str, kernel_calls: list[int]) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = SAGEConv((-1, -1), 8), GATConv((-1, -1), 4, add_self_loops=False)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.second(self.first(x, edge_index).relu(), edge_index)

    data = HeteroData()
    data["paper"].x, data["author"].x = torch.randn(7, 3), torch.randn(5, 2)
    data["paper", "cites", "paper"].edge_index = torch.randint(7, (2, 15))
    data["author", "writes", "paper"].edge_index = torch.stack([torch.randint(5, (9,)), torch.randint(7, (9,))])
    data["paper", "by", "author"].edge_index = data["author", "writes", "paper"].edge_index.flip(0)
    network = Pair()
    if first == "accelerate":
        network = gnnkit.accelerate(network)
    network = to_hetero(network, data.metadata())
    if first == "to_hetero":
        gnnkit.accelerate(network)
    with torch.no_grad():
        network(data.x_dict, data.edge_index_dict)  # lazy sizes
    ran(kernel_calls)
    out = network(data.x_dict, data.edge_index_dict)
    assert ran(kernel_calls)
    assert sum(isinstance(layer, FastLayer) for layer in network.modules()) == 6
    expected = gnnkit.accelerate(network, undo=True)(data.x_dict, data.edge_index_dict)
    assert not ran(kernel_calls)
    torch.testing.assert_close(out, expected)


def test_hetero_conv(kernel_calls: list[int]) -> None:
    plain = pyg_nn.HeteroConv(
        {("a", "to", "b"): SAGEConv((3, 3), 4), ("b", "to", "a"): SAGEConv((3, 3), 4)}, aggr="sum"
    )
    x = {"a": torch.randn(6, 3), "b": torch.randn(8, 3)}
    edges = {("a", "to", "b"): torch.randint(6, (2, 9)), ("b", "to", "a"): torch.randint(6, (2, 9))}
    torch.testing.assert_close(fast_copy(plain)(x, edges), plain(x, edges))
    assert ran(kernel_calls)


def test_ready_models(kernel_calls: list[int]) -> None:
    for plain in (pyg_nn.GCN(3, 8, 2, 4), pyg_nn.GraphSAGE(3, 8, 3), pyg_nn.GIN(3, 8, 2), pyg_nn.GAT(3, 8, 2, heads=2)):
        plain.eval()
        torch.testing.assert_close(fast_copy(plain)(X, EDGES), plain(X, EDGES))
        assert ran(kernel_calls)


def test_lazy_input_sizes(kernel_calls: list[int]) -> None:
    torch.manual_seed(0)
    plain = SAGEConv(-1, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        torch.manual_seed(1)
        one(X, EDGES)
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))
    assert ran(kernel_calls)


def test_a_training_loop_that_somebody_else_owns() -> None:
    """What PyTorch Lightning does: training_step, a checkpoint of the state, a fresh module that loads it."""

    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = Net()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return self.network(*batch).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    module = gnnkit.accelerate(Lit())
    optimizer = module.configure_optimizers()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = module.training_step((X, EDGES))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    fresh = Lit()
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(fresh.training_step((X, EDGES)), module.training_step((X, EDGES)))
