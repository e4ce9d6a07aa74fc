"""Random graphs of every awkward shape, and layers compared on them: outputs, gradients, errors."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

import gnnkit
from gnnkit._accelerate import _pairs
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._layer import FastLayer
from gnnkit.kernels import _numba

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share
from compare import TOLERANCE, distance
from served_layers import EDGE, RELATIONS, WIDTH
from usual_layers import LAYERS


def draw(seed: int, pair: bool) -> tuple[Tensor, int, int]:
    """A small graph: empty, with isolated nodes, self-loops, parallel edges, in turn."""
    rng = torch.Generator().manual_seed(seed)
    num_src = int(torch.randint(1, 9, (), generator=rng))
    num_dst = int(torch.randint(1, 9, (), generator=rng)) if pair else num_src
    num_edges = (0, 1, num_src, 3 * num_src, 8 * num_src)[seed % 5]
    src = torch.randint((num_src + 1) // 2 if seed % 3 == 0 else num_src, (num_edges,), generator=rng)
    dst = torch.randint((num_dst + 1) // 2 if seed % 3 == 1 else num_dst, (num_edges,), generator=rng)
    if seed % 4 == 1 and num_edges:  # each edge twice
        src, dst = torch.cat([src, src]), torch.cat([dst, dst])
    if seed % 4 == 2 and not pair:  # each node with a self-loop
        src, dst = torch.cat([src, torch.arange(num_src)]), torch.cat([dst, torch.arange(num_src)])
    return torch.stack([src, dst]), num_src, num_dst


def arguments(takes: str, seed: int, dtype: torch.dtype) -> tuple[list[Any], dict[str, Any], list[Tensor]]:
    """What a layer's forward is called with, and the tensors whose gradients count."""
    kinds = takes.split()
    edge_index, num_src, num_dst = draw(seed, kinds[0] in ("pair", "source"))
    rng = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=dtype).requires_grad_()

    x, other = leaf(num_src, WIDTH), leaf(num_dst, WIDTH)
    first: Any = {"x": x, "twice": x, "pair": (x, other), "source": (x, None)}[kinds[0]]
    args, kwargs, leaves = [first, edge_index], {}, [x]
    if kinds[0] == "pair":
        leaves.append(other)
    if kinds[0] == "source":
        kwargs["size"] = (num_src, num_dst)
    if kinds[0] == "twice":
        args.insert(1, x * 0.5)
    if "weight" in kinds:
        weight = torch.rand(edge_index.shape[1], generator=rng, dtype=dtype)
        kwargs["edge_weight"] = weight.requires_grad_() if seed % 2 else weight
        leaves += [weight] if seed % 2 else []
    if "type" in kinds:
        kwargs["edge_type"] = torch.randint(RELATIONS, (edge_index.shape[1],), generator=rng)
    if "attr" in kinds:
        kwargs["edge_attr"] = leaf(edge_index.shape[1], EDGE)
        leaves.append(kwargs["edge_attr"])
    return args, kwargs, leaves


def outcome(layer: nn.Module, takes: str, seed: int, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]] | type:
    """The output and all gradients of a layer, or what it raises."""
    args, kwargs, leaves = arguments(takes, seed, dtype)
    torch.manual_seed(seed)
    try:
        out = layer(*args, **kwargs)
    except Exception as error:
        return type(error)
    wrt = [*leaves, *(p for p in layer.parameters() if p.requires_grad)]
    if not out.requires_grad:
        return out, []
    grads = torch.autograd.grad(
        (out * torch.linspace(-1, 1, out.numel(), dtype=dtype).view_as(out)).sum(), wrt, allow_unused=True
    )
    return out.detach(), [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wrt, strict=True)]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """No graph is known from an earlier test."""
    CACHE.clear()
    yield
    CACHE.clear()


@pytest.fixture(params=LAYERS, ids=[name.replace(" ", "_") for name in LAYERS])
def plain(request: pytest.FixtureRequest) -> MessagePassing:
    """Each of the usual layers in turn, as PyG makes it."""
    torch.manual_seed(0)
    return LAYERS[request.param]()


