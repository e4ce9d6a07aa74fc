"""Relational layers on compact rows compute what the plain ones do, or leave the call to them."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch_geometric
from torch import Tensor, nn
from torch_geometric.nn import (
    FastRGCNConv,
    GATConv,
    GCNConv,
    GraphConv,
    HeteroConv,
    HGTConv,
    MessagePassing,
    RGATConv,
    RGCNConv,
    SAGEConv,
    TransformerConv,
    to_hetero,
)

import gnnkit
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._layer import FastLayer
from gnnkit._accelerate._typed_graph import Pairs
from gnnkit._accelerate._typed_sum import TypedSum
from gnnkit.kernels import _numba

N, R, WIDTH, OUT, EDGE = 8, 4, 6, 4, 3
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
SELF = "multiplicative-self-attention"

# name -> (layer, what its x is, whether edges have attributes)
CASES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "rgcn": (lambda: RGCNConv(WIDTH, OUT, R), "x", ""),
    "rgcn sum, sorted, no root": (
        lambda: RGCNConv(WIDTH, OUT, R, aggr="sum", root_weight=False, is_sorted=True),
        "x",
        "sorted",
    ),
    "rgcn max": (lambda: RGCNConv(WIDTH, OUT, R, aggr="max"), "x", ""),
    "rgcn min, bases, pair": (lambda: RGCNConv((WIDTH, 5), OUT, R, num_bases=2, aggr="min"), "pair", ""),
    "rgcn bases": (lambda: RGCNConv(WIDTH, OUT, R, num_bases=2, bias=False), "x", ""),
    "rgcn blocks, pair": (lambda: RGCNConv((WIDTH, 5), OUT, R, num_blocks=2), "pair", ""),
    "rgcn blocks, max": (lambda: RGCNConv(WIDTH, OUT, R, num_blocks=2, aggr="max"), "x", ""),
    "rgcn ids": (lambda: RGCNConv(N, OUT, R, num_bases=3), "none", ""),
    "rgcn some ids": (lambda: RGCNConv(2 * N, OUT, R, aggr="sum"), "ids", ""),
    "rgcn ids, pair": (lambda: RGCNConv((N, N), OUT, R), "none pair", ""),
    "fast rgcn": (lambda: FastRGCNConv(WIDTH, OUT, R), "x", ""),
    "fast rgcn sum, bases": (lambda: FastRGCNConv(WIDTH, OUT, R, num_bases=2, aggr="add", bias=False), "x", ""),
    "fast rgcn blocks, pair": (
        lambda: FastRGCNConv((WIDTH, 5), OUT, R, num_blocks=2, root_weight=False),
        "pair",
        "",
    ),
    "fast rgcn ids": (lambda: FastRGCNConv(N, OUT, R), "none", ""),
    "fast rgcn some ids": (lambda: FastRGCNConv(2 * N, OUT, R, num_bases=2), "ids", ""),
    "rgat": (lambda: RGATConv(WIDTH, OUT, R), "x", ""),
    "rgat bases, attributes, dropout": (
        lambda: RGATConv(WIDTH, OUT, R, num_bases=2, heads=2, edge_dim=EDGE, dropout=0.3),
        "x",
        "attr",
    ),
    "rgat blocks, mean of heads": (
        lambda: RGATConv(WIDTH, OUT, R, num_blocks=2, heads=3, concat=False, negative_slope=0.5),
        "x",
        "",
    ),
    "rgat within": (
        lambda: RGATConv(WIDTH, OUT, R, heads=2, attention_mechanism="within-relation", mod="additive"),
        "x",
        "",
    ),
    "rgat product": (
        lambda: RGATConv(WIDTH, OUT, R, heads=2, dim=3, attention_mode=SELF, mod="additive", edge_dim=EDGE),
        "x",
        "attr",
    ),
    "rgat product within, mean": (
        lambda: RGATConv(
            *(WIDTH, OUT, R),
            heads=2,
            dim=2,
            concat=False,
            bias=False,
            mod="scaled",
            attention_mode=SELF,
            attention_mechanism="within-relation",
        ),
        "x",
        "",
    ),
    "rgat scaled": (lambda: RGATConv(WIDTH, OUT, R, heads=2, mod="scaled", edge_dim=1), "x", "number"),
    "rgat f-additive": (lambda: RGATConv(WIDTH, OUT, R, heads=2, mod="f-additive", edge_dim=EDGE), "x", "attr"),
    "rgat f-scaled": (lambda: RGATConv(WIDTH, OUT, R, mod="f-scaled", attention_mode=SELF, dim=2), "x", ""),
}


def draw(seed: int, pair: bool = False) -> tuple[Tensor, Tensor, int, int]:
    """A small typed graph: empty, with isolated nodes, without some relations, with parallel edges, in turn."""
    rng = torch.Generator().manual_seed(seed)
    num_src, num_dst = N, N - 3 if pair else N
    num_edges = (0, 1, N, 3 * N, 8 * N)[seed % 5]
    src = torch.randint(num_src // (1 + seed % 3), (num_edges,), generator=rng)
    dst = torch.randint(num_dst // (1 + seed % 2), (num_edges,), generator=rng)
    relation = torch.randint(1 + seed % R, (num_edges,), generator=rng)
    if seed % 7 == 1:  # every edge twice, of the same relation
        src, dst, relation = (torch.cat([t, t]) for t in (src, dst, relation))
    if seed % 7 == 2:  # many more sources than destinations, or the other way, by relation
        src, dst = torch.where(relation % 2 == 0, src, src[:1]), torch.where(relation % 2 == 0, dst[:1], dst)
    return torch.stack([src, dst]), relation, num_src, num_dst


def arguments(takes: str, more: str, seed: int, dtype: torch.dtype) -> tuple[list[Any], list[Tensor]]:
    """What a layer's forward is called with, and the tensors whose gradients count."""
    edge_index, relation, num_src, num_dst = draw(seed, "pair" in takes)
    rng = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=dtype).requires_grad_()

    if more == "sorted":
        order = relation.argsort(stable=True)
        edge_index, relation = edge_index[:, order], relation[order]
    if takes == "none":
        return [None, edge_index, relation], []
    if takes == "none pair":
        return [(None, torch.randperm(N, generator=rng)[:num_dst]), edge_index, relation], []
    if takes == "ids":
        return [torch.randperm(2 * N, generator=rng)[:N], edge_index, relation], []
    leaves = [leaf(num_src, WIDTH)] + ([leaf(num_dst, 5)] if takes == "pair" else [])
    args = [tuple(leaves) if takes == "pair" else leaves[0], edge_index, relation]
    if more in ("attr", "number"):
        attr = leaf(len(relation), EDGE) if more == "attr" else leaf(len(relation))
        return [*args, attr], [*leaves, attr]
    return args, leaves


