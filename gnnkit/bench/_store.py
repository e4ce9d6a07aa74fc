"""Where runs are kept: a folder each, in which a process killed at any moment leaves nothing half-written.

A run's folder holds ``run.json`` (what it is), ``results.jsonl`` (one line a finished seed),
``seed-<k>.epochs.jsonl`` (one line for every epoch executed, also those lost to a kill and executed again)
and, while a seed is training, ``seed-<k>.ckpt``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnkit.train._checkpoint import sync_folder

_SPEC = ("dataset", "model", "config", "key", "created")  # what the store itself relies on


@dataclass(frozen=True)
class RunRecord:
    """A stored run, as read.

    Attributes:
        folder: Where it lies.
        spec: What was run: ``dataset, model, task, metric, config, overrides, recipe, commit, versions,
            device, hardware, backend, key, created``.
        results: A row for each finished seed, in the order of the seeds.
    """

    folder: Path
    spec: dict[str, Any]
    results: list[dict[str, Any]]

    def history(self, seed: int) -> list[dict[str, Any]]:
        """Return the rows of a seed's epochs, each as it was last executed."""
        rows = {row["epoch"]: row for row in _read_lines(self.folder / f"seed-{seed}.epochs.jsonl")}
        return [rows[epoch] for epoch in sorted(rows)]

    def epochs_executed(self) -> int:
        """Count the epochs executed for all seeds, those that an interruption lost included."""
        return sum(len(_read_lines(path)) for path in self.folder.glob("seed-*.epochs.jsonl"))


class RunWriter:
    """A run being written, by one process at a time.

    Args:
        out: The folder of all runs.
        spec: What is run; the ``key`` in it tells runs apart.

    Raises:
        ValueError: Another process is writing this run.
    """

    def __init__(self, out: Path, spec: dict[str, Any]) -> None:
        self.folder = out / f"{spec['dataset'].replace(':', '-')}-{spec['model']}-{spec['key']}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lifts it when the process ends
        except BlockingIOError:
            self._lock.close()
            raise ValueError(f"{self.folder}: expected no other gnnkit process at work here (got one)") from None
        try:
            for path in self.folder.glob("*.jsonl"):
                _mend(path)
            if not (self.folder / "run.json").exists():
                _write_atomically(self.folder / "run.json", json.dumps(spec, indent=2) + "\n")
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let other processes write this run."""
        self._lock.close()

    def record(self) -> RunRecord:
        """Return the run as stored by now."""
        return read_run(self.folder)

    def checkpoint(self, seed: int) -> Path:
        """Return where a seed's checkpoint lies."""
        return self.folder / f"seed-{seed}.ckpt"

    def add_epoch(self, seed: int, row: dict[str, Any]) -> None:
        """Append an executed epoch; it outlives the process, though maybe not the machine."""
        _append(self.folder / f"seed-{seed}.epochs.jsonl", row)

    def add_result(self, row: dict[str, Any]) -> None:
        """Append a finished seed's row, force it to disk, and drop the seed's checkpoint."""
        _append(self.folder / "results.jsonl", row, sync=True)
        self.checkpoint(row["seed"]).unlink(missing_ok=True)


def run_key(identity: dict[str, Any]) -> str:
    """Return the 8 hexadecimal digits that stand for a run's identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def read_run(folder: Path) -> RunRecord:
    """Read a stored run.

    Raises:
        ValueError: The folder holds no run, or a file in it is damaged.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise ValueError(f"{folder}: expected a run with a run.json (got none)")
    try:
        spec = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON (got {error})") from None
    missing = [name for name in _SPEC if not isinstance(spec, dict) or name not in spec]
    if missing:
        raise ValueError(f"{path}: expected the description of a run (got one without {', '.join(missing)})")
    rows = _read_lines(folder / "results.jsonl")
    nameless = [row for row in rows if "seed" not in row]
    if nameless:
        raise ValueError(f"{folder / 'results.jsonl'}: expected a seed in every row (got {nameless[0]})")
    results = {row["seed"]: row for row in rows}
    return RunRecord(folder, spec, [results[seed] for seed in sorted(results)])


def find_runs(folders: Iterable[Path]) -> list[RunRecord]:
    """Read the runs in folders, each a run itself or a folder of runs.

    Of the runs in a folder of runs that differ in code, versions or device alone, the newest is read: name
    the folders of older ones to read them too.

    Raises:
        ValueError: A folder holds neither.
    """
    records: dict[Path, RunRecord] = {}
    for folder in folders:
        if (folder / "run.json").is_file():
            found = [read_run(folder)]
        else:
            found = _newest([read_run(path.parent) for path in sorted(folder.glob("*/run.json"))])
        if not found:
            raise ValueError(f"{folder}: expected a run or a folder of runs (got none)")
        records.update((record.folder.resolve(), record) for record in found)
    return list(records.values())


def _newest(records: list[RunRecord]) -> list[RunRecord]:
    by_settings: dict[str, RunRecord] = {}
    for record in sorted(records, key=lambda record: (record.spec["created"], record.folder.name)):
        by_settings[json.dumps(record.spec["config"], sort_keys=True)] = record
    return list(by_settings.values())


def _append(path: Path, row: dict[str, Any], sync: bool = False) -> None:
    _mend(path)
    with path.open("ab", buffering=0) as file:  # one write call: a killed process leaves the line or nothing
        file.write((json.dumps(row) + "\n").encode())
        if sync:
            os.fsync(file.fileno())
            sync_folder(path.parent)


def _mend(path: Path) -> None:
    """Cut off a last line that an interrupted write left in half; what it told is executed again."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        whole, _, tail = file.read().rpartition(b"\n")
        if _is_json(tail):
            file.write(b"\n")
        else:
            file.truncate(len(whole) + 1 if whole else 0)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Read rows; a last line that ends neither as JSON nor with a newline was being written and is left out."""
    *lines, tail = path.read_bytes().split(b"\n") if path.exists() else [b""]
    rows = []
    for number, line in enumerate([*lines, *([tail] if _is_json(tail) else [])], start=1):
        row = json.loads(line) if _is_json(line) else None
        if not isinstance(row, dict):
            raise ValueError(f"{path}: expected JSON in line {number} (got {line[:40]!r})")
        rows.append(row)
    return rows


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _write_atomically(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.tmp")
    with scratch.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)
