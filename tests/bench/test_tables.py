"""Tables of the report: right numbers, safe text, and what of errors is said."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stored_runs import NASTY, TEST, write_run

from gnnkit.bench._summary import run_labels, summarise, to_json
from gnnkit.bench._tables import csv_text, latex_text, markdown_text
from gnnkit.bench._terminal import terminal_table


def test_summary_has_the_mean_and_the_unbiased_deviation(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path))
    assert summary.test_mean == pytest.approx(statistics.mean(TEST))
    assert summary.test_std == pytest.approx(statistics.stdev(TEST))
    # By hand: deviations from 0.815333 are -0.000333, -0.006333, 0.006667, and n - 1 is 2.
    assert summary.test_std == pytest.approx(0.0065064, abs=1e-7)
    assert summary.valid_mean == pytest.approx(statistics.mean(TEST) + 0.01)
    assert summary.seeds == [0, 1, 2]
    assert summary.epochs_run == 4 + 5 + 6
    assert summary.wall_seconds == pytest.approx(4.5)
    assert summary.peak_memory_bytes == 100 * 2**20


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path, test=[0.8]))
    assert summary.test_std is None
    assert json.loads(json.dumps(to_json(summary)))["valid_std"] is None
    assert "| 80.00 ± – |" in markdown_text([summary])
    assert next(csv.DictReader(io.StringIO(csv_text([summary]))))["test_std"] == ""


def test_no_finished_seed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"finished seed \(got none in cora-gcn-0a1b2c3d\)"):
        summarise(write_run(tmp_path, test=[]))


def test_mixed_provenance_is_shown_and_not_hidden(tmp_path: Path) -> None:
    record = write_run(tmp_path)
    record.results[1]["commit"] = "fff0000"
    record.results[2]["versions"] = {"torch": "2.14.0"}
    summary = summarise(record)
    assert summary.commit == "3f0c9a1, fff0000"
    assert summary.versions == {"torch": "2.13.0, 2.14.0"}


def test_a_pipelines_mode_seconds_and_bytes_stand_beside_other_runs(tmp_path: Path) -> None:
    plain, deep = write_run(tmp_path / "a"), write_run(tmp_path / "b", model="gcnii")
    for seed, row in enumerate(deep.results):
        row |= {"mode": "hybrid", "stages": 4, "ways": 2, "epoch_seconds": 0.01 * (seed + 1)}
        row["bytes_by_kind"] = {"activations": 1_500_000, "boundary": 1_000_444}
    summaries = [summarise(plain), summarise(deep)]
    header, rule, *rows = markdown_text(summaries).splitlines()
    assert header.endswith("| Memory | Mode | s/epoch | MB/epoch | Metric |")
    assert rule.endswith("| ---: | --- | ---: | ---: | --- |")
    assert [row.split(" | ")[7:10] for row in rows] == [["–", "–", "–"], ["hybrid 4 x 2", "0.02", "2.5"]]
    table = list(csv.DictReader(io.StringIO(csv_text(summaries))))
    assert [row["mode"] for row in table] == ["", "hybrid 4 x 2"]
    assert [row["epoch_seconds"] for row in table] == ["", "0.02"]
    assert [row["epoch_bytes"] for row in table] == ["", "2500444"]
    assert not {"mode", "epoch_seconds", "epoch_bytes"} & set(csv_text(summaries[:1]).splitlines()[0].split(","))
    large = dataclasses.replace(summaries[1], epoch_seconds=0.00012345, epoch_bytes=123_456_700_000)
    assert "| hybrid 4 x 2 | 0.000123 | 123457 |" in markdown_text([large])
    assert "| Mode |" not in markdown_text(summaries[:1])
    assert "mode" not in to_json(summaries[0])


def test_labels_tell_runs_of_one_model_apart(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", model="gcn"),
        write_run(tmp_path / "b", model="sage"),
        write_run(tmp_path / "c", model="sage", overrides=("train.lr=0.1",)),
        write_run(tmp_path / "d", model="gat", key="11111111"),
        write_run(tmp_path / "e", model="gat", key="22222222"),
    ]
    assert run_labels(records) == [
        "gcn",
        "sage (recipe)",
        "sage (train.lr=0.1)",
        "gat (recipe) (11111111)",
        "gat (recipe) (22222222)",
    ]


def test_the_best_mean_of_each_dataset_is_bold(square: list[Any]) -> None:
    summaries = [summarise(record) for record in reversed(square)]
    latex = [line for line in latex_text(summaries).splitlines() if "textbf" in line]
    assert [line.split(" & ")[:2] for line in latex] == [["cora", "sage"], ["pubmed", "sage"]]
    assert r"\textbf{85.50 $\pm$ 0.71}" in latex[0]
    assert markdown_text(summaries).count("**85.50 ± 0.71**") == 2
    # Alone on its dataset, a run beats nobody.
    assert "textbf" not in latex_text(summaries[:1])
    assert "**" not in markdown_text(summaries[:1])


def test_runs_that_print_alike_share_the_mark(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path, model=model, test=[score])
        for model, score in (("gcn", 0.80001), ("gat", 0.80002), ("mlp", 0.7))
    ]
    assert markdown_text([summarise(record) for record in records]).count("**80.00 ± –**") == 2


def test_csv_keeps_fractions_and_gives_names_back(tmp_path: Path) -> None:
    record = write_run(tmp_path, dataset=f'{NASTY},"\n', overrides=("a=1,2", "b=é"))
    row = next(csv.DictReader(io.StringIO(csv_text([summarise(record)]))))
    assert row["dataset"] == f'{NASTY},"\n'
    assert float(row["test_mean"]) == pytest.approx(statistics.mean(TEST))
    assert json.loads(row["overrides"]) == ["a=1,2", "b=é"]
    assert json.loads(row["versions"]) == {"torch": "2.13.0"}
    assert row["seeds"] == "0 1 2"


def test_latex_escapes_and_names_the_commit(tmp_path: Path) -> None:
    record = write_run(tmp_path, dataset=NASTY + "\\~^#{}", model="[m]\n*")
    record.results[0]["commit"] = "evil\n\\input{x}"
    text = latex_text([summarise(record)])
    assert r"\textless{}b\textgreater{}\&\_\%\$x\$\textbackslash{}\textasciitilde{}" in text
    assert r"\textasciicircum{}\#\{\} & {[}m] {*} & " in text
    comment = text.splitlines()[0]
    assert comment.startswith("% Commit: 3f0c9a1, evil")
    assert not any(line.startswith("\\input") for line in text.splitlines())


def test_markdown_escapes(tmp_path: Path) -> None:
    text = markdown_text([summarise(write_run(tmp_path, dataset=NASTY, model="a|*b*"))])
    assert r"| &lt;b&gt;&amp;\_%$x$ | a\|\*b\* |" in text


def test_terminal_table_prints_names_as_they_are(tmp_path: Path) -> None:
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(terminal_table([summarise(write_run(tmp_path, dataset="[red]x[/]"))], 120))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x[/]" in text
    assert "81.53 ± 0.65" in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_narrow_terminal_leaves_columns_out_and_folds_none(width: int, tmp_path: Path) -> None:
    overrides = ["link.valid_as_input=true", "train.max_epochs=3"]
    records = [write_run(tmp_path, dataset="squirrel-filtered:heart", overrides=overrides), write_run(tmp_path)]
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal_table([summarise(record) for record in records], width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    (row,) = (line for line in lines if "squirrel-filtered:heart" in line and "±" in line)
    assert "81.53 ± 0.65" in row
    assert f"set for squirrel-filtered:heart gcn: {' '.join(overrides)}" in " ".join(" ".join(lines).split())
    assert ("Memory" in lines[1]) == (width >= 100)
    assert ("Not shown for want of room: Memory" in " ".join(" ".join(lines).split())) == (width < 100)