def outcome(layer: nn.Module, call: Callable[[nn.Module], Any], leaves: list[Tensor], seed: int) -> list[Tensor]:
    """The outputs, all gradients, and what the random generator gives next."""
    torch.manual_seed(seed)
    out = call(layer)
    outs = list(out.values()) if isinstance(out, dict) else [out]
    wrt = [*leaves, *layer.parameters()]
    loss = sum((one * torch.linspace(-1, 1, one.numel(), dtype=one.dtype).view_as(one)).sum() for one in outs)
    grads: list[Tensor | None] = [None] * len(wrt)
    if loss.requires_grad:
        grads = list(torch.autograd.grad(loss, wrt, allow_unused=True))
    filled = [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wrt, strict=True)]
    return [*(one.detach() for one in outs), *filled, torch.rand(2)]


def distance(actual: Tensor, expected: Tensor) -> float:
    """The largest error, relative to the tensor's own size where that exceeds 1."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if not expected.numel():
        return 0.0
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1))


def randomised(layer: nn.Module, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """Parameters that are nowhere 0 or 1, nor left as memory had them (PyG's RGATConv leaves some)."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng).to(dtype) * 0.4
    return layer


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    CACHE.clear()
    yield
    CACHE.clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the Numba kernel ran, and how often a layer propagated relation by relation."""
    counts = {"spmm": 0, "propagate": 0}
    spmm, propagate = _numba.spmm, FastLayer.propagate

    def counted_spmm(*args: Any) -> Tensor:
        counts["spmm"] += 1
        return spmm(*args)

    def counted_propagate(*args: Any, **kwargs: Any) -> Any:
        counts["propagate"] += 1
        return propagate(*args, **kwargs)

    monkeypatch.setattr(_numba, "spmm", counted_spmm)
    monkeypatch.setattr(FastLayer, "propagate", counted_propagate)
    return counts


def served(calls: dict[str, int]) -> bool:
    """Whether the kernels served the calls since the last time, all relations at once."""
    ran = calls["spmm"] > 0 and calls["propagate"] == 0
    calls.update(spmm=0, propagate=0)
    return ran


# ------------------------------------------------------------------ equal


def same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_equal_on_50_graphs(name: str, dtype: torch.dtype, calls: dict[str, int]) -> None:
    make, takes, more = CASES[name]
    torch.manual_seed(0)
    plain = randomised(make(), dtype)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    for seed in range(50):
        args, leaves = arguments(takes, more, seed, dtype)
        expected = outcome(plain, lambda layer, args=args: layer(*args), leaves, seed)
        actual = outcome(fast, lambda layer, args=args: layer(*args), leaves, seed)
        for a, e in zip(actual, expected, strict=True):
            assert distance(a, e) <= TOLERANCE[dtype], seed
        assert served(calls)


NODES = {"a": 5, "b": 7, "c": 3}
RELATIONS = [("a", "to", "b"), ("b", "back", "a"), ("b", "like", "b"), ("c", "to", "b"), ("b", "to", "c")]
HGT: dict[str, Callable[[], HGTConv]] = {
    "hgt": lambda: HGTConv(OUT, OUT, (list(NODES), RELATIONS)),
    "hgt heads": lambda: HGTConv({"a": 6, "b": 8, "c": 3}, 8, (list(NODES), RELATIONS), heads=2),
    "hgt lazy": lambda: HGTConv(-1, 6, (list(NODES), RELATIONS), heads=3),
}


def typed_graph(seed: int, dtype: torch.dtype, widths: dict[str, int]) -> tuple[dict[str, Tensor], dict[Any, Tensor]]:
    """Rows of all types, edges of some relations, some of them without edges."""
    rng = torch.Generator().manual_seed(seed)
    x = {key: torch.randn(NODES[key], widths[key], generator=rng, dtype=dtype).requires_grad_() for key in NODES}
    present = [key for number, key in enumerate(RELATIONS) if seed % 3 or number % 2]
    edges = {}
    for number, key in enumerate(present):
        count = (0, 1, 6, 30)[(seed + number) % 4] if seed % 10 else 0
        ends = (torch.randint(NODES[key[end]], (count,), generator=rng) for end in (0, 2))
        edges[key] = torch.stack(list(ends))
    return x, edges


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", HGT)
def test_hgt_equal_on_50_graphs(name: str, dtype: torch.dtype, calls: dict[str, int]) -> None:
    torch.manual_seed(0)
    plain = HGT[name]().to(dtype)
    widths = plain.in_channels if name == "hgt heads" else dict.fromkeys(NODES, OUT)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    if name == "hgt lazy":
        for layer in (plain, fast):
            layer(*typed_graph(1, dtype, widths))
        served(calls)
    fast.load_state_dict(randomised(plain, dtype).state_dict())
    for seed in range(50):
        x, edges = typed_graph(seed, dtype, widths)
        expected = outcome(plain, lambda layer, x=x, edges=edges: layer(x, edges), list(x.values()), seed)
        actual = outcome(fast, lambda layer, x=x, edges=edges: layer(x, edges), list(x.values()), seed)
        assert list(plain(x, edges)) == list(fast(x, edges))
        for a, e in zip(actual, expected, strict=True):
            assert distance(a, e) <= TOLERANCE[dtype], seed
        assert served(calls)


@pytest.mark.parametrize("empty", ["a", "b", "both"])
def test_types_without_nodes(empty: str) -> None:
    nodes = {"a": 0 if empty in ("a", "both") else 3, "b": 0 if empty in ("b", "both") else 3}
    x = {key: torch.randn(count, 4) for key, count in nodes.items()}
    none = torch.empty(2, 0, dtype=torch.int64)
    plain = HGTConv(4, 4, (["a", "b"], [("a", "to", "b"), ("b", "to", "a")]), heads=2)
    edges = dict.fromkeys(plain.edge_types, none)
    same(gnnkit.accelerate(copy.deepcopy(plain))(x, edges), plain(x, edges))


@pytest.mark.parametrize("name", ["rgcn", "rgcn max", "rgcn blocks, pair", "fast rgcn", "rgat", "rgat within"])
def test_graphs_without_nodes(name: str) -> None:
    make, takes, _ = CASES[name]
    plain = make()
    x = torch.empty(0, WIDTH)
    none = torch.empty(2, 0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    args = (x, torch.empty(0, 5)) if takes == "pair" else x, *none
    same(gnnkit.accelerate(copy.deepcopy(plain))(*args), plain(*args))


def test_gradients_of_gradients() -> None:
    for name in ("rgcn", "rgcn blocks, pair", "rgcn max", "rgat bases, attributes, dropout", "rgat product"):
        make, takes, more = CASES[name]
        layer = gnnkit.accelerate(randomised(make(), torch.float64)).eval()
        args, leaves = arguments(takes, more, 13, torch.float64)

        def call(*leaves: Tensor, layer: Any = layer, args: list[Any] = args, takes: str = takes) -> Tensor:
            x = leaves[:2] if takes == "pair" else leaves[0]
            return layer(x, *args[1:3], *leaves[2 if takes == "pair" else 1 :])

        assert torch.autograd.gradcheck(call, tuple(leaves), fast_mode=True)
        assert torch.autograd.gradgradcheck(call, tuple(leaves), fast_mode=True)
    hgt = gnnkit.accelerate(HGT["hgt heads"]().double())
    x, edges = typed_graph(4, torch.float64, hgt.in_channels)
    run = lambda *rows: tuple(hgt(dict(zip(NODES, rows, strict=True)), edges).values())  # noqa: E731
    assert torch.autograd.gradgradcheck(run, tuple(x.values()), fast_mode=True)


# ------------------------------------------------------------------ compact


def test_rows_are_distinct_pairs_of_the_end_that_has_fewer() -> None:
    # relation 0: one source, many destinations; relation 1: many sources, one destination; relation 2: none
    edge_index = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 3], [1, 2, 3, 3, 0, 0, 0, 0]])
    relation = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    made = TypedSum(tuple(edge_index), relation, (4, 4), 3, "mean", torch.float64)
    assert made.ptr.tolist() == [0, 1, 2, 2]
    late = TypedSum(tuple(edge_index), relation, (4, 4), 3, "max", torch.float64)
    assert late.ptr.tolist() == [0, 3, 4, 4]  # an extreme comes before the product: pairs of destinations only


def test_pairs_are_sorted_by_relation_and_node() -> None:
    pairs = Pairs.of(torch.tensor([3, 1, 3, 0, 3]), torch.tensor([1, 0, 1, 1, 0]), 4, 2)
    assert pairs.relation.tolist() == [0, 0, 1, 1]
    assert pairs.node.tolist() == [1, 3, 0, 3]
    assert pairs.of_edge.tolist() == [3, 0, 3, 2, 1]


@pytest.mark.parametrize("name", ["rgcn", "rgcn ids", "rgat", "hgt"])
def test_a_graph_is_built_once_and_known_by_its_content(name: str) -> None:
    if name == "hgt":
        layer = gnnkit.accelerate(HGT[name]())
        x, edges = typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT))
        run, written = (lambda: layer(x, edges)["b"]), edges[RELATIONS[1]]
        plain: Any = gnnkit.accelerate(copy.deepcopy(layer), undo=True)
        again = lambda: plain(x, edges)["b"]  # noqa: E731
    else:
        make, takes, more = CASES[name]
        layer = gnnkit.accelerate(make())
        args, _ = arguments(takes, more, 3, torch.float32)
        run, written = (lambda: layer(*args)), args[2]
        plain = gnnkit.accelerate(copy.deepcopy(layer), undo=True)
        again = lambda: plain(*args)  # noqa: E731
    for _ in range(3):
        run()
    assert (CACHE.misses, CACHE.hits) == (1, 2)
    assert CACHE.nbytes > 0
    written.numpy()[..., :] = written.numpy()[..., ::-1].copy()  # nothing counts this write
    torch.testing.assert_close(run(), again())
    assert CACHE.misses == 2


@pytest.mark.parametrize("name", ["rgcn", "rgcn max", "rgcn ids", "fast rgcn", "rgat within", "hgt"])
def test_first_seen_in_inference_then_trained(name: str) -> None:
    if name == "hgt":
        plain: Any = HGT[name]()
        args: Any = typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT))
    else:
        make, takes, more = CASES[name]
        plain, (args, _) = make(), arguments(takes, more, 3, torch.float32)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    with torch.inference_mode():
        fast(*(arg.clone() if isinstance(arg, Tensor) else arg for arg in args))
    for layer in (plain, fast):
        out = layer(*args)
        (out["b"] if name == "hgt" else out).square().sum().backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


# ------------------------------------------------------------------ copies


def layers() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """One layer of each kind and what it is called with."""
    edge_index, relation, _, _ = draw(3)
    torch.manual_seed(0)
    args = torch.randn(N, WIDTH), edge_index, relation
    made: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
        "rgcn": (RGCNConv(WIDTH, OUT, R), args),
        "fast rgcn": (FastRGCNConv(WIDTH, OUT, R, num_bases=2), args),
        "rgat": (RGATConv(WIDTH, OUT, R, heads=2), args),
    }
    return made | {"hgt": (HGT["hgt"](), typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT)))}


@pytest.mark.parametrize("how", ["deepcopy", "copy", "pickle", "torch.save"])
@pytest.mark.parametrize("name", ["rgcn", "fast rgcn", "rgat", "hgt"])
def test_copies_are_fast_and_plain_layers_stay_plain(name: str, how: str, calls: dict[str, int]) -> None:
    plain, args = layers()[name]
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    assert isinstance(fast, type(plain))
    assert repr(fast) == repr(plain)
    assert list(fast.state_dict()) == list(plain.state_dict())
    fast(*args)
    if how == "torch.save":
        buffer = io.BytesIO()
        torch.save(fast, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    else:
        makers = {"deepcopy": copy.deepcopy, "copy": copy.copy, "pickle": lambda v: pickle.loads(pickle.dumps(v))}
        other = makers[how](fast)
    for layer in (other, fast):
        served(calls)
        same(layer(*args), plain(*args))
        assert served(calls)
    fresh = gnnkit.accelerate(copy.deepcopy(plain))
    fresh.load_state_dict(fast.state_dict())
    same(fresh(*args), plain(*args))
    calls.update(spmm=0)
    copy.deepcopy(plain)(*args)
    gnnkit.accelerate(fresh, undo=True)(*args)
    assert type(fresh) is type(plain)
    assert calls["spmm"] == 0


def test_what_was_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    gnnkit.accelerate(
        nn.ModuleDict({key.replace(" ", "_"): layer for key, (layer, _) in layers().items()}), verbose=True
    )
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == ["accelerated"] * 4


def test_subclasses_that_say_something_else_are_not_mistaken(calls: dict[str, int]) -> None:
    class Twice(RGCNConv):
        def message(self, x_j: Tensor, edge_type_ptr: Tensor | None) -> Tensor:
            return 2 * x_j

    class Reversed(FastRGCNConv):
        def aggregate(self, inputs: Tensor, edge_type: Tensor, index: Tensor, dim_size: int | None = None) -> Tensor:
            return super().aggregate(-inputs, edge_type, index, dim_size)

    for cls in (Twice, Reversed):
        plain = cls(WIDTH, OUT, R)
        args = layers()["rgcn"][1]
        same(gnnkit.accelerate(copy.deepcopy(plain))(*args), plain(*args))
        assert not served(calls)

    class Renamed(RGCNConv):
        """Changes nothing that counts."""

    gnnkit.accelerate(Renamed(WIDTH, OUT, R))(*layers()["rgcn"][1])
    assert served(calls)


# ------------------------------------------------------------------ what is left to PyG

X, EDGES, TYPES = (layers()["rgcn"][1][k] for k in range(3))
HALF_TYPES = TYPES[: len(TYPES) // 2]
REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "no types": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES)),
    "a type too large": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES, TYPES + 2)),
    "a type too large for blocks": (lambda: RGCNConv(WIDTH, OUT, R, num_blocks=2), (X, EDGES, TYPES + 2)),
    "a negative type": (lambda: FastRGCNConv(WIDTH, OUT, R, aggr="sum"), (X, EDGES, TYPES - 1)),
    "too few types": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES, HALF_TYPES)),
    "types in 32 bits": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES, TYPES.int())),
    "types of floats": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES.float())),
    "edges in 32 bits": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES.int(), TYPES)),
    "a node too large": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES + 2, TYPES)),
    "a negative node": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES - 1, TYPES)),
    "an id too large": (lambda: RGCNConv(N - 1, OUT, R), (torch.arange(N), EDGES, TYPES)),
    "a node too large for ids": (lambda: RGCNConv(N, OUT, R), (None, EDGES + 2, TYPES)),
    "a node beyond the ids": (lambda: FastRGCNConv(2, OUT, R, root_weight=False), (torch.arange(N), EDGES, TYPES)),
    "ids for blocks": (lambda: RGCNConv(WIDTH, OUT, R, num_blocks=2), (torch.arange(WIDTH), EDGES, TYPES)),
    "ids for attention": (lambda: RGATConv(WIDTH, OUT, R), (torch.arange(N), EDGES, TYPES)),
    "ids, max": (lambda: RGCNConv(N, OUT, R, aggr="max"), (None, EDGES, TYPES)),
    "another width": (lambda: RGCNConv(WIDTH, OUT, R), (X[:, 1:], EDGES, TYPES)),
    "another dtype": (lambda: RGATConv(WIDTH, OUT, R), (X.double(), EDGES, TYPES)),
    "half precision": (lambda: RGCNConv(WIDTH, OUT, R).bfloat16(), (X.bfloat16(), EDGES, TYPES)),
    "three dimensions": (lambda: RGCNConv(WIDTH, OUT, R), (X.expand(2, N, WIDTH), EDGES, TYPES)),
    "a tuple of one": (lambda: RGCNConv(WIDTH, OUT, R), ((X,), EDGES, TYPES)),
    "backwards": (lambda: RGCNConv(WIDTH, OUT, R, flow="target_to_source"), (X, EDGES, TYPES)),
    "backwards attention": (lambda: RGATConv(WIDTH, OUT, R, flow="target_to_source"), (X, EDGES, TYPES)),
    "fast, max": (lambda: FastRGCNConv(WIDTH, OUT, R, aggr="max"), (X, EDGES, TYPES)),
    "attention, mean": (lambda: RGATConv(WIDTH, OUT, R, aggr="mean"), (X, EDGES, TYPES)),
    "attributes without edge_dim": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES, torch.ones(len(TYPES), 2))),
    "attributes of another width": (
        lambda: RGATConv(WIDTH, OUT, R, edge_dim=3),
        (X, EDGES, TYPES, torch.ones(len(TYPES), 2)),
    ),
    "a size": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES, None, (N, N))),
    "weights returned": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES, None, None, True)),
}


def raised(layer: nn.Module, args: tuple[Any, ...]) -> Any:
    try:
        return layer(*args)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", REFUSED)
def test_what_pyg_does_with_other_calls(name: str, calls: dict[str, int]) -> None:
    make, args = REFUSED[name]
    torch.manual_seed(0)
    plain = make()
    expected = raised(plain, args)
    calls.update(spmm=0)
    actual = raised(gnnkit.accelerate(copy.deepcopy(plain)), args)
    assert not served(calls)
    if isinstance(expected, tuple) and isinstance(expected[0], type):
        assert actual == expected
    else:
        tolerance = {"rtol": 0.02, "atol": 0.02} if name == "half precision" else {}
        torch.testing.assert_close(actual, expected, **tolerance)


def test_zeros_of_another_default_dtype(calls: dict[str, int]) -> None:
    plain, args = layers()["rgcn"]
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    torch.set_default_dtype(torch.float64)
    try:
        same(fast(*args), plain(*args))
    finally:
        torch.set_default_dtype(torch.float32)
    assert not served(calls)


def test_pyg_libs_mean_is_another_function(monkeypatch: pytest.MonkeyPatch, calls: dict[str, int]) -> None:
    monkeypatch.setattr(torch_geometric.typing, "WITH_SEGMM", True)
    monkeypatch.setattr(torch_geometric.backend, "use_segment_matmul", False)
    _, args = layers()["rgcn"]
    for aggr, ours in (("sum", True), ("mean", False)):
        gnnkit.accelerate(RGCNConv(WIDTH, OUT, R, aggr=aggr))(*args)
        assert served(calls) == ours
    gnnkit.accelerate(RGCNConv(WIDTH, OUT, R, num_bases=2))(*args)
    assert served(calls)


@pytest.mark.parametrize("name", ["rgcn", "rgat", "hgt"])
def test_hooks_and_replaced_methods(name: str, calls: dict[str, int]) -> None:
    plain, args = layers()[name]
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    for layer in (plain, fast):
        layer.register_message_forward_hook(lambda module, inputs, out: 2 * out)
    same(fast(*args), plain(*args))
    assert not served(calls)


def wrong_hgt() -> dict[str, tuple[HGTConv, tuple[Any, Any]]]:
    torch.manual_seed(0)
    layer = HGT["hgt"]()
    x, edges = typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT))
    only = {key: x[key] for key in ("a", "b")}
    return {
        "another order": (layer, (x, dict(reversed(list(edges.items()))))),
        "an unknown relation": (layer, (x, {**edges, ("a", "x", "a"): edges[RELATIONS[0]]})),
        "no relations": (layer, (x, {})),
        "a type without rows": (layer, (only, edges)),
        "a node of the next type": (layer, (x, {**edges, RELATIONS[0]: torch.tensor([[0, 5], [1, 1]])})),
        "a node too large": (layer, (x, {**edges, RELATIONS[0]: torch.tensor([[0, 99], [1, 1]])})),
        "edges in 32 bits": (layer, (x, {**edges, RELATIONS[0]: edges[RELATIONS[0]].int()})),
        "one of another dtype": (layer, ({**x, "a": x["a"].double()}, edges)),
        "another width": (layer, ({**x, "a": x["a"][:, 1:]}, edges)),
        "half precision": (copy.deepcopy(layer).bfloat16(), ({k: v.bfloat16() for k, v in x.items()}, edges)),
    }


@pytest.mark.parametrize("name", wrong_hgt())
def test_what_pyg_does_with_other_typed_graphs(name: str, calls: dict[str, int]) -> None:
    plain, args = wrong_hgt()[name]
    expected = raised(plain, args)
    calls.update(spmm=0)
    actual = raised(gnnkit.accelerate(copy.deepcopy(plain)), args)
    assert not served(calls)
    if isinstance(expected, tuple):
        assert actual == expected
    elif name == "another order":  # PyG takes matrices from memory that nobody wrote: nothing to compare
        assert actual.keys() == expected.keys()
    else:
        tolerance = {"rtol": 0.02, "atol": 0.02} if name == "half precision" else {}
        torch.testing.assert_close(actual, expected, **tolerance)


def test_a_hook_on_the_matrices_of_relations() -> None:
    plain, args = layers()["hgt"]
    fast: Any = gnnkit.accelerate(copy.deepcopy(plain))
    for layer in (plain, fast):
        layer.k_rel.register_forward_hook(lambda module, inputs, out: 2 * out)
    same(fast(*args), plain(*args))


def test_an_input_written_before_the_backward() -> None:
    _, (x, edge_index, relation) = layers()["rgcn"]
    for aggr in ("mean", "max"):
        plain = RGCNConv(WIDTH, WIDTH, R, aggr=aggr, root_weight=False)
        results = []
        for layer in (plain, gnnkit.accelerate(copy.deepcopy(plain))):
            leaf = x.clone().requires_grad_()
            hidden = 1 * leaf
            hidden += layer(hidden, edge_index, relation)
            hidden.square().sum().backward()
            results.append(leaf.grad)
        same(results[1], results[0])


# ------------------------------------------------------------------ a layer for every relation


@pytest.mark.parametrize("aggr", ["sum", "mean", "max", "cat", None])
def test_every_layer_of_a_hetero_conv_is_taken(aggr: str | None) -> None:
    torch.manual_seed(0)
    makers = (
        lambda: SAGEConv((OUT, OUT), OUT),
        lambda: GATConv((OUT, OUT), OUT, add_self_loops=False),
        lambda: GCNConv(OUT, OUT),
        lambda: GraphConv((OUT, OUT), OUT, aggr="max"),
        lambda: TransformerConv((OUT, OUT), OUT),
    )
    plain = HeteroConv({key: make() for key, make in zip(RELATIONS, makers, strict=True)}, aggr).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    assert sum(isinstance(layer, FastLayer) for layer in fast.modules()) == len(RELATIONS)
    x, edges = typed_graph(3, torch.float64, dict.fromkeys(NODES, OUT))
    edges = dict.fromkeys(RELATIONS, torch.empty(2, 0, dtype=torch.int64)) | edges
    leaves = list(x.values())
    results = [outcome(layer, lambda layer: layer(x, edges), leaves, 0) for layer in (plain, fast)]
    for a, e in zip(results[1], results[0], strict=True):
        assert distance(a, e) <= TOLERANCE[torch.float64]


@pytest.mark.parametrize("name", ["GraphSAGE", "GAT", "GIN"])
def test_every_layer_of_a_to_hetero_model_is_taken(name: str) -> None:
    torch.manual_seed(0)
    more = {"add_self_loops": False} if name == "GAT" else {}
    metadata = ["a", "b"], [("a", "to", "b"), ("b", "back", "a"), ("b", "like", "b")]
    width = OUT if name == "GIN" else (OUT, OUT)
    plain = to_hetero(getattr(torch_geometric.nn, name)(width, 8, 2, OUT, **more), metadata).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    layers = [layer for layer in fast.modules() if isinstance(layer, MessagePassing)]
    assert len(layers) == 6
    assert all(isinstance(layer, FastLayer) for layer in layers)
    x, edges = typed_graph(3, torch.float64, dict.fromkeys(NODES, OUT))
    none = torch.empty(2, 0, dtype=torch.int64)
    x, edges = {key: x[key] for key in metadata[0]}, {key: edges.get(key, none) for key in metadata[1]}
    results = [outcome(model, lambda model: model(x, edges), list(x.values()), 0) for model in (plain, fast)]
    for a, e in zip(results[1], results[0], strict=True):
        assert distance(a, e) <= TOLERANCE[torch.float64]
