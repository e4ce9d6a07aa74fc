"""A causal study as tables, a plot and one HTML page."""

from __future__ import annotations

import csv
import io
import shlex
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gnnkit.bench._causal import Cell, cells, facts, study_of, two_model_test
from gnnkit.bench._html import page
from gnnkit.bench._plots import STYLE, svg_of
from gnnkit.bench._store import RunRecord
from gnnkit.causal import Study

HEADER = ("Method", "MSE", "Study's minus this", "95 % interval", "d", "p (t)", "p (W)", "p (Holm)")
_NAMES = ("study.csv", "study.png", "study.html")


def study_table(record: RunRecord) -> Group:
    """The study for a terminal of 80 columns."""
    study = study_of(record)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("Method", "MSE", "95 % of difference", "p (Holm)"):
        table.add_column(name, justify="left" if name == "Method" else "right", no_wrap=name != "Method")
    for cell in cells(record):
        texts = _texts(cell)
        style = "bold green" if cell.method == study.graph_aware else ""
        table.add_row(*(Text(texts[column], style=style) for column in (0, 1, 3, 7)))
    seeds = len(record.results)
    about = (
        f"Mean squared error of effects ± sample deviation over {seeds} seed{'s' * (seeds > 1)}; differences and p of "
        f"{study.graph_aware} against each, p the larger of t and Wilcoxon, corrected by Holm."
    )
    lines = [Text(f"{name}: {_number(*value)}") for name, value in facts(record).items()]
    lines += [Text(text) for text in _verdicts(record)]
    return Group(table, *lines, Text(about, style="italic"))


def write_study(record: RunRecord, out: Path) -> list[Path]:
    """Write ``study.csv``, ``study.png`` and ``study.html`` and give their paths."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out, prefix=".study-") as folder:
        draft = Path(folder)
        (draft / _NAMES[0]).write_bytes(csv_text(record).encode())
        with rc_context(STYLE):
            figure(record).savefig(draft / _NAMES[1], format="png", dpi=200)
        (draft / _NAMES[2]).write_bytes(html_text(record).encode())
        return [(draft / name).replace(out / name) for name in _NAMES]


def csv_text(record: RunRecord) -> str:
    """Every error of every seed, one a line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["method", "seed", "mse"])
    for cell in cells(record):
        writer.writerows([cell.method, row["seed"], row["errors"][cell.method]] for row in record.results)
    return buffer.getvalue()


def html_text(record: RunRecord) -> str:
    """The study as one HTML page without scripts."""
    study = study_of(record)
    with rc_context(STYLE):
        drawing = svg_of(figure(record))
    return page(
        "study.html.j2",
        title=_title(study),
        header=HEADER,
        rows=[(_texts(cell), cell.method == study.graph_aware) for cell in cells(record)],
        subject=study.graph_aware,
        seeds=len(record.results),
        figure=Markup(drawing),
        facts={name: _number(*value) for name, value in facts(record).items()},
        verdicts=_verdicts(record),
        command=command(record),
        provenance={
            "Commit": record.spec["commit"],
            "Hardware": record.spec["hardware"],
            "Versions": " · ".join(f"{name} {version}" for name, version in record.spec["versions"].items()),
        },
    )


def command(record: RunRecord) -> str:
    """Give the command that repeats a study, or one for each run of seeds that follow each other."""
    default, numbers = Study(mode=record.spec["config"]["mode"]), sorted(row["seed"] for row in record.results)
    words = ["gnnkit", "causal", "study"]
    for name, value in record.spec["config"].items():
        if name == "mode" or value != getattr(default, name):
            flag = "--" + ("nodes" if name == "num_nodes" else name)
            words += [flag] if value is True else [flag, str(value)]
    commands = []
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        seeds = [seed for _, seed in run]
        first = ["--first", str(seeds[0])] if seeds[0] else []
        commands.append(shlex.join([*words, *first, "--seeds", str(len(seeds))]))
    return " && ".join(commands)


def figure(record: RunRecord) -> Figure:
    """Errors of every method and seed, the best mean first, on a logarithmic axis."""
    found, study = cells(record), study_of(record)
    drawn = Figure(figsize=(9, 1.2 + 0.32 * len(found)), layout="constrained")
    axes = drawn.subplots()
    for place, cell in enumerate(found):
        colour = "#D55E00" if cell.method == study.graph_aware else "#0072B2"
        levels = [place + 0.1 * (number % 3 - 1) for number in range(len(cell.errors))]
        axes.scatter([max(error, 1e-6) for error in cell.errors], levels, s=16, color=colour, alpha=0.45, linewidths=0)
        axes.plot(max(cell.mean, 1e-6), place, "D", color=colour, markersize=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(found)), [cell.method for cell in found])
    axes.invert_yaxis()
    axes.set_xlabel("Mean squared error of the effects; points are seeds, diamonds means")
    axes.set_title(_title(study))
    axes.grid(visible=True, axis="x")
    return drawn


def _title(study: Study) -> str:
    if study.mode == "paper":
        return f"Published data, {study.effect} on {study.graph}, {study.network}"
    return f"Repaired data on {study.graph}, {100 * study.share:g} % of the variance of effects through the graph"


def _texts(cell: Cell) -> list[str]:
    c = cell.comparison
    own = [cell.method, _number(cell.mean, cell.deviation)]
    if c is None:
        return [*own, *["–"] * 6]
    ends = f"{c.low:+.3f} to {c.high:+.3f}"
    return [
        *own,
        f"{c.difference:+.3f}",
        ends,
        f"{c.size:+.2f}",
        f"{c.t_p:.2g}",
        f"{c.wilcoxon_p:.2g}",
        f"{c.holm_p:.2g}",
    ]


def _number(mean: float, deviation: float | None) -> str:
    return f"{mean:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def _verdicts(record: RunRecord) -> list[str]:
    """The paper's two-model test, as it is and with a constant in the linear stage."""
    study = study_of(record)
    if study.mode != "paper":
        return []
    lines = []
    for effect, about in (("linear-no-intercept", "as published"), ("linear", "with an intercept")):
        test: dict[str, Any] | None = two_model_test(record, f"mlp + {effect}", f"{study.network} + {effect}")
        if test is not None:
            verdict = "POSITIVE" if test["positive"] else "NEGATIVE"
            lines.append(f"two-model test {about}: {verdict} (p {test['p']:.2g}, ratio of errors {test['ratio']:.2f})")
    return lines
