"""The page of the report: safe, inert, complete."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from stored_runs import NASTY, TEST, write_run

from gnnkit.bench._html import command, flatten, html_text
from gnnkit.bench._plots import _figure, svg_text
from gnnkit.bench._summary import summarise
from gnnkit.bench._tables import markdown_text


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


# ------------------------------------------------------------------ errors: the less the better, and no percents


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
