"""The one choice of a backend: by the tensor's device, or by name, and never another in silence."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from gnnkit.kernels import _backend, _cupy, _numba, _torch, backend_name, group_by, spmm

CPU, META = torch.empty(0), torch.empty(0, device="meta")


class OnGpu:
    """As much of a CUDA tensor as the choice looks at."""

    device = torch.device("cuda", 0)


CUDA: Any = OnGpu()


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


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The optional packages there are; CuPy until a test removes it."""
    packages = {"cupy"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in packages else None)
    monkeypatch.delenv("GNNKIT_BACKEND", raising=False)
    for function in (_backend._has_cupy, _backend._warn_once):
        function.cache_clear()
    yield packages
    for function in (_backend._has_cupy, _backend._warn_once):
        function.cache_clear()


def test_cuda_tensors_go_to_cupy(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend_name(CUDA) == "cupy"
    assert _backend.backend(CUDA) is _cupy
    monkeypatch.setenv("GNNKIT_BACKEND", "torch")
    assert backend_name(CUDA) == "torch"
    monkeypatch.setenv("GNNKIT_BACKEND", "cupy")
    assert backend_name(CUDA) == "cupy"
    with pytest.raises(ValueError, match=r"^GNNKIT_BACKEND=cupy: expected cuda tensors \(got cpu\)$"):
        backend_name(CPU)


@pytest.mark.parametrize(("cuda", "extra"), [("12.8", "cuda12"), ("13.0", "cuda13"), (None, "cuda13")])
def test_without_cupy_the_reference_serves_and_says_so_once(
    installed: set[str], monkeypatch: pytest.MonkeyPatch, cuda: str | None, extra: str
) -> None:
    installed.clear()
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.warns(UserWarning, match=rf"^CUDA tensors are served by .* pip install 'gnnkit\[{extra}\]'$"):
        assert backend_name(CUDA) == "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backend_name(CUDA) == "torch"
        assert backend_name(CPU) == "numba"


def test_cupy_asked_for_by_name_and_not_installed_raises(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed.clear()
    monkeypatch.setenv("GNNKIT_BACKEND", "cupy")
    with pytest.raises(ImportError, match=r"^GNNKIT_BACKEND=cupy: expected the package cupy: pip install 'gnnkit\["):
        backend_name(CUDA)


@pytest.mark.parametrize("module", [_numba, _cupy], ids=["numba", "cupy"])
def test_backends_have_the_same_functions_and_signatures(module: ModuleType) -> None:
    def signatures(module: ModuleType) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(function)
            for name, function in inspect.getmembers(module, inspect.isfunction)
            # a backend may lie in several files, _numba.py and _numba_attention.py, or take the reference for its own
            if name in module.__all__
        }

    reference = signatures(_torch)
    assert "spmm" in reference
    assert signatures(module) == reference


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
