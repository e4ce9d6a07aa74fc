"""A layer is taken by changing its class: nothing else shows, it can be undone, and copies are taken too."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, GINConv, MessagePassing, SAGEConv
from usual_layers import EDGES, LAYERS, X, fast_copy, ran

import gnnkit
from gnnkit._accelerate._layer import FastLayer

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
for name in ("spmm", "spmm_scaled", "gat_forward", "gatv2_forward"):
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
