"""The claim about memory a rank: what it compares and what it judges."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gnnkit.pipeline import Memory

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "pipeline_memory.py"
MB = 2**20


@pytest.fixture(scope="module")
def claim() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_pipeline_memory", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(claim: ModuleType, peak: int, chunks: int = 4) -> Any:
    """A rank whose formula says 100 MiB, 50 of them tables; the control's says 60."""
    said, other = Memory(50 * MB, 40 * MB, 4 * MB, 3 * MB, 2 * MB, MB), Memory(50 * MB, 0, 4 * MB, 3 * MB, 2 * MB, MB)
    return claim.row_of(claim.Case("gcn", 2, 1, chunks, False), 0, peak * MB, said, other)


def test_a_rank_is_compared_with_three_formulas(claim: ModuleType) -> None:
    found = row(claim, 80)
    assert (found["measured_mb"], found["formula_mb"], found["tables_mb"]) == (80, 100, 50)
    assert found["formula_off_percent"] == 25
    assert found["without_tables_off_percent"] == -37.5
    assert found["other_activations_off_percent"] == -25


@pytest.mark.parametrize(
    ("peaks", "chunks", "passed"),
    [
        ((100, 100), 4, True),
        ((114, 88), 4, True),  # formulas 12 % below and 14 % above
        ((118, 100), 4, False),
        ((100, 86), 4, False),
        ((100, 100), 1, True),
        ((100, 86), 1, False),
    ],
)
def test_every_rank_has_to_be_near(claim: ModuleType, peaks: Any, chunks: int, passed: bool) -> None:
    assert claim.judge([row(claim, peak, chunks) for peak in peaks], claim.Size(1, 1, 1, 1)).passed is passed


@pytest.mark.parametrize("control", ["without_tables_off_percent", "other_activations_off_percent"])
def test_a_control_that_comes_near_fails_the_claim(claim: ModuleType, control: str) -> None:
    assert not claim.judge([row(claim, 100), row(claim, 100) | {control: -14.0}], claim.Size(1, 1, 1, 1)).passed


@pytest.mark.parametrize("control", ["without_tables_off_percent", "other_activations_off_percent"])
def test_one_chunk_has_no_historical_rows_and_keeps_all(claim: ModuleType, control: str) -> None:
    rows = [row(claim, 100), row(claim, 100, chunks=1) | {control: 0.0}]
    assert claim.judge(rows, claim.Size(1, 1, 1, 1)).passed
