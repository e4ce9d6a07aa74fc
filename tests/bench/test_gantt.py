"""Pictures of timelines."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from gnnkit.bench import write_gantt
from gnnkit.bench._gantt import KINDS, _figure
from gnnkit.pipeline import Event, Timeline

LINE = Timeline(
    (
        Event(0, "forward", 3, 0.0, 2.0),
        Event(0, "send", 3, 2.0, 2.5, num_bytes=1234),
        Event(0, "wait", 3, 2.0, 3.0),
        Event(0, "backward", 3, 3.0, 4.0),
        Event(2, "forward", 3, 0.5, 1.5),
        Event(2, "wait", 3, 0.7, 0.9),
        Event(2, "boundary", 3, 0.6, 0.9, num_bytes=10),
        Event(2, "update", -1, 3.5, 4.0),
    ),
    4.0,
)


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.rects: list[dict[str, str | None]] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag == "rect":
            self.rects.append(dict(attrs))


def test_every_event_is_a_bar_where_it_happened() -> None:
    axes = _figure(LINE, ["rank 0", "rank 2"], "").axes[0]
    bars = [tuple(np.round(path.get_extents().extents, 3)) for c in axes.collections for path in c.get_paths()]
    assert len(bars) == len(LINE.events)
    for event in LINE.events:
        _, _, top, height = KINDS[event.kind]
        low = LINE.ranks.index(event.rank) + top
        assert tuple(np.round((event.start_seconds, low, event.end_seconds, low + height), 3)) in bars
    assert [text.get_text() for text in axes.texts] == ["3", "3", "3"]
    assert axes.get_ylim() == (2, 0)
    assert axes.get_xlim() == (0, 4)


def test_the_picture_is_a_png_with_the_kinds_colours(tmp_path: Path) -> None:
    write_gantt(LINE, tmp_path / "epoch.png", title="simulated")
    pixels = (255 * imread(tmp_path / "epoch.png")[..., :3]).round().astype(int)
    seen = {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in pixels.reshape(-1, 3)[::7]}
    assert {colour.lower() for colour, *_ in KINDS.values()} <= seen


def test_the_page_needs_nothing_else_and_says_what_each_bar_is(tmp_path: Path) -> None:
    write_gantt(LINE, tmp_path / "epoch.html", title="<b> & simulated", labels={0: "stage 0, way 0"})
    text = (tmp_path / "epoch.html").read_text()
    page = Tags()
    page.feed(text)
    assert len(page.rects) == len(LINE.events)
    assert not {"script", "link", "img", "iframe"} & set(page.names)
    assert "http" not in text
    assert "<b>" not in text
    assert "&lt;b&gt; &amp; simulated" in text
    assert "stage 0, way 0: to another stage of chunk 3, 2 s + 500 ms, 1,234 bytes" in text
    assert "rank 2: update, 3.5 s + 500 ms" in text
    assert re.search(r"stage 0, way 0<td>3 s<td>1,234", text)
    first = page.rects[0]
    assert (first["x"], first["width"]) == ("0.00", "500.00")


def test_an_empty_timeline_and_another_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"timeline: expected at least one event \(got none"):
        write_gantt(Timeline((), 0.0), tmp_path / "epoch.png")
    with pytest.raises(ValueError, match=r"path: expected .* \(got 'epoch.pdf'\)"):
        write_gantt(LINE, tmp_path / "epoch.pdf")
    assert list(tmp_path.iterdir()) == []
