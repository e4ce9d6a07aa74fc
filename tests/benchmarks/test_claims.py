"""What all claims share: how their rows are shown, and how the code of authors is found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "claims")]

import heart  # noqa: E402
import ncn_accuracy  # noqa: E402
from _authors import authors_scripts  # noqa: E402
from _rows import Claim, show  # noqa: E402


def test_rows_of_one_kind_stand_in_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"graph": "cora", "seconds": 1.5},
        {"graph": "cora", "tau": 0.25},
        {"graph": "pubmed", "seconds": 2.5, "note": "slow"},
    ]
    show(Claim("name", "statement", "command", "result", rows, passed=True, control="control"))
    shown = capsys.readouterr().out
    assert shown.count("graph") == 2
    first, second = shown.split("tau")
    assert all(cell in first for cell in ("cora", "pubmed", "2.5", "slow"))
    assert "0.25" not in first
    assert "0.25" in second
    assert "–" not in second
    assert shown.rstrip().endswith("PASS name")


def test_scripts_of_authors_are_imported_from_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = ["gnnkit_test_authors"]
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delenv("GNNKIT_TEST_CLONE", raising=False)
    with pytest.raises(SystemExit, match=r"GNNKIT_TEST_CLONE: expected a clone of a/b \(got None\)"):
        authors_scripts("GNNKIT_TEST_CLONE", "a/b", scripts)
    monkeypatch.setenv("GNNKIT_TEST_CLONE", str(tmp_path))
    with pytest.raises(SystemExit, match="expected a clone of a/b"):
        authors_scripts("GNNKIT_TEST_CLONE", "a/b", scripts)
    inner = tmp_path / "code"
    inner.mkdir()
    (inner / "gnnkit_test_authors.py").write_text("import gnnkit_no_such_module\nANSWER = 7\n")
    with pytest.raises(SystemExit, match=r"expected an environment made by `make peers` \(got No module"):
        authors_scripts("GNNKIT_TEST_CLONE", "a/b", scripts, folder="code")
    (script,) = authors_scripts("GNNKIT_TEST_CLONE", "a/b", scripts, folder="code", empty=["gnnkit_no_such_module"])
    assert script.ANSWER == 7
    assert "gnnkit_no_such_module" not in sys.modules


@pytest.mark.parametrize(
    ("claim", "option", "said"),
    [(heart, ["--seeds", "1"], "expected 2 or more"), (ncn_accuracy, ["--seeds", "0"], "expected 1 or more")],
)
def test_too_few_seeds_to_judge_are_refused(
    claim: Any, option: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["claim", *option])
    with pytest.raises(SystemExit):
        claim.main()
    assert said in capsys.readouterr().err
