"""Short runs of the benchmark, and what must not depend on interruptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gnnkit.bench import RunRecord, run_benchmark

SHORT = ("train.max_epochs=25", "train.checkpoint_every=10")


def bench(
    out: Path, model: str = "gcn", seeds: Sequence[int] = (0, 1), overrides: Sequence[str] = SHORT, **more: Any
) -> RunRecord:
    """Run the karate club on the CPU, for a few epochs."""
    return run_benchmark("karate", model, seeds=seeds, device="cpu", out=out, overrides=overrides, **more)


def scores(record: RunRecord) -> list[tuple[Any, ...]]:
    """What must not depend on interruptions."""
    names = ("seed", "test", "valid", "train", "best_epoch", "epochs_run")
    return [tuple(row[name] for name in names) for row in record.results]
