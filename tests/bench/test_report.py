"""The report: the same bytes every time, no half-written files, and curves that show what they average."""

from __future__ import annotations

import statistics
import struct
from pathlib import Path
from typing import Any

import pytest
from stored_runs import write_run

from gnnkit.bench import _report
from gnnkit.bench._html import html_text
from gnnkit.bench._plots import _bottom, mean_curve, svg_text
from gnnkit.bench._report import write_report
from gnnkit.bench._tables import duration, memory


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
