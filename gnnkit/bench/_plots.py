"""Learning curves and per-seed scores of stored runs, as a PNG file and as SVG for the HTML page."""

from __future__ import annotations

import io
from statistics import fmean, stdev
from textwrap import fill
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gnnkit.bench._summary import higher_is_better, is_share, order, run_labels, summarise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from gnnkit.bench._store import RunRecord

# Okabe and Ito's palette without its yellow, which vanishes on white; the line style changes with each lap.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_DPI = 200
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 9.5,
    "grid.color": "#e4e4e4",
    "svg.hashsalt": "gnnkit",  # element ids, and so the bytes, are the same on every call
    "figure.constrained_layout.h_pad": 0.12,  # inches
    "text.parse_math": False,  # a dollar sign in a dataset's name is a dollar sign
}


def plot_report(records: Sequence[RunRecord], path: Path) -> None:
    """Write the figure as a PNG file: a row for each dataset, learning curves beside per-seed scores.

    Args:
        records: Runs with at least one finished seed each.
        path: The file to write; its suffix does not matter.

    Raises:
        ValueError: If there is no run, or one of them has no finished seed.
    """
    with rc_context(STYLE):
        _figure(records).savefig(path, format="png", dpi=_DPI)


def svg_text(records: Sequence[RunRecord]) -> str:
    """Give the same figure as an ``<svg>`` element, identical bytes for identical runs.

    Raises:
        ValueError: If there is no run, or one of them has no finished seed.
    """
    with rc_context(STYLE):
        return svg_of(_figure(records))


def svg_of(figure: Figure) -> str:
    """Give a figure as an ``<svg>`` element; called within ``rc_context(STYLE)``, which makes the bytes repeat."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]  # an XML declaration may not stand inside an HTML page


def mean_curve(histories: Sequence[list[dict[str, Any]]], name: str) -> Iterator[tuple[int, float, float]]:
    """Give epoch, mean and standard deviation of a metric over the seeds still running at that epoch.

    The curve ends where fewer than half of the seeds remain: a few late seeds are not the run's mean.

    Args:
        histories: One history per seed, of any lengths.
        name: The metric's key in an epoch's row.
    """
    by_epoch: dict[int, list[float]] = {}
    for history in histories:
        for row in history:
            if name in row:  # a pipeline does not evaluate after every epoch
                by_epoch.setdefault(row["epoch"], []).append(row[name])
    for epoch, values in sorted(by_epoch.items()):
        if 2 * len(values) < len(histories):
            return
        yield epoch, fmean(values), stdev(values) if len(values) > 1 else 0.0


def _figure(records: Sequence[RunRecord]) -> Figure:
    """Draw on a bare Figure, which leaves pyplot's global state and the user's backend alone."""
    if not records:
        raise ValueError("expected at least one run to plot (got none)")
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: order(summarise(record))):
        groups.setdefault((record.spec["dataset"], record.spec["metric"]), []).append(record)
    heights = [max(3.4, 1.0 + 0.45 * len(group)) for group in groups.values()]
    figure = Figure(figsize=(10, sum(heights)), layout="constrained")
    axes = figure.subplots(
        len(groups), 2, squeeze=False, gridspec_kw={"width_ratios": [3, 2], "height_ratios": heights}
    )
    for (left, right), ((dataset, metric), group) in zip(axes, groups.items(), strict=True):
        counts = sorted({len(record.results) for record in group})
        seeds = "1 seed" if counts == [1] else f"{'–'.join(map(str, (counts[0], counts[-1])[: len(counts)]))} seeds"
        left.set_title(f"{fill(dataset, 60)} · {seeds}", fontweight="bold")
        labels = [fill(label, 26) for label in run_labels(group)]
        _curves(left, group, labels, metric)
        _strips(right, group, labels, metric)
    return figure


def _curves(axes: Axes, records: Sequence[RunRecord], labels: list[str], metric: str) -> None:
    """Draw each run's mean validation metric per epoch with a band of one standard deviation."""
    curves = []
    scale, unit = _scale(metric)
    for index, (record, label) in enumerate(zip(records, labels, strict=True)):
        colour = _COLOURS[index % len(_COLOURS)]
        style: Any = _STYLES[index // len(_COLOURS) % len(_STYLES)]
        histories = [record.history(result["seed"]) for result in record.results]
        curve = [(epoch, scale * mean, scale * std) for epoch, mean, std in mean_curve(histories, "valid")]
        epochs = [epoch for epoch, _, _ in curve]
        means = [mean for _, mean, _ in curve]
        low = [mean - std for _, mean, std in curve]
        high = [mean + std for _, mean, std in curve]
        marker = "." if len(epochs) == 1 else None  # a line through one point shows nothing
        axes.plot(epochs, means, color=colour, linestyle=style, linewidth=1.6, marker=marker, label=label)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.16, linewidth=0)
        curves.append(list(zip(epochs, means, strict=True)))
    columns = 1 + len(labels) // 7
    lines = sum(1 + label.count("\n") for label in labels) / columns
    legend = min(0.08 * lines + 0.04, 0.6)
    if higher_is_better(metric):
        top = min(axes.get_ylim()[1], 100.5) if is_share(metric) else axes.get_ylim()[1]  # a band may reach beyond
        axes.set_ylim(bottom=_bottom(curves, top=top, legend=legend), top=top)
    else:  # a falling curve is a rising one upside down
        floor = max(axes.get_ylim()[0], 0.0)
        turned = [[(epoch, -mean) for epoch, mean in curve] for curve in curves]
        axes.set_ylim(bottom=floor, top=-_bottom(turned, top=-floor, legend=legend))
    axes.set_xlim(left=0)
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"Validation {metric}{unit}, mean ± std")
    axes.grid(visible=True)
    axes.legend(
        loc="lower right" if higher_is_better(metric) else "upper right",
        fontsize=8.5,
        ncols=columns,
        framealpha=0.85,
        edgecolor="none",
    )