@pytest.fixture(autouse=True)
def _narrow_rows_are_mapped_on_their_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pairs, "NARROW", 0)  # the tests' rows are


@pytest.fixture(scope="session")
def same_on_50_graphs() -> Callable[..., None]:
    """Compare a layer with its accelerated copy: ``(make, what its forward takes, dtype)``."""

    def compare(make: Callable[[], nn.Module], takes: str, dtype: torch.dtype) -> None:
        compared = 0
        for seed in range(50):
            torch.manual_seed(seed)
            plain = make().to(dtype)
            fast = gnnkit.accelerate(copy.deepcopy(plain))
            expected = outcome(plain, takes, seed, dtype)
            actual = outcome(fast, takes, seed, dtype)
            if isinstance(expected, type):
                assert actual is expected
                continue
            assert not isinstance(actual, type), actual
            compared += 1
            pairs = list(zip((actual[0], *actual[1]), (expected[0], *expected[1]), strict=True))
            if all(distance(a, e) <= TOLERANCE[dtype] for a, e in pairs):
                continue
            # a deviation of nearly equal messages has few digits in PyG either: judged by what is exact
            assert dtype is torch.float32, seed
            exact = outcome(plain.double(), takes, seed, torch.float64)
            assert not isinstance(exact, type)
            for (a, e), x in zip(pairs, (exact[0], *exact[1]), strict=True):
                allowed = max(TOLERANCE[dtype], 2 * distance(e.double(), x))
                assert distance(a.double(), x) <= allowed, seed
        assert compared >= 25

    return compare


@pytest.fixture(scope="session")
def call_on_a_graph() -> Callable[[nn.Module, str], Tensor]:
    """Call a layer on a graph that has edges: ``(layer, what its forward takes)``."""

    def call(layer: nn.Module, takes: str) -> Tensor:
        args, kwargs, _ = arguments(takes, 3, next(layer.parameters(), torch.ones(1)).dtype)
        out: Tensor = layer(*args, **kwargs)
        return out

    return call


@pytest.fixture
def gathered_once() -> Callable[[], AbstractContextManager[None]]:
    """A context in which exactly one class says that it gathers its rows."""

    @contextmanager
    def context() -> Iterator[None]:
        with pytest.warns(UserWarning, match="its rows are gathered") as caught:
            yield
        assert len(caught) == 1

    return context


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every aggregation that a Numba kernel served."""
    calls: list[int] = []

    def count(name: str) -> None:
        original = getattr(_numba, name)
        monkeypatch.setattr(_numba, name, lambda *args: calls.append(1) or original(*args))

    for name in ("spmm", "spmm_scaled", "gat_forward", "gatv2_forward"):
        count(name)
    return calls


@pytest.fixture
def typed_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
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


@pytest.fixture
def kernel_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kernel ran."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        original = getattr(_numba, name)
        monkeypatch.setattr(_numba, name, lambda *args: counted.update([name]) or original(*args))

    for name in ("spmm", "sddmm", "segment_softmax"):
        count(name)
    return counted


@pytest.fixture
def assert_kernels_ran(
    kernel_counts: Counter[str], call_on_a_graph: Callable[[nn.Module, str], Tensor]
) -> Callable[..., None]:
    """Call a layer forward and backward: ``(make, what its forward takes, the kernels that its forward runs on)``."""

    def check(make: Callable[[], nn.Module], takes: str, kernels: str) -> None:
        layer = gnnkit.accelerate(make())
        assert isinstance(layer, FastLayer)
        for _ in range(2):
            kernel_counts.clear()
            out = call_on_a_graph(layer, takes)
            assert set(kernels.split()) <= set(kernel_counts)
            out.sum().backward() if out.requires_grad else None
            assert kernel_counts["spmm"]
        assert not type(layer).why_gathered

    return check
