"""Relational layers: copies stay fast, plain layers plain, subclasses what they say."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch_geometric.nn import FastRGCNConv, RGCNConv
from typed_inputs import OUT, WIDTH, R, layers, served

import gnnkit


@pytest.mark.parametrize("how", ["deepcopy", "copy", "pickle", "torch.save"])
@pytest.mark.parametrize("name", ["rgcn", "fast rgcn", "rgat", "hgt"])
def test_copies_are_fast_and_plain_layers_stay_plain(name: str, how: str, typed_calls: dict[str, int]) -> None:
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
        served(typed_calls)
        assert_close(layer(*args), plain(*args))
        assert served(typed_calls)
    fresh = gnnkit.accelerate(copy.deepcopy(plain))
    fresh.load_state_dict(fast.state_dict())
    assert_close(fresh(*args), plain(*args))
    typed_calls.update(spmm=0)
    copy.deepcopy(plain)(*args)
    gnnkit.accelerate(fresh, undo=True)(*args)
    assert type(fresh) is type(plain)
    assert typed_calls["spmm"] == 0


def test_what_was_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    gnnkit.accelerate(
        nn.ModuleDict({key.replace(" ", "_"): layer for key, (layer, _) in layers().items()}), verbose=True
    )
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == ["accelerated"] * 4


def test_subclasses_that_say_something_else_are_not_mistaken(typed_calls: dict[str, int]) -> None:
    class Twice(RGCNConv):
        def message(self, x_j: Tensor, edge_type_ptr: Tensor | None) -> Tensor:
            return 2 * x_j

    class Reversed(FastRGCNConv):
        def aggregate(self, inputs: Tensor, edge_type: Tensor, index: Tensor, dim_size: int | None = None) -> Tensor:
            return super().aggregate(-inputs, edge_type, index, dim_size)

    for cls in (Twice, Reversed):
        plain = cls(WIDTH, OUT, R)
        args = layers()["rgcn"][1]
        assert_close(gnnkit.accelerate(copy.deepcopy(plain))(*args), plain(*args))
        assert not served(typed_calls)

    class Renamed(RGCNConv):
        """Changes nothing that counts."""

    gnnkit.accelerate(Renamed(WIDTH, OUT, R))(*layers()["rgcn"][1])
    assert served(typed_calls)