def _scale(metric: str) -> tuple[int, str]:
    return (100, " (%)") if is_share(metric) else (1, "")


def _bottom(curves: list[list[tuple[int, float]]], top: float, legend: float) -> float:
    """Give the lower end of the axis: below all but the first climb, and with room for the legend.

    The first tenth of a run climbs from chance level; an axis that began there would flatten the rest.
    The legend takes a share of the height, to the right; the later halves of the curves stay above it.
    """
    climbed = [mean for curve in curves for _, mean in curve[(len(curve) - 1) // 10 :]]
    last = max((epoch for curve in curves for epoch, _ in curve), default=0)
    late = [mean for curve in curves for epoch, mean in curve if 2 * epoch >= last]
    lowest, lowest_late = min(climbed, default=0.0), min(late, default=0.0)
    return min(lowest - 0.05 * (top - lowest), (lowest_late - legend * top) / (1 - legend))


def _strips(axes: Axes, records: Sequence[RunRecord], labels: list[str], metric: str) -> None:
    """Draw each run's seeds as points and, just above them, their mean and standard deviation."""
    scale, unit = _scale(metric)
    for index, record in enumerate(records):
        colour = _COLOURS[index % len(_COLOURS)]
        summary = summarise(record)
        scores = [scale * result["test"] for result in record.results]
        # Test sets are small enough for seeds to coincide: three levels keep equal scores apart.
        levels = [index + 0.14 + 0.08 * (seed % 3) for seed in range(len(scores))]
        axes.scatter(scores, levels, s=24, color=colour, alpha=0.65, linewidths=0)
        axes.errorbar(
            scale * summary.test_mean,
            index - 0.12,
            xerr=None if summary.test_std is None else scale * summary.test_std,
            fmt="D",
            color=colour,
            markersize=6,
            capsize=4,
            linewidth=1.6,
        )
    axes.set_title("Each seed, with mean ± std above")
    axes.set_xlabel(f"Test {metric}{unit}")
    axes.set_yticks(range(len(labels)), labels)
    centre, half = (len(labels) - 1) / 2, max(len(labels), 3) / 2 + 0.1
    axes.set_ylim(centre + half, centre - half)  # downwards, in the order of the legend
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")
