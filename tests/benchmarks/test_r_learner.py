"""The claims about the R-learner judge as they say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "claims"))
import r_learner
import r_learner_coverage
import r_learner_paper
import r_learner_repaired
import r_learner_robustness
import r_learner_spillover

CELLS = r_learner_paper.CELLS


def test_the_largest_relative_difference_counts() -> None:
    theirs = dict.fromkeys(CELLS, 2.0)
    assert r_learner.off({**theirs, "gcn + gcn": 2.1}, theirs) == pytest.approx(0.05)


def paper_rows(shift: float) -> list[dict[str, Any]]:
    seeds, figures = r_learner_paper.MEASURED["ba", "interaction"]
    cells = [tuple(map(float, figure.split())) for figure in figures.split(", ")]
    names = (*CELLS, *r_learner_paper.WITH)
    return [
        {"errors": {n: m + (1 if seed % 2 else -1) * d + shift for n, (m, d) in zip(names, cells, strict=True)}}
        for seed in range(seeds)
    ]


def test_a_cell_is_judged_in_standard_errors_of_both_figures() -> None:
    same = r_learner_paper.judge(paper_rows(0.0), ("ba", "interaction"))
    assert len(same) == 9
    assert max(line["standard_errors_off"] for line in same) < 1e-6
    moved = {
        line["cell"]: line["standard_errors_off"]
        for line in r_learner_paper.judge(paper_rows(0.1), ("ba", "interaction"))
    }
    assert moved["gcn + gcn"] == pytest.approx(0.1 / (2**0.5 * 0.031 / 3), rel=1e-3)
    assert moved["mlp + linear-no-intercept"] < 3 < moved["gcn + gcn"]


def test_the_two_codes_are_compared_seed_by_seed() -> None:
    def row(code: str, seed: int, error: float) -> dict[str, Any]:
        return {"code": code, "seed": seed, "errors": dict.fromkeys(CELLS, error)}

    rows = [row("gnnkit", 30, 1.0), row("authors", 30, 1.0), row("gnnkit", 31, 1.1), row("authors", 31, 1.0)]
    assert r_learner_paper.beside(rows) == pytest.approx(0.1)


def repaired_rows(aware: float, blind: float) -> list[dict[str, Any]]:
    methods = (r_learner_repaired.SUBJECT, *r_learner_repaired.BLIND, *r_learner_repaired.AWARE)
    return [
        {
            "nodes": 5000,
            "share": 1.0,
            "seed": seed,
            "errors": {
                method: (aware if method == r_learner_repaired.SUBJECT else blind) + 0.01 * ((seed * 7 + place) % 5)
                for place, method in enumerate(methods)
            },
        }
        for seed in range(20)
    ]


def test_the_primary_contrast_needs_every_rival_beaten() -> None:
    blind = r_learner_repaired.BLIND
    assert r_learner_repaired.won(repaired_rows(0.1, 0.9), 5000, 1.0, blind)[0]
    assert not r_learner_repaired.won(repaired_rows(0.9, 0.1), 5000, 1.0, blind)[0]
    one = repaired_rows(0.1, 0.9)
    for row in one:
        row["errors"]["sign + mlp"] = row["errors"]["sign + sign"]
    assert not r_learner_repaired.won(one, 5000, 1.0, blind)[0]


def test_the_table_marks_the_best_and_what_differs() -> None:
    lines = r_learner_repaired.judge(repaired_rows(0.1, 0.9))
    text = r_learner_repaired.markdown(lines)
    assert "**5,000 nodes, 20 seeds**" in text
    assert "| sign + sign | **0.120 ± " in text
    table = text.removesuffix(f"{r_learner_repaired.LEGEND}\n")
    assert table != text
    assert table.count("▲") == len(lines) - 1
    assert "▼" not in table


def test_coverage_has_wilsons_interval_and_the_oracle_its_length() -> None:
    rows = [{"covered": number >= 20} for number in range(400)]
    share, low, high = r_learner_coverage.wilson(rows, "covered")
    assert (share, round(low, 3), round(high, 3)) == (0.95, 0.924, 0.967)
    data = r_learner_coverage.simulate("er", 0, num_nodes=400, selection=0.0)
    assert r_learner_coverage.oracle_length(data) == pytest.approx(2 * 1.96 * 0.5 * 2 / 20)


def test_slopes_are_those_within_each_network() -> None:
    rows = [
        {"seed": seed, "nuisance": x + seed, "errors": {"r-learner": 2 * x + 100 * seed}}
        for seed in range(3)
        for x in (0.0, 1.0, 2.0)
    ]
    assert r_learner_robustness.slope(rows, "r-learner") == (pytest.approx(2.0), pytest.approx(0.0))


def test_bias_is_counted_in_its_standard_errors() -> None:
    rows = [
        {"exposure": "share", "direct": e, "indirect": 0.0 - e, "direct_covered": True, "indirect_covered": e < 0.3}
        for e in (0.1, 0.2, 0.3, 0.4)
    ]
    direct, indirect = r_learner_spillover.summary(rows, "share")
    assert direct["bias"] == pytest.approx(0.25)
    assert direct["standard_errors"] == pytest.approx(0.25 / (0.1291 / 2), rel=1e-3)
    assert (direct["covered"], indirect["covered"]) == (1.0, 0.5)
