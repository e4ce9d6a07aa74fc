"""All report files of a set of runs, written so that a reader never sees a half-written one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gnnkit.bench._html import html_text
from gnnkit.bench._plots import plot_report
from gnnkit.bench._summary import summarise
from gnnkit.bench._tables import csv_text, latex_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnnkit.bench._store import RunRecord

_NAMES = ("results.csv", "results.tex", "curves.png", "report.html")


def write_report(records: Sequence[RunRecord], out: Path) -> list[Path]:
    """Write ``results.csv``, ``results.tex``, ``curves.png`` and ``report.html`` and give their paths.

    Runs without a finished seed appear only on the HTML page, as unfinished.

    Args:
        records: Stored runs, at least one of them with a finished seed.
        out: The folder to write to, made if it is missing; existing report files are replaced.

    Raises:
        ValueError: If no run has a finished seed.
    """
    finished = [record for record in records if record.results]
    if not finished:
        unfinished = f"{len(records)} without" if records else "no runs"
        raise ValueError(f"expected at least one run with a finished seed (got {unfinished})")
    summaries = [summarise(record) for record in finished]
    out.mkdir(parents=True, exist_ok=True)
    # All four are complete before the first is moved, so an error leaves the old report whole. The
    # folder lies inside `out` because a move is atomic only within one file system.
    with TemporaryDirectory(dir=out, prefix=".report-") as folder:
        draft = Path(folder)
        (draft / "results.csv").write_bytes(csv_text(summaries).encode())
        (draft / "results.tex").write_bytes(latex_text(summaries).encode())
        plot_report(finished, draft / "curves.png")
        (draft / "report.html").write_bytes(html_text(records).encode())
        return [(draft / name).replace(out / name) for name in _NAMES]
