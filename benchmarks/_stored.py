"""Long claims run by run: each result is stored, and the same command goes on after an interruption."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from _rows import commit

Run = TypeVar("Run")
Row = dict[str, Any]


def source_of(*packages: ModuleType) -> str:
    """A digest of the source of packages and modules, for runs that use these alone."""
    total = hashlib.sha256()
    for package in packages:
        assert package.__file__ is not None
        own = Path(package.__file__)
        for path in sorted(own.parent.rglob("*.py")) if own.name == "__init__.py" else [own]:
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def finish(
    wanted: Sequence[Run], execute: Callable[[Run], Row], key: Callable[[Run], str], store: Path, processes: int
) -> list[Row]:
    """Execute the runs that are not stored yet, in processes of their own.

    Args:
        wanted: Runs, which can be pickled.
        execute: Makes a run's row.
        key: Names a run by all that makes its numbers.
        store: File of rows, one a line.
        processes: How many run at a time.

    Returns:
        The rows of the wanted runs, in their order.
    """
    stored: dict[str, Row] = {}
    if store.exists():
        *whole, cut = store.read_text().split("\n")  # a kill may have cut the last line
        stored = {line["key"]: line["row"] for line in map(json.loads, whole)}
        if cut:
            store.write_text("".join(f"{line}\n" for line in whole))
    missing = [(number, run) for number, run in enumerate(wanted) if key(run) not in stored]
    store.parent.mkdir(parents=True, exist_ok=True)
    # its workers may be killed or exit: that is an error here, and not a wait for ever
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool, store.open("a") as file:
        jobs = {pool.submit(execute, run): number for number, run in missing}
        for count, job in enumerate(_completed(jobs, pool), start=1):
            number, row = jobs[job], job.result()
            name = key(wanted[number])
            stored[name] = row
            file.write(json.dumps({"key": name, "commit": commit(), "row": row}) + "\n")
            file.flush()
            print(f"{count}/{len(missing)} {wanted[number]}", flush=True)  # not what it gave: plans forbid to look
    return [stored[key(run)] for run in wanted]


def _completed(jobs: Iterable[Future[Row]], pool: ProcessPoolExecutor) -> Iterator[Future[Row]]:
    """The jobs as they end; after one that failed no further one begins."""
    for job in as_completed(jobs):
        if job.exception() is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        yield job
