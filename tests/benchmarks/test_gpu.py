"""The GPU's claim, rehearsed on the CPU: the script runs, checks its results and writes them."""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    gc.freeze()  # the harness collects before every sample: not all that torch has imported, each time
    yield module
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_it_runs_and_writes_its_rows(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_BACKEND", "torch")
    sizes = ["--nodes=60", "--edges=300", "--widths", "5", "8", "--gather-widths=9", "--calls=1", "--repeats=1"]
    status = gpu.main(["--device", "cpu", *sizes, "--results", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert status == int(not found["passed"])  # the ratios of a rehearsal are anything
    assert len(found["rows"]) == 2 * 5 + 1 + 2 + 2
    assert all(row["error"] <= gpu.TOLERANCE for row in found["rows"])
    assert found["control"].endswith("is seen to be wrong")
    assert {row["backend"] for row in found["rows"]} == {"torch"}


def test_without_a_gpu_it_fails_and_says_so(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--results", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "FAIL gpu: expected a CUDA device (got none)\n"
    assert not list(tmp_path.iterdir())
