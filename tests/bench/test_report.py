"""The report: right numbers, safe text, the same bytes every time, and no half-written files."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
import struct
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gnnkit.bench import _report
from gnnkit.bench._html import command, flatten, html_text
from gnnkit.bench._plots import _bottom, _figure, mean_curve, svg_text
from gnnkit.bench._report import write_report
from gnnkit.bench._summary import run_labels, summarise, to_json
from gnnkit.bench._tables import csv_text, duration, latex_text, markdown_text, memory, terminal_table

NASTY = "<b>&_%$x$"
TEST = [0.815, 0.809, 0.822]


@dataclass(frozen=True)
class FakeRun:
    """Answers like a stored run and reads its histories from its folder, one file a seed."""

    folder: Path
    spec: dict[str, Any]
    results: list[dict[str, Any]]

    def history(self, seed: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads((self.folder / f"{seed}.json").read_text())
        return rows


def write_run(
    root: Path,
    dataset: str = "cora",
    model: str = "gcn",
    test: list[float] = TEST,
    overrides: tuple[str, ...] = (),
    key: str = "0a1b2c3d",
    epochs: int = 4,
    **spec: Any,
) -> Any:
    """Write a run whose seed s trained for ``epochs + s`` epochs, and give its record."""
    folder = root / f"{re.sub(r'[^a-z]', '', dataset)}-{model}-{key}"
    folder.mkdir(parents=True)
    shared = {"commit": "3f0c9a1", "versions": {"torch": "2.13.0"}, "device": "cpu", "backend": "numba"}
    results = []
    for seed, score in enumerate(test):
        rows = [
            {
                "epoch": epoch,
                "loss": 1.0,
                "valid_loss": 1.0,
                "train": 0.9,
                "valid": 0.1 * epoch + 0.01 * seed,
                "test": 0.5,
            }
            for epoch in range(1, epochs + seed + 1)
        ]
        (folder / f"{seed}.json").write_text(json.dumps(rows))
        results.append(
            {
                "seed": seed,
                "test": score,
                "valid": score + 0.01,
                "train": 0.99,
                "best_epoch": 3,
                "epochs_run": epochs + seed,
                "wall_seconds": 1.5,
                "peak_memory_bytes": (100 - seed) * 2**20,
                **shared,
            }
        )
    return FakeRun(
        folder,
        {
            "dataset": dataset,
            "model": model,
            "task": "node classification",
            "metric": "accuracy",
            "config": {"train": {"lr": 0.01}, "loader": {"fanout": [10, 5]}},
            "overrides": list(overrides),
            "recipe": "gcn",
            "hardware": "two cores",
            "key": key,
            **shared,
            **spec,
        },
        results,
    )


@pytest.fixture
def square(tmp_path: Path) -> list[Any]:
    """Two datasets by two models, the second model better on each."""
    return [
        write_run(tmp_path / "runs", dataset, model, [base, base + 0.01])
        for dataset in ("cora", "pubmed")
        for model, base in (("gcn", 0.80), ("sage", 0.85))
    ]


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
    console.print(terminal_table([summarise(write_run(tmp_path, dataset="[red]x[/]"))]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x[/]" in text
    assert "81.53 ± 0.65" in text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.3, "59.3 s"), (90, "1.5 min"), (9000, "2.5 h")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(2**20, "1 MiB"), (2**30, "1.00 GiB"), (3 * 2**29, "1.50 GiB")])
def test_memory(count: int, text: str) -> None:
    assert memory(count) == text


def test_curve_averages_the_seeds_still_running_and_stops_below_half() -> None:
    histories = [
        [{"epoch": epoch, "valid": value} for epoch in range(1, length + 1)]
        for length, value in ((2, 0.2), (3, 0.4), (4, 0.6), (5, 0.8))
    ]
    curve = list(mean_curve(histories, "valid"))
    assert [epoch for epoch, _, _ in curve] == [1, 2, 3, 4]  # at epoch 5 one seed of four is left
    assert [mean for _, mean, _ in curve] == pytest.approx([0.5, 0.5, 0.6, 0.7])
    assert [std for _, _, std in curve] == pytest.approx(
        [statistics.stdev(values) for values in ([0.2, 0.4, 0.6, 0.8],) * 2 + ([0.4, 0.6, 0.8], [0.6, 0.8])]
    )


def test_curve_of_one_seed_has_a_band_of_zero_width() -> None:
    assert list(mean_curve([[{"epoch": 1, "valid": 0.5}]], "valid")) == [(1, 0.5, 0.0)]


def test_axis_leaves_out_the_first_climb_but_not_the_legend() -> None:
    curve = [(epoch, min(80.0, 4.0 * epoch)) for epoch in range(1, 101)]
    bottom = _bottom([curve], top=85.0, legend=0.25)
    assert 4.0 < bottom < curve[9][1]
    assert (80.0 - bottom) / (85.0 - bottom) >= 0.25
    low = [(epoch, 50.0) for epoch in range(1, 101)]
    bottom = _bottom([curve, low], top=85.0, legend=0.5)
    assert (50.0 - bottom) / (85.0 - bottom) == pytest.approx(0.5)


def test_svg_is_one_inert_element(tmp_path: Path) -> None:
    name = f"--><script>alert(1)</script>{NASTY}$\\frac$"  # as a formula this would not parse
    text = svg_text([write_run(tmp_path, dataset=name, model=name.replace("/", ""))])
    assert text.startswith("<svg")
    assert text.rstrip().endswith("</svg>")
    assert "<script" not in text
    assert not re.search(r"--\s*>\s*&lt;script", text)


class Text(HTMLParser):
    """Collects the elements and the visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_escapes_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    nasty = write_run(tmp_path, dataset=NASTY, model="m", overrides=("a=<i>'\"",), recipe="<i>", hardware="<i>")
    nasty.spec["config"]["<i>"] = {"key": "</td><i>"}
    page = Text(html_text([nasty]))
    assert not {"b", "i", "script", "link", "img", "iframe"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert NASTY in page.texts
    assert "</td><i>" in page.texts
    assert "<i>.key" in page.texts


def test_html_shows_every_run_its_command_and_its_seeds(square: list[Any], tmp_path: Path) -> None:
    tuned = write_run(tmp_path, "cora", "gat", overrides=("train.lr=0.1", "loader.fanout=15,10"))
    page = html_text([*square, tuned])
    assert page.count("<details>") == 5
    assert page.count('num best"') == 2
    words = "gnnkit bench cora --model gat --seeds 3 --set train.lr=0.1 --set loader.fanout=15,10"
    assert words in unescape(page)
    assert all(f'<td class="num">{100 * score:.2f}</td>' in page for score in TEST)
    assert "<tr><td>loader.fanout</td><td>[10, 5]</td></tr>" in page
    assert "<dt>Hardware</dt><dd>two cores</dd>" in page
    assert page.count("<dt>Commit</dt>") == 1  # one provenance, so it is told once


def test_the_links_of_the_table_lead_to_the_runs_of_their_rows(square: list[Any]) -> None:
    page = html_text(list(reversed(square)))
    rows = re.findall(r'<tr[^>]*><td class="">(\w+)</td><td class=""><a href="#(run-\d)">(\w+)</a>', page)
    runs = re.findall(r"<summary><strong>(\w+)</strong> · (\w+) .*?</summary>\s*<div id=\"(run-\d)\">", page)
    assert len(rows) == 4
    assert [(dataset, model, link) for dataset, link, model in rows] == runs


def test_command_quotes_and_covers_the_last_seed(tmp_path: Path) -> None:
    record = write_run(tmp_path, overrides=("model.name=a b",))
    del record.results[0]  # an interrupted run may miss an early seed
    assert command(record) == "gnnkit bench cora --model gcn --seeds 3 --set 'model.name=a b'"


def test_flatten_gives_the_paths_that_set_takes() -> None:
    config = {"a": {"b": {"c": 1}, "d": None}, "e": "x", "f": {}, "g": [1, 2]}
    expected = [("a.b.c", "1"), ("a.d", "null"), ("e", "x"), ("f", "{}"), ("g", "[1, 2]")]
    assert list(flatten(config)) == expected


def test_report_writes_four_files(square: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    paths = write_report(square, out)
    assert [path.name for path in paths] == ["results.csv", "results.tex", "curves.png", "report.html"]
    assert sorted(out.iterdir()) == sorted(paths)  # nothing temporary is left behind
    assert len(paths[0].read_text().splitlines()) == 1 + 4
    png = paths[2].read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == (2000, 2 * 680)  # ten inches wide, a row of 3.4 inches for each dataset


def test_report_is_the_same_bytes_every_time(square: list[Any], tmp_path: Path) -> None:
    first, second = (write_report(square, tmp_path / name) for name in ("first", "second"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_unfinished_runs_are_named_on_the_page_and_nowhere_else(square: list[Any], tmp_path: Path) -> None:
    waiting = write_run(tmp_path, "citeseer", "gat", test=[])
    paths = write_report([*square, waiting], tmp_path / "out")
    page = paths[3].read_text()
    assert "citeseer-gat-0a1b2c3d" in page[page.index("Unfinished") :]
    assert "gnnkit bench citeseer --model gat" in page
    assert "citeseer" not in paths[0].read_text() + paths[1].read_text()
    assert "Unfinished" not in html_text(square)


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"finished seed \(got no runs\)"):
        write_report([], tmp_path / "out")
    with pytest.raises(ValueError, match=r"finished seed \(got 1 without\)"):
        write_report([write_run(tmp_path, test=[])], tmp_path / "out")
    with pytest.raises(ValueError, match=r"to plot \(got none\)"):
        svg_text([])
    assert not (tmp_path / "out").exists()


def test_an_error_leaves_the_old_report_whole(
    square: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_report(square[:2], tmp_path)
    before = [path.read_bytes() for path in paths]

    def fail(_: Any) -> str:
        raise RuntimeError("disk full")

    monkeypatch.setattr(_report, "html_text", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_report(square, tmp_path)
    assert [path.read_bytes() for path in paths] == before
    assert {path.name for path in tmp_path.iterdir()} == {"runs", *(path.name for path in paths)}


# ------------------------------------------------------------------ errors: the less the better, and no percents


@pytest.fixture
def errors(tmp_path: Path) -> list[Any]:
    """Two runs whose metric is an error, the first the better."""
    return [
        write_run(tmp_path / "runs", "zinc", model, [base, base + 0.01], metric="mae")
        for model, base in (("gin", 0.4123), ("mlp", 0.7))
    ]


def test_the_best_error_is_the_smallest_and_is_no_percentage(errors: list[Any]) -> None:
    text = markdown_text([summarise(record) for record in errors])
    header, _, first, second = text.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][2:4] == ["Test", "Valid"]
    assert "**0.4173 ± 0.0071**" in first
    assert "0.7050 ± 0.0071" in second
    assert "**" not in second
    assert "%" not in text


def test_a_table_of_shares_and_errors_says_percent_in_the_cells(square: list[Any], errors: list[Any]) -> None:
    text = markdown_text([summarise(record) for record in [*square, *errors]])
    assert "85.50 ± 0.71 %" in text
    assert "0.4173 ± 0.0071 |" in text.replace("**", "")
    assert "(%)" not in text


def test_a_page_on_errors_shows_no_percent(errors: list[Any]) -> None:
    page = html_text(errors)
    text = unescape(re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))
    assert "0.4123" in text
    assert "%" not in text


def test_curves_of_errors_keep_their_scale_and_leave_room_above(errors: list[Any]) -> None:
    figure = _figure(errors)
    curves, strips = figure.axes
    assert curves.get_ylabel() == "Validation mae, mean ± std"
    assert strips.get_xlabel() == "Test mae"
    lines = [float(value) for line in curves.get_lines() for value in line.get_ydata()]
    low, high = curves.get_ylim()
    assert low <= min(lines)
    assert max(lines) <= high < 2
    assert max(strips.collections[0].get_offsets()[:, 0]) < 1
