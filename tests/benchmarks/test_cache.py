"""The claim about hit ratios, on a small graph: it passes, and what breaks a policy or the bound is seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "cache.py"


@pytest.fixture(scope="module")
def claim() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_cache", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_passes_and_every_control_is_caught(
    claim: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claim, "CAPACITIES", (5,))
    monkeypatch.setattr(claim, "EPOCHS", 1)
    assert claim.main(["--small"]) == 0
    out = capsys.readouterr().out
    assert "4 of 4 broken policies and nearer bounds are caught" in out
    assert out.splitlines()[-1] == "PASS cache"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lookahead_4": 20.0}, "lookahead serves less with a longer window"),
        ({"lru": 50.1}, "lru serves more than the optimum"),
        ({"lookahead_8_victim": 50.1}, "lookahead_8_victim serves more than the optimum"),
        ({"hybrid_8": 42.0}, "hybrid_8 below 85% of the optimum"),
        ({"degree": 49.0}, "hybrid_8 not above the better static policy"),
    ],
)
def test_whatever_is_not_as_claimed_is_said(claim: ModuleType, changed: dict[str, float], said: str) -> None:
    row = {**dict.fromkeys(claim.PLAIN, 10.0), "belady": 50.0, "lookahead_8_victim": 10.0}
    row |= {
        f"{policy}_{window}": 44.0 + i for policy in ("lookahead", "hybrid") for i, window in enumerate(claim.WINDOWS)
    }
    row["hybrid_64"] = 49.5
    assert claim.failures(row) == []
    assert said in claim.failures(row | changed)
