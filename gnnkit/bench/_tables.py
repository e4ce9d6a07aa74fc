"""Result tables for a spreadsheet, a paper and a README, all from the same rows."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from gnnkit.bench._summary import PIPELINE, Summary, higher_is_better, is_share, joined, order, score_text, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

TEST = 2  # the column of the test metric, the one in which the best is marked
RIGHT = {"Test", "Test (%)", "Valid", "Valid (%)", "Seeds", "Time", "Memory", "s/epoch", "MB/epoch"}  # aligned so

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "–": "--",
    "[": "{[}",  # a row that begins with [ or * would be read as an argument of the \\\\ above it
    "*": "{*}",
}
# Entities rather than backslashes for the three HTML characters: not every Markdown dialect knows "\<".
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {mark: "\\" + mark for mark in "\\`*_[]|"}


@dataclass(frozen=True)
class Row:
    """One run as text cells, in the columns of the header, and whether it is its dataset's best."""

    dataset: str
    cells: list[str]
    best: bool


def table_rows(summaries: Sequence[Summary]) -> tuple[list[str], list[Row]]:
    """Give the header and the rows that every table shows, sorted by dataset and model.

    The best of a dataset is the best mean test metric as printed, so runs that print alike tie; a dataset
    with a single run has no best. Where every metric is a share, the header says percent; else the cells do.
    Overrides take a column only if some run has them, and so do a pipeline's mode, seconds and megabytes (10^6
    bytes) an epoch.
    """
    summaries = sorted(summaries, key=order)
    with_overrides = any(summary.overrides for summary in summaries)
    shares = all(is_share(summary.metric) for summary in summaries)
    scores = ["Test (%)", "Valid (%)"] if shares else ["Test", "Valid"]
    with_modes = any(summary.mode is not None for summary in summaries)
    header = ["Dataset", "Model", *scores, "Seeds", "Time", "Memory"]
    header += ["Mode", "s/epoch", "MB/epoch"] * with_modes + ["Metric"] + ["Overrides"] * with_overrides
    rows = []
    for summary in summaries:
        rivals = [
            float(score_text(other.metric, other.test_mean))
            for other in summaries
            if (other.dataset, other.metric) == (summary.dataset, summary.metric)
        ]
        unit = " %" if is_share(summary.metric) and not shares else ""
        cells = [
            summary.dataset,
            summary.model,
            score_text(summary.metric, summary.test_mean, summary.test_std, " ± ") + unit,
            score_text(summary.metric, summary.valid_mean, summary.valid_std, " ± ") + unit,
            str(len(summary.seeds)),
            duration(summary.wall_seconds),
            memory(summary.peak_memory_bytes),
        ]
        if with_modes:
            cells += [
                summary.mode or "–",
                "–" if summary.epoch_seconds is None else _three_digits(summary.epoch_seconds),
                "–" if summary.epoch_bytes is None else _three_digits(summary.epoch_bytes / 1e6),
            ]
        cells.append(summary.metric)
        if with_overrides:
            cells.append(" ".join(summary.overrides))
        extreme = max if higher_is_better(summary.metric) else min
        best = len(rivals) > 1 and float(score_text(summary.metric, summary.test_mean)) == extreme(rivals)
        rows.append(Row(summary.dataset, cells, best))
    return header, rows


def csv_text(summaries: Sequence[Summary]) -> str:
    """Give the results as CSV, one run a line, every field of `Summary`, metrics as fractions.

    The fields of a pipeline are there if some run has them. Seeds are separated by spaces; versions and overrides
    are JSON; a missing deviation is empty.
    """
    buffer = io.StringIO()
    rows = [(summary, to_json(summary)) for summary in sorted(summaries, key=order)]
    names = [f.name for f in fields(Summary) if any(f.name in row for _, row in rows) or f.name not in PIPELINE]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for summary, row in rows:
        row["seeds"] = " ".join(map(str, summary.seeds))
        row["versions"] = json.dumps(summary.versions, sort_keys=True, ensure_ascii=False)
        row["overrides"] = json.dumps(summary.overrides, ensure_ascii=False)
        writer.writerow(row)
    return buffer.getvalue()


def latex_text(summaries: Sequence[Summary]) -> str:
    """Give the results as a LaTeX tabular (package booktabs) with the best of each dataset in bold."""
    header, rows = table_rows(summaries)
    columns = "".join("r" if name in RIGHT else "l" for name in header)
    # A line break would end the comment and let the rest of a name into the document.
    commits = " ".join(joined(summary.commit for summary in summaries).split())
    lines = [
        f"% Commit: {commits}",
        "% Mean and sample standard deviation over seeds, shares in percent; needs \\usepackage{booktabs}.",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _latex_line(header),
    ]
    previous = None
    for row in rows:
        if row.dataset != previous:
            lines.append("\\midrule")
        previous = row.dataset
        lines.append(_latex_line(row.cells, bold=TEST if row.best else None))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def markdown_text(summaries: Sequence[Summary]) -> str:
    """Give the results as a Markdown table with the best of each dataset in bold."""
    header, rows = table_rows(summaries)
    rule = ["---:" if name in RIGHT else "---" for name in header]
    lines = [header, rule]
    for row in rows:
        cells = [_escape(cell, _MARKDOWN) for cell in row.cells]
        if row.best:
            cells[TEST] = f"**{cells[TEST]}**"
        lines.append(cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def duration(seconds: float) -> str:
    """Write seconds in the largest unit that gives at least one: ``59.3 s``, ``4.1 min``, ``2.0 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def memory(count: int) -> str:
    """Write bytes in MiB or, from one GiB on, in GiB."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"


def _three_digits(number: float) -> str:
    return f"{number:.3g}" if number < 999.5 else f"{number:.0f}"


def _latex_line(cells: list[str], bold: int | None = None) -> str:
    texts = [_escape(cell, _LATEX) for cell in cells]
    if bold is not None:
        texts[bold] = f"\\textbf{{{texts[bold]}}}"
    return " & ".join(texts) + r" \\"


def _escape(text: str, replacements: dict[str, str]) -> str:
    """Replace special characters in one pass; a table cell is one line, so breaks become spaces."""
    return re.sub(".", lambda match: replacements.get(match[0], match[0]), " ".join(text.split()))
