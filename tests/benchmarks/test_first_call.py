"""The claim of first calls: what a process measures, and what makes it fail."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "first_call.py"
WARM = {
    "first adds [s]": 0.05,
    "with Numba's imports [s]": 0.5,
    "whole set adds [s]": 0.2,
    "compiled": 0,
    "from cache": 5,
    "torch._dynamo": 0,
}
COLD = WARM | {"first adds [s]": 2.0, "whole set adds [s]": 30.0, "compiled": 5, "from cache": 0}


@pytest.fixture(scope="module")
def first_call() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_first_call", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_process_measures_imports_apart_and_loads_no_compiler() -> None:
    command = [sys.executable, str(SCRIPT), "--child", "torch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert {*WARM, "import numba [s]", "Numba's registries [s]"} <= row.keys()
    assert row["torch._dynamo"] == 0
    assert row["compiled"] + row["from cache"] > 0
    adds = row["with Numba's imports [s]"] - row["import numba [s]"] - row["Numba's registries [s]"]
    assert adds == pytest.approx(row["first adds [s]"])


@pytest.mark.parametrize(
    ("cold", "bare", "pyg", "holds"),
    [
        ({}, {}, {}, True),
        ({}, {}, {"torch._dynamo": 1}, True),  # PyG imports it, not the first call
        ({}, {"torch._dynamo": 1}, {}, False),
        ({}, {"first adds [s]": 0.3}, {}, False),
        ({}, {}, {"first adds [s]": 0.3}, False),
        ({}, {"compiled": 1}, {}, False),
        ({"from cache": 1}, {}, {}, False),
        ({"compiled": 0}, {}, {}, False),
        ({"first adds [s]": 0.1}, {}, {}, False),  # the control meets the threshold
    ],
)
def test_what_the_claim_holds_by(
    first_call: ModuleType, cold: dict[str, Any], bare: dict[str, Any], pyg: dict[str, Any], holds: bool
) -> None:
    judged = first_call.judge(COLD | cold, {"torch": [WARM | bare], "torch, PyG": [WARM | pyg]})
    assert judged["passed"] is holds
    assert len(judged["rows"]) == 5
