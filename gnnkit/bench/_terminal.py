"""Results for a terminal, whatever its width, and for a program that reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gnnkit.bench._tables import RIGHT, TEST, Row, table_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnnkit.bench._summary import Summary

SPARED = ("Memory", "Time", "Metric", "Seeds", "Mode")  # columns that a narrow terminal leaves out, in this order


def terminal_table(summaries: Sequence[Summary], width: int) -> Group:
    """Give the results for a `rich` console of ``width`` columns.

    No cell is cut or folded but names that alone are wider than the terminal: where the table does not fit, columns are
    left out, which the line below it says. What a run sets differently stands in lines of its own.
    """
    header, rows = table_rows(summaries)
    changed = _without(header, rows, "Overrides")
    hidden: list[str] = []
    for name in SPARED:
        if _width(header, rows) <= width:
            break
        if _without(header, rows, name):
            hidden.append(name)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in header:
        number = name in RIGHT
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for position, row in enumerate(rows):
        last_of_group = position + 1 < len(rows) and rows[position + 1].dataset != row.dataset
        # Text objects, because rich would read square brackets in a plain string as markup.
        styled = [
            Text(cell, style="bold green" if row.best and column == TEST else "")
            for column, cell in enumerate(row.cells)
        ]
        table.add_row(*styled, end_section=last_of_group)
    lines = [
        Text(f"set for {row.dataset} {row.cells[1]}: {words}", overflow="fold")
        for row, words in zip(rows, changed, strict=bool(changed))
        if words
    ]
    about = "Mean ± standard deviation over seeds; bold: best mean of its dataset."
    left_out = f" Not shown for want of room: {', '.join(hidden)}." if hidden else ""
    return Group(table, *lines, Text(about + left_out, style="italic"))


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write a result to a file in a folder that need not be there, or to standard output where the path is ``-``."""
    text = json.dumps(document, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _without(header: list[str], rows: list[Row], name: str) -> list[str]:
    """Take a column out, in place; return its cells, none where there is no such column."""
    if name not in header:
        return []
    column = header.index(name)
    del header[column]
    return [row.cells.pop(column) for row in rows]


def _width(header: list[str], rows: list[Row]) -> int:
    """How wide the table is if nothing folds, two columns between two cells."""
    return sum(max(map(len, (name, *(row.cells[n] for row in rows)))) for n, name in enumerate(header)) + 2 * len(
        header
    )
