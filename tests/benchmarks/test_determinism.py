"""The claim that the CPU kernels are deterministic, on a small graph: it passes, and what breaks it is seen."""

from __future__ import annotations

import importlib.util
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gnnkit.kernels import _numba

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "determinism.py"
SMALL = ["--nodes", "3000", "--edges", "16000", "--runs", "1"]


@pytest.fixture(scope="module")
def determinism() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_determinism", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _short_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_numba, "LONG_ROW", 256)


@pytest.mark.usefixtures("_short_rows_are_cut")
def test_everything_is_equal_and_every_control_is_caught(
    determinism: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    status = determinism.main(SMALL)
    out = capsys.readouterr().out
    assert status == 0, out
    assert "3 of 3 sums" in out
    assert out.splitlines()[-1] == "PASS determinism"
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("_short_rows_are_cut")
@pytest.mark.parametrize("last", [False, True])
def test_a_case_or_a_control_that_comes_out_wrong_fails_the_claim(
    determinism: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: bool
) -> None:
    monkeypatch.setattr(determinism, "models", lambda *_: iter(()))
    monkeypatch.setattr(determinism, "operations", lambda *_: iter(()))
    steady = "steady", torch.float32, lambda: [torch.zeros(1)]
    if last:  # a control that is not caught
        monkeypatch.setattr(determinism, "controls", lambda _: iter([steady]))
    else:
        numbers = count()
        changing = "changing", torch.float32, lambda: [torch.tensor(next(numbers))]
        monkeypatch.setattr(determinism, "models", lambda *_: iter([changing]))
    assert determinism.main(SMALL) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "FAIL determinism"


def test_a_graph_without_a_row_to_cut_is_refused(determinism: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"a row that is cut into pieces.*\(got none\)"):
        determinism.main(SMALL)


def test_bits_are_compared_and_not_values(determinism: ModuleType) -> None:
    zero, nan = torch.zeros(1), torch.full((1,), float("nan"))
    assert not determinism.same_bits(zero, -zero)
    assert determinism.same_bits(nan, nan.clone())
