"""The claim that a loader leaves nothing behind, on few batches: it passes, and what is left or wrong is seen."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "loader_stress.py"
SMALL = ["--batches", "50", "--abandoned", "2", "--errors", "2", "--interrupts", "0"]


@pytest.fixture(scope="module")
def stress() -> ModuleType:
    """The script as a module, with a smaller graph."""
    spec = importlib.util.spec_from_file_location("benchmarks_loader_stress", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.NUM_NODES, module.NUM_EDGES = 2000, 10_000
    return module


def test_nothing_is_left_and_the_control_is_caught(stress: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    status = stress.main(SMALL)
    out = capsys.readouterr().out
    assert status == 0, out
    assert "5 of 5 leave nothing" in out
    assert out.splitlines()[-1] == "PASS loader_stress"
    assert not [thread for thread in threading.enumerate() if thread.name == "gnnkit-loader"]  # nor by the control


@pytest.mark.parametrize(
    "wrong", [{"threads_left": 1}, {"files_left": 1}, {"pinned_kb_left": 4}, {"rss_grown_mb": 9.0}, {"as_expected": 1}]
)
def test_each_of_what_may_be_wrong_fails(stress: ModuleType, wrong: dict[str, Any]) -> None:
    row = {"times": 2, "as_expected": 2, "threads_left": 0, "files_left": 0, "pinned_kb_left": 0, "rss_grown_mb": 1.0}
    assert stress.holds(row)
    assert not stress.holds({**row, **wrong})


def test_an_error_that_is_not_named_is_seen(stress: ModuleType) -> None:
    class Fails:
        def __init__(self, message: str) -> None:
            self.message = message

        def __iter__(self) -> Any:
            raise RuntimeError(self.message) from OSError()

    class Part:
        fails_at = -1

    assert stress.fail(Fails("batch 0, input nodes [0, 1]: OSError"), Part(), 1) == (1, 1)
    assert stress.fail(Fails("batch 1, input nodes [0, 1]: OSError"), Part(), 1) == (1, 0)
