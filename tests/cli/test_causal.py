"""`gnnkit causal study`: a real study, continued, and what it says of bad settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Shell

STUDY = ("causal", "study", "--nodes", "120")


def test_a_study_prints_a_line_a_seed_and_a_table_and_continues(gnnkit_: Shell, folder: Path) -> None:
    first = gnnkit_(*STUDY, "--seeds", "1")
    assert "seed 0: gcn + gcn" in first
    out = gnnkit_(*STUDY, "--seeds", "2", "--report", "page")
    again = next(line for line in out.splitlines() if line.startswith("seed 0"))
    assert again in first.splitlines()  # the stored row, its seconds included
    assert "two-model test as published" in out
    (stored,) = (folder / "runs" / "causal").iterdir()
    assert f"stored in runs/causal/{stored.name}" in out
    assert sorted(path.name for path in (folder / "page").iterdir()) == ["study.csv", "study.html", "study.png"]


def test_the_first_seed_may_be_another(gnnkit_: Shell) -> None:
    out = gnnkit_(*STUDY, "--first", "30", "--seeds", "1")
    assert "seed 30: " in out
    assert "seed 0" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mode", "fixed"), "mode: expected paper or repaired (got 'fixed')"),
        (("--share", "0.5"), "share: expected its default in paper mode (got 0.5)"),
        (("--mode", "repaired", "--effect", "local_x"), "effect: expected its default in repaired mode"),
        (("--graph", "tree"), "graph: expected one of ba, er, sbm or cora (got 'tree')"),
        (("--nodes", "2"), "num_nodes, num_features, noise: expected at least 5"),
        (("--mode", "repaired", "--share", "2"), "share: expected a number in [0, 1] (got 2.0)"),
    ],
)
def test_bad_settings_end_with_one_line(gnnkit_: Shell, words: tuple[str, ...], message: str) -> None:
    assert message in gnnkit_.fails("causal", "study", "--seeds", "1", *words)
