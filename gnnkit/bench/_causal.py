"""Causal studies seed by seed, stored and continued, and what their seeds say together."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gnnkit.bench import _provenance as provenance
from gnnkit.bench._store import RunRecord, RunWriter, run_key
from gnnkit.causal import Comparison, Study, compare, run_seed


def run_study(
    study: Study,
    seeds: Sequence[int],
    *,
    root: str | None = None,
    out: Path = Path("runs/causal"),
    told: Callable[[dict[str, Any]], None] = lambda row: None,
) -> RunRecord:
    """Run a study's seeds that are not stored yet; the same call continues an interrupted one.

    Args:
        study: What is simulated and asked.
        seeds: Of the simulations and the learners.
        root: Folder of the raw data, for real graphs.
        out: Folder of the stored studies.
        told: Called with the row of every seed, `gnnkit.causal.run_seed`'s with ``wall_seconds``.

    Raises:
        ValueError: No seed, a seed twice, settings that do not fit, or another process at work on the study.
        ImportError: EconML is asked for and absent.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ValueError(f"seeds: expected distinct numbers >= 0, at least one, below 2^32 (got {list(seeds)})")
    packages = ("econml",) if study.peers else ()
    identity = {
        "config": asdict(study),
        "source": provenance.source_digest(),
        "versions": provenance.versions(packages),
    }
    spec = {
        "dataset": study.graph,
        "model": f"{study.mode}-study",
        "config": identity["config"],
        "versions": identity["versions"],
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "key": run_key(identity),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    writer = RunWriter(out, spec)
    try:
        done = {row["seed"]: row for row in writer.record().results}
        for seed in seeds:
            if seed not in done:
                began = time.perf_counter()
                done[seed] = run_seed(study, seed, root) | {"wall_seconds": time.perf_counter() - began}
                writer.add_result(done[seed])
            told(done[seed])
        record = writer.record()
    finally:
        writer.close()
    return dataclasses.replace(record, results=[row for row in record.results if row["seed"] in set(seeds)])


@dataclass(frozen=True)
class Cell:
    """A method's errors over the seeds.

    Attributes:
        method: Nuisances and effect, or a learner.
        errors: One a seed, mean squared errors of the effects.
        comparison: Of the method that the study is about with this one; None for itself and where there is one seed.
    """

    method: str
    errors: list[float]
    comparison: Comparison | None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.errors)

    @property
    def deviation(self) -> float | None:
        """Sample deviation over seeds, None of one seed."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None


def cells(record: RunRecord) -> list[Cell]:
    """Every method of a stored study, the best first."""
    subject = study_of(record).graph_aware
    errors: dict[str, list[float]] = {}
    for row in record.results:
        for method, error in row["errors"].items():
            errors.setdefault(method, []).append(error)
    rivals = [method for method in errors if method != subject]
    found: dict[str, Comparison] = {}
    if len(record.results) > 1:
        found = {comparison.rival: comparison for comparison in compare(errors, subject, rivals)}
    rows = [Cell(method, values, found.get(method)) for method, values in errors.items()]
    return sorted(rows, key=lambda cell: cell.mean)


def facts(record: RunRecord) -> dict[str, tuple[float, float | None]]:
    """Mean and sample deviation over seeds of what `run_seed` tells of the data and of groups of nodes."""
    values = {name: [row["facts"][name] for row in record.results] for name in record.results[0]["facts"]}
    return {name: (statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else None) for name, v in values.items()}


def study_of(record: RunRecord) -> Study:
    """The study that was stored."""
    return Study(**record.spec["config"])


def two_model_test(record: RunRecord, baseline: str, ablation: str) -> dict[str, Any] | None:
    """The paper's test for effects that come through the graph; None of one seed.

    Positive if the graph-aware method differs from ``ablation`` with p < 0.05 (paired t) and the mean error of
    ``baseline`` is more than twice its own: the p-value and the ratio have different opponents.
    """
    by_method = {cell.method: cell for cell in cells(record)}
    comparison, own = by_method[ablation].comparison, by_method[study_of(record).graph_aware]
    if comparison is None:
        return None
    ratio = by_method[baseline].mean / (own.mean + 1e-9)
    return {
        "baseline": baseline,
        "ablation": ablation,
        "p": comparison.t_p,
        "ratio": ratio,
        "positive": comparison.t_p < 0.05 and ratio > 2,
    }
