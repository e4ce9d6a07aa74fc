"""The one choice of a backend: by the tensor's device, or by name, and never another in silence."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from gnnkit.kernels import _backend, _numba, _torch, backend_name, group_by, spmm

CPU, META = torch.empty(0), torch.empty(0, device="meta")


@pytest.mark.parametrize("unset", [None, ""], ids=["unset", "empty"])
def test_cpu_tensors_go_to_numba_and_others_to_torch(unset: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GNNKIT_BACKEND", raising=False)
    if unset is not None:
        monkeypatch.setenv("GNNKIT_BACKEND", unset)
    assert backend_name(CPU) == "numba"
    assert backend_name(META) == "torch"


def test_the_environment_is_read_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in [("torch", _torch), ("numba", _numba), ("torch", _torch)]:
        monkeypatch.setenv("GNNKIT_BACKEND", name)
        assert backend_name(CPU) == name
        assert _backend.backend(CPU) is module


@pytest.mark.parametrize("name", ["cupy?", "Torch", "pytorch", " numba"])
def test_an_unknown_name_is_a_value_error_that_lists_the_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_BACKEND", name)
    message = r"^GNNKIT_BACKEND: expected one of .*torch, numba.* \(got '"
    with pytest.raises(ValueError, match=message):
        backend_name(CPU)
    with pytest.raises(ValueError, match=message):
        spmm(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1, 1))
    with pytest.raises(ValueError, match=message):
        group_by(torch.tensor([0]), 1)


def test_numba_asked_for_other_tensors_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_BACKEND", "numba")
    with pytest.raises(ValueError, match=r"^GNNKIT_BACKEND=numba: expected cpu tensors \(got meta\)$"):
        backend_name(META)


@pytest.mark.parametrize("module", [_torch, _numba], ids=["torch", "numba"])
def test_operations_run_on_the_chosen_module_alone(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    other = _numba if module is _torch else _torch
    monkeypatch.setenv("GNNKIT_BACKEND", module.__name__.rpartition("_")[2])
    calls: list[str] = []
    chosen = module.spmm

    def spy(*args: object) -> object:
        calls.append(module.__name__)
        return chosen(*args)

    monkeypatch.setattr(module, "spmm", spy)
    monkeypatch.delattr(other, "spmm")
    assert spmm(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1, 1)).tolist() == [[1.0]]
    assert calls == [module.__name__]


def test_a_backend_that_cannot_load_raises_and_nothing_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_BACKEND", "numba")
    monkeypatch.setitem(sys.modules, "gnnkit.kernels._numba", None)
    with pytest.raises(ImportError, match=r"gnnkit\.kernels\._numba"):
        spmm(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1, 1))


def test_backends_have_the_same_functions_and_signatures() -> None:
    reference = {
        name: inspect.signature(function)
        for name, function in inspect.getmembers(_torch, inspect.isfunction)
        if function.__module__ == _torch.__name__ and not name.startswith("_")
    }
    assert "spmm" in reference
    assert {name: inspect.signature(getattr(_numba, name)) for name in _numba.__all__} == reference


def test_numba_is_loaded_when_it_is_first_chosen() -> None:
    script = """
import os, sys, torch
from gnnkit.kernels import spmm
graph = torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1, 1)
assert "numba" not in sys.modules, "loaded at import"
os.environ["GNNKIT_BACKEND"] = "torch"
spmm(*graph)
assert "numba" not in sys.modules, "loaded although torch was chosen"
del os.environ["GNNKIT_BACKEND"]
spmm(*graph)
assert "numba" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
