"""Stored causal studies: continued, summed up, and shown."""

from __future__ import annotations

import csv
import io
import shlex
import statistics
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import ttest_rel

from gnnkit.bench import _causal
from gnnkit.bench._causal import cells, facts, run_study, study_of, two_model_test
from gnnkit.bench._causal_report import command, html_text, study_table, write_study
from gnnkit.bench._store import RunRecord
from gnnkit.causal import Study

ERRORS = {
    "gcn + gcn": [0.5, 0.6, 0.55, 0.52],
    "gcn + linear": [0.1, 0.12, 0.09, 0.1],
    "gcn + linear-no-intercept": [4.0, 4.4, 4.2, 3.9],
    "mlp + linear": [0.2, 0.21, 0.19, 0.2],
    "mlp + linear-no-intercept": [5.0, 5.2, 4.9, 5.1],
}


def fake_seed(study: Study, seed: int, root: str | None = None) -> dict[str, Any]:
    errors = {method: values[seed % 4] for method, values in ERRORS.items()}
    return {"seed": seed, "errors": errors, "facts": {"mean effect": 2.0 + seed}}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRecord:
    """A study of four seeds, made up."""
    monkeypatch.setattr(_causal, "run_seed", fake_seed)
    return run_study(Study(num_nodes=300), range(4), out=tmp_path / "runs")


def test_a_study_is_continued_and_its_rows_are_the_seeds_that_were_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(study: Study, seed: int, root: str | None = None) -> dict[str, Any]:
        asked.append(seed)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return fake_seed(study, seed)

    monkeypatch.setattr(_causal, "run_seed", counted)
    with pytest.raises(KeyboardInterrupt):
        run_study(Study(), range(4), out=tmp_path)
    told: list[int] = []
    record = run_study(Study(), range(4), out=tmp_path, told=lambda row: told.append(row["seed"]))
    assert asked == [0, 1, 2, 2, 3]
    assert told == [0, 1, 2, 3] == [row["seed"] for row in record.results]
    assert [row["seed"] for row in run_study(Study(), [2], out=tmp_path).results] == [2]
    assert run_study(Study(noise=1.0), [0], out=tmp_path).folder != record.folder
    assert study_of(record) == Study()


def test_the_methods_are_sorted_and_compared_with_the_one_in_question(record: RunRecord) -> None:
    found = cells(record)
    assert [cell.method for cell in found] == sorted(ERRORS, key=lambda method: statistics.fmean(ERRORS[method]))
    by_method = {cell.method: cell for cell in found}
    assert by_method["gcn + gcn"].comparison is None
    comparison = by_method["gcn + linear"].comparison
    assert comparison is not None
    assert comparison.t_p == pytest.approx(ttest_rel(ERRORS["gcn + gcn"], ERRORS["gcn + linear"]).pvalue)
    assert comparison.difference > 0
    assert by_method["gcn + linear"].deviation == pytest.approx(statistics.stdev(ERRORS["gcn + linear"]))
    assert facts(record) == {"mean effect": (3.5, pytest.approx(statistics.stdev([2, 3, 4, 5])))}


def test_the_papers_two_model_test_and_what_an_intercept_makes_of_it(record: RunRecord) -> None:
    published = two_model_test(record, "mlp + linear-no-intercept", "gcn + linear-no-intercept")
    mended = two_model_test(record, "mlp + linear", "gcn + linear")
    assert published is not None
    assert mended is not None
    assert (published["positive"], mended["positive"]) == (True, False)
    assert published["ratio"] == pytest.approx(5.05 / 0.5425, rel=1e-4)
    assert mended["p"] < 0.05  # it differs, and is the better one


def test_one_seed_has_no_deviation_and_no_tests(record: RunRecord, tmp_path: Path) -> None:
    one = run_study(Study(), [1], out=tmp_path / "one")
    assert all(cell.deviation is None and cell.comparison is None for cell in cells(one))
    assert two_model_test(one, "mlp + linear", "gcn + linear") is None
    assert "0.600" in html_text(one)


def test_the_table_fits_a_terminal_and_says_what_it_shows(record: RunRecord) -> None:
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(study_table(record))
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "gcn + linear-no-intercept  4.125 ± 0.222" in text
    assert "two-model test as published: POSITIVE" in text
    assert "two-model test with an intercept: NEGATIVE" in text


def test_the_page_the_plot_and_every_error_are_written(record: RunRecord, tmp_path: Path) -> None:
    table, plot, page = write_study(record, tmp_path / "deep" / "report")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 20
    assert {"method": "gcn + gcn", "seed": "1", "mse": "0.6"} in rows
    assert plot.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    for part in ("gcn + linear-no-intercept", "<svg", "p (Holm)", "4.125 ± 0.222", "POSITIVE"):
        assert part in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")
    assert write_study(record, tmp_path / "deep" / "report")[2].read_text() == text


@pytest.mark.parametrize(
    ("study", "seeds", "words"),
    [
        (Study(), range(30), "gnnkit causal study --mode paper --seeds 30"),
        (
            Study(num_nodes=300, noise=1.0),
            range(2),
            "gnnkit causal study --mode paper --nodes 300 --noise 1.0 --seeds 2",
        ),
        (
            Study("repaired", "cora", share=0.5, peers=True),
            range(5, 8),
            "gnnkit causal study --mode repaired --graph cora --share 0.5 --peers --first 5 --seeds 3",
        ),
        (
            Study(),
            [7, 1, 8],
            "gnnkit causal study --mode paper --first 1 --seeds 1 "
            "&& gnnkit causal study --mode paper --first 7 --seeds 2",
        ),
    ],
)
def test_the_command_repeats_the_study(
    study: Study, seeds: range, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_causal, "run_seed", fake_seed)
    monkeypatch.setattr(_causal.provenance, "versions", lambda packages=(): {})  # EconML may be absent
    assert shlex.split(command(run_study(study, seeds, out=tmp_path))) == words.split()


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [2**32]])
def test_bad_seeds_are_named(seeds: list[int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds: expected distinct numbers >= 0"):
        run_study(Study(), seeds, out=tmp_path)
