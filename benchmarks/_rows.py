"""A claim's result: what was measured, on what, and whether it holds; written as one JSON file a claim."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = ("torch", "torch-geometric", "numba", "numpy", "gnnkit")
# What a run of the claims itself rewrites does not make the code under test another one.
_GENERATED = (":!benchmarks/results", ":!README.md")


@dataclass(frozen=True)
class Claim:
    """One claim and its outcome.

    Attributes:
        name: File name of its result, the stem of its script.
        statement: What was measured, in one sentence.
        command: How to measure it again, from the repository's root.
        result: The outcome in one short line, for the README.
        rows: One flat dict of JSON values a measurement; the keys carry units.
        passed: Whether every threshold and every control held.
        control: What the negative controls did.
        commit: The commit whose code made the figures, where that is not the one checked out.
    """

    name: str
    statement: str
    command: str
    result: str
    rows: list[dict[str, Any]]
    passed: bool
    control: str
    commit: str = ""


def write(claim: Claim, results: Path = RESULTS) -> Path:
    """Write ``results/<name>.json`` atomically, show the claim, and return the file's path."""
    document = {
        **asdict(claim),
        "rows": [{key: _json_value(value) for key, value in row.items()} for row in claim.rows],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": claim.commit or commit(),
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{claim.name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
    show(claim)
    return path


def _json_value(value: Any) -> Any:
    """JSON has no NaN and no infinity: write them as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def show(claim: Claim) -> None:
    """Print the statement, the rows in a table for each kind, the controls, and ``PASS name`` or ``FAIL name`` last."""
    # A pipe has no width of its own: give the columns room instead of folding them at 80.
    console = Console(width=None if os.isatty(1) else 200, highlight=False)
    console.print(claim.statement, markup=False)
    for rows in _alike(claim.rows):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = Table(title=claim.name)
        for column in columns:
            table.add_column(column, justify="left" if column == columns[0] else "right")
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        console.print(table)
    for line in (f"result: {claim.result}", f"control: {claim.control}"):
        console.print(line, markup=False)
    print("PASS" if claim.passed else "FAIL", claim.name, flush=True)


def _alike(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows by their columns: a table holds those of which one has all the columns of the other."""
    tables: list[tuple[set[str], list[dict[str, Any]]]] = []
    for row in rows:
        for columns, members in tables:
            if columns <= row.keys() or columns >= row.keys():
                columns |= row.keys()
                members.append(row)
                break
        else:
            tables.append((set(row), [row]))
    return [members for _, members in tables]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )


def hardware() -> dict[str, Any]:
    """CPU model, usable cores, memory, and the transparent huge page settings of the kernel and of torch."""
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(_field("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "transparent_hugepage": huge_pages.read_text().strip() if huge_pages.exists() else "absent",
        "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "unset"),
    }


def _field(path: str, key: str) -> str:
    """The value of the first ``key: value`` line of a file in /proc, or an empty string."""
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def commit(root: Path = ROOT) -> str:
    """Short hash of the checked-out commit, ``-dirty`` when files differ from it; ``none`` without git."""
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return "none"
    changed = _git(root, "status", "--porcelain", "--", ".", *_GENERATED)
    return head + ("-dirty" if changed else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
