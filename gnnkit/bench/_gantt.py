"""A picture of an epoch of a pipeline: who computed, sent and waited when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gnnkit.bench._plots import _DPI, STYLE

if TYPE_CHECKING:
    from gnnkit.pipeline import Event, Timeline

# kind -> colour, what the legend calls it, and where in a rank's lane of height 1 it lies (from the top, height):
# work above, the link below; what was waited for lies over the pass that it interrupted
KINDS = {
    "forward": ("#56B4E9", "forward", 0.08, 0.52),
    "backward": ("#E69F00", "backward", 0.08, 0.52),
    "update": ("#009E73", "update", 0.08, 0.52),
    "wait": ("#d9d9d9", "wait", 0.08, 0.52),
    "send": ("#0072B2", "to another stage", 0.68, 0.22),
    "boundary": ("#CC79A7", "to another way", 0.68, 0.22),
}
_LABELLED = 0.012  # of the epoch: a narrower pass has no room for its chunk's number


def write_gantt(
    timeline: Timeline, path: Path | str, *, title: str = "", labels: Mapping[int, str] | None = None
) -> None:
    """Draw a timeline, measured or simulated: a lane a rank, passes with their chunk's number above, its link below.

    ``.png`` is a picture by matplotlib; ``.html`` one page that needs no network and no script, where each bar tells
    its times when pointed at.

    Args:
        timeline: Of one rank or several.
        path: Ends with ``.png`` or ``.html``.
        title: Above it; say whether it was measured or simulated.
        labels: Names of ranks, such as "stage 0, way 1"; "rank 0" where there is none.

    Raises:
        ValueError: There is no event, or another ending.

    Example:
        >>> from pathlib import Path
        >>> from gnnkit.bench import write_gantt
        >>> from gnnkit.pipeline import Event, Timeline
        >>> line = Timeline((Event(0, "forward", 0, 0.0, 1.0), Event(1, "forward", 0, 1.0, 2.0)), 2.0)
        >>> write_gantt(line, "two.html", title="simulated")
        >>> "rank 1: forward of chunk 0" in Path("two.html").read_text()
        True
    """
    path = Path(path)
    if not timeline.events:
        raise ValueError("timeline: expected at least one event (got none; a trainer keeps them with trace=True)")
    if path.suffix not in (".png", ".html"):
        raise ValueError(f"path: expected a file that ends with .png or .html (got {path.name!r})")
    names = [(labels or {}).get(rank, f"rank {rank}") for rank in timeline.ranks]
    if path.suffix == ".html":
        path.write_text(_html(timeline, names, title), encoding="utf-8")
        return
    with rc_context(STYLE):
        _figure(timeline, names, title).savefig(path, format="png", dpi=_DPI)


def _summary(timeline: Timeline) -> str:
    return f"{_seconds(timeline.epoch_seconds)} an epoch, {timeline.bubble_fraction:.0%} of it not computing"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _used(timeline: Timeline) -> list[str]:
    """The kinds that occur, in the order of the legend, which is the order in which they are drawn."""
    present = {event.kind for event in timeline.events}
    return [kind for kind in KINDS if kind in present]


def _drawn(timeline: Timeline) -> Iterable[tuple[int, Event]]:
    """Give lane and event, what lies on top last."""
    lane = {rank: index for index, rank in enumerate(timeline.ranks)}
    for kind in _used(timeline):
        yield from ((lane[event.rank], event) for event in timeline.events if event.kind == kind)


def _label(event: Event, epoch_seconds: float) -> str:
    wide = event.seconds >= _LABELLED * epoch_seconds
    return str(event.chunk) if wide and event.kind in ("forward", "backward") and event.chunk >= 0 else ""


def _figure(timeline: Timeline, names: Sequence[str], title: str) -> Figure:
    """Draw on a bare Figure, which leaves pyplot's global state and the user's backend alone."""
    figure = Figure(figsize=(11, 1.3 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    scale, unit = (1.0, "s") if timeline.epoch_seconds >= 1 else (1000.0, "ms")
    for lane, event in _drawn(timeline):
        colour, _, top, height = KINDS[event.kind]
        start, width = scale * event.start_seconds, scale * event.seconds
        axes.broken_barh([(start, width)], (lane + top, height), color=colour, edgecolor="white", linewidth=0.3)
        text = _label(event, timeline.epoch_seconds)
        if text:
            axes.text(start + width / 2, lane + top + height / 2, text, ha="center", va="center", fontsize=7)
    axes.set_title(f"{title} · {_summary(timeline)}" if title else _summary(timeline), fontsize=10)
    axes.set_yticks([lane + 0.34 for lane in range(len(names))], names)
    axes.set_ylim(len(names), 0)
    axes.set_xlim(0, scale * timeline.epoch_seconds)
    axes.set_xlabel(f"Time ({unit})")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")
    handles = [Patch(color=KINDS[kind][0], label=KINDS[kind][1]) for kind in _used(timeline)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8.5)
    return figure


def _html(timeline: Timeline, names: Sequence[str], title: str) -> str:
    """Make the page; the epoch is 1000 units wide, a lane 40 high, and names stand to the left of 0."""
    per_second = 1000 / timeline.epoch_seconds if timeline.epoch_seconds else 0.0
    depth = 40 * len(names)
    lines = [f'<path d="M0 {40 * lane}H1000"/>' for lane in range(len(names) + 1)]
    for tick in range(0, 1001, 200):
        lines.append(f'<path d="M{tick} 0V{depth}"/>')
        lines.append(f'<text x="{tick}" y="{depth + 14}">{_seconds(timeline.epoch_seconds * tick / 1000)}</text>')
    bars = [f'<text class="name" x="-8" y="{40 * lane + 18}">{escape(name)}</text>' for lane, name in enumerate(names)]
    numbers = []  # above all bars
    for lane, event in _drawn(timeline):
        colour, what, top, height = KINDS[event.kind]
        x, width, y = event.start_seconds * per_second, event.seconds * per_second, 40 * (lane + top)
        size = f", {event.num_bytes:,} bytes" if event.num_bytes else ""
        chunk = f" of chunk {event.chunk}" if event.chunk >= 0 else ""
        told = f"{names[lane]}: {what}{chunk}, {_seconds(event.start_seconds)} + {_seconds(event.seconds)}{size}"
        bars.append(
            f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.2):.2f}" height="{40 * height:.1f}" fill="{colour}">'
            f"<title>{escape(told)}</title></rect>"
        )
        text = _label(event, timeline.epoch_seconds)
        if text:
            numbers.append(f'<text x="{x + width / 2:.2f}" y="{y + 14:.1f}">{text}</text>')
    legend = "".join(f'<span style="background:{KINDS[kind][0]}"></span>{KINDS[kind][1]} ' for kind in _used(timeline))
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{_seconds(timeline.busy_seconds(rank))}<td>{timeline.sent_bytes(rank):,}"
        for rank, name in zip(timeline.ranks, names, strict=True)
    )
    return _PAGE.format(
        heading=escape(title or "An epoch"),
        summary=_summary(timeline),
        box=f"-130 -4 1150 {depth + 24}",
        chart="".join([*lines, *bars, *numbers]),
        legend=legend,
        rows=rows,
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{heading}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }}
svg {{ width: 100% }}
svg path {{ stroke: #ddd; stroke-width: .5 }}
svg rect {{ stroke: #fff; stroke-width: .3 }}
svg text {{ font-size: 10px; text-anchor: middle; pointer-events: none }}
svg text.name {{ text-anchor: end }}
p span {{ display: inline-block; width: 1em; height: 1em; margin: 0 .4em 0 1em; vertical-align: -.1em }}
td, th {{ padding: .1em 1.5em .1em 0; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
</style>
<h1>{heading}</h1>
<p>{summary}</p>
<svg viewBox="{box}">{chart}</svg>
<p>{legend}</p>
<table><tr><th>process<th>computing<th>bytes sent{rows}</table>
</html>
"""
