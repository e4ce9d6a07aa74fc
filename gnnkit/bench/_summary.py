"""One stored run reduced to the numbers people quote: mean and standard deviation over its seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from gnnkit.train import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gnnkit.bench._store import RunRecord


@dataclass(frozen=True)
class Summary:
    """What a run amounts to over its finished seeds; a metric printed in percent is a fraction here.

    Attributes:
        seeds: The finished seeds, in increasing order.
        test_std: Sample standard deviation (n - 1) of the test metric, None for a single seed.
        valid_std: The same for the validation metric.
        epochs_run: Epochs summed over the seeds.
        wall_seconds: Seconds summed over the seeds.
        peak_memory_bytes: The largest peak of any seed.
        commit: The commit that made the numbers; several, separated by commas, if seeds differ.
        versions: Library versions, by the same rule.
        device: The device, by the same rule.
        overrides: Settings that differ from the recipe, as ``path=value``.
        mode: How a pipeline has cut the network and the graph: ``"pipeline 4"``, ``"graph 2"``, ``"hybrid 4 x 2"``
            (stages and ways); None for other runs, as the next two.
        epoch_seconds: Median over the seeds of a training epoch's seconds.
        epoch_bytes: Bytes that a training epoch sends, all processes together.
    """

    dataset: str
    model: str
    metric: str
    seeds: list[int]
    test_mean: float
    test_std: float | None
    valid_mean: float
    valid_std: float | None
    epochs_run: int
    wall_seconds: float
    peak_memory_bytes: int
    commit: str
    versions: dict[str, str]
    device: str
    overrides: list[str]
    mode: str | None = None
    epoch_seconds: float | None = None
    epoch_bytes: int | None = None


PIPELINE = ("mode", "epoch_seconds", "epoch_bytes")  # fields that other runs lack


def summarise(record: RunRecord) -> Summary:
    """Reduce a run to its mean and standard deviation over seeds.

    Args:
        record: A stored run with at least one finished seed.

    Raises:
        ValueError: If no seed of the run has finished.
    """
    results = record.results
    if not results:
        raise ValueError(f"expected a run with at least one finished seed (got none in {record.folder.name})")
    test = [result["test"] for result in results]
    valid = [result["valid"] for result in results]
    libraries = sorted({name for result in results for name in result["versions"]})
    return Summary(
        dataset=record.spec["dataset"],
        model=record.spec["model"],
        metric=record.spec["metric"],
        seeds=[result["seed"] for result in results],
        test_mean=fmean(test),
        test_std=_spread(test),
        valid_mean=fmean(valid),
        valid_std=_spread(valid),
        epochs_run=sum(result["epochs_run"] for result in results),
        wall_seconds=sum(result["wall_seconds"] for result in results),
        peak_memory_bytes=max(result["peak_memory_bytes"] for result in results),
        commit=joined(result["commit"] for result in results),
        versions={name: joined(result["versions"].get(name, "absent") for result in results) for name in libraries},
        device=joined(result["device"] for result in results),
        overrides=list(record.spec["overrides"]),
        **_of_pipeline(results),
    )


def score_text(metric: str, mean: float, std: float | None = None, sign: str = "") -> str:
    """Write a metric's mean, and its deviation if ``sign`` joins one: in percent where it is a share.

    Args:
        metric: The metric's name; one that is not known is taken as a share, the more the better.
        mean: Its mean.
        std: Its deviation; None is written as a dash.
        sign: What stands between the two.
    """
    scale, digits = (100, 2) if is_share(metric) else (1, 4)
    spread = "–" if std is None else f"{scale * std:.{digits}f}"
    return f"{scale * mean:.{digits}f}" + (f"{sign}{spread}" if sign else "")


def is_share(metric: str) -> bool:
    """Whether a metric is printed in percent."""
    return metric not in METRICS or METRICS[metric].is_share


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return metric not in METRICS or METRICS[metric].higher_is_better


def to_json(summary: Summary) -> dict[str, Any]:
    """Give the summary as a dictionary that `json.dumps` takes; a missing deviation is None.

    Without the fields that only a pipeline has, where they are missing.
    """
    return {name: each for name, each in asdict(summary).items() if each is not None or name not in PIPELINE}


def order(summary: Summary) -> tuple[str, str, str, list[str]]:
    """Give the key by which every table and figure sorts its runs."""
    return summary.dataset, summary.metric, summary.model, summary.overrides


def run_labels(records: Sequence[RunRecord]) -> list[str]:
    """Name each run by its model, and by its overrides or its key where the model alone is ambiguous."""
    labels = [str(record.spec["model"]) for record in records]
    details = [
        [", ".join(record.spec["overrides"]) or "recipe" for record in records],
        [str(record.spec["key"])[:8] for record in records],
    ]
    for detail in details:
        names = [(record.spec["dataset"], label) for record, label in zip(records, labels, strict=True)]
        counts = Counter(names)
        labels = [
            f"{name[1]} ({extra})" if counts[name] > 1 else name[1] for name, extra in zip(names, detail, strict=True)
        ]
    return labels


def joined(values: Iterable[object]) -> str:
    """Give the distinct values as one comma-separated string, so that mixed provenance stays visible."""
    return ", ".join(sorted({str(value) for value in values}))


def _of_pipeline(results: list[dict[str, Any]]) -> dict[str, Any]:
    first = results[0]
    if "mode" not in first:
        return {}
    counts = {"pipeline": ["stages"], "graph": ["ways"]}.get(first["mode"], ["stages", "ways"])
    return {
        "mode": f"{first['mode']} {' x '.join(str(first[name]) for name in counts)}",
        "epoch_seconds": median(row["epoch_seconds"] for row in results),
        "epoch_bytes": sum(first["bytes_by_kind"].values()),
    }


def _spread(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
