"""The benchmark: seeds of one model on one dataset, each trained, validated and tested by the protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import gnnkit
from gnnkit import datasets
from gnnkit.bench import _provenance as provenance
from gnnkit.bench._heuristics import HEURISTICS, score_heuristic
from gnnkit.bench._inputs import SampledInputs, check, check_effect, traffic
from gnnkit.bench._links import best_of_each, build_link, link_task
from gnnkit.bench._models import build
from gnnkit.bench._recipes import BenchConfig, recipe
from gnnkit.bench._store import RunRecord, RunWriter, run_key
from gnnkit.train import (
    FitResult,
    GraphPrediction,
    LinkPrediction,
    NodeClassification,
    Task,
    fit,
    override,
    seed_everything,
)


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a benchmark tells while it runs; each function may be replaced.

    Attributes:
        begin: ``begin(seed, epochs_done, max_epochs)`` when a seed starts or continues.
        epoch: ``epoch(seed, row)`` after every epoch.
        end: ``end(row)`` with a seed's result, also one found finished.
    """

    begin: Callable[[int, int, int], None] = lambda seed, done, total: None
    epoch: Callable[[int, dict[str, float]], None] = lambda seed, row: None
    end: Callable[[dict[str, Any]], None] = lambda row: None


def run_benchmark(
    dataset: str,
    model: str,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    root: str | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    out: Path = Path("runs"),
    progress: Progress | None = None,
) -> RunRecord:
    """Train and test a model on a dataset for each seed, and store the run; seeds already stored are kept.

    The test score is the one at the best validation epoch. Called again with the same arguments after an
    interruption, it continues, and ends with the numbers of an unbroken run.

    Args:
        dataset: A name of `gnnkit.datasets.names`.
        model: A key of `gnnkit.bench.MODELS`.
        seeds: Seeds of the splits (where the protocol draws them), the weights and the dropout.
        root: Folder of the raw data; None for ``GNNKIT_DATA``, else the user's cache.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``.
        overrides: Settings such as ``"train.lr=0.02"``.
        out: Folder of the stored runs.
        progress: Told what happens.

    Returns:
        The stored run, with the results of the asked seeds.

    Raises:
        ValueError: An unknown name, setting or device, or a run that another process is writing.
        FileNotFoundError: The raw data are missing and cannot be downloaded.
        FloatingPointError: Training diverged.

    Example:
        >>> import tempfile, pathlib
        >>> from gnnkit.bench import run_benchmark, summarise
        >>> with tempfile.TemporaryDirectory() as out:
        ...     record = run_benchmark("karate", "gcn", seeds=[0, 1], device="cpu", out=pathlib.Path(out))
        >>> summarise(record).seeds
        [0, 1]
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ValueError(f"seeds: expected distinct numbers >= 0, at least one, below 2^32 (got {list(seeds)})")
    progress = progress or Progress()
    config = override(recipe(dataset, model, root), *overrides)
    if (config.dataset, config.model_name) != (dataset, model):
        raise ValueError(f"--set: expected settings (got another dataset or model: {', '.join(overrides)})")
    target = provenance.resolve_device(device)
    card = datasets.card(dataset, root)
    check_effect(overrides, card.task, model if model in HEURISTICS else None)
    check(config.loader, config.features, config.model.num_layers, card.task, card.name)
    data = _scaled(datasets.load(dataset, root), config)
    writer = RunWriter(out, _spec(config, list(overrides), target, data))
    try:
        done = {row["seed"]: row for row in writer.record().results}
        inputs = None
        if config.loader.kind == "neighbor":
            inputs = SampledInputs(data, config.loader, config.features, config.model.num_layers)
        for seed in seeds:
            if seed in done:
                writer.checkpoint(seed).unlink(missing_ok=True)  # killed after the result, before the clean-up
            else:
                _run_seed(writer, data, inputs, config, seed, target, progress)
                done = {row["seed"]: row for row in writer.record().results}
            progress.end(done[seed])
        record = writer.record()
    finally:
        writer.close()
    return dataclasses.replace(record, results=[row for row in record.results if row["seed"] in set(seeds)])


def _spec(config: BenchConfig, overrides: list[str], device: torch.device, data: Any) -> dict[str, Any]:
    card = data.card
    settings = dataclasses.asdict(config)
    identity = {
        "config": settings,
        "data": data.raw_digest,
        "source": provenance.source_digest(),
        "versions": provenance.versions(card.packages),
        "device": device.type,
    }
    return {
        "dataset": config.dataset,
        "model": config.model_name,
        "task": card.task,
        "metric": card.metric,
        "config": settings,
        "data": data.raw_digest,
        "overrides": overrides,
        "recipe": config.recipe,
        "commit": provenance.commit(),
        "versions": identity["versions"],
        "device": device.type,
        "hardware": provenance.hardware(),
        "backend": "gnnkit" if config.accelerate else "torch-geometric",
        "key": run_key(identity),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _scaled(data: Any, config: BenchConfig) -> Any:
    if config.features.scale == "rows":
        data.x = data.x / data.x.sum(dim=1, keepdim=True).clamp(min=1)
    return data


def _task(data: Any, split: Any, config: BenchConfig, device: torch.device) -> Task:
    card = data.card
    if card.task == "link_prediction":
        return link_task(data, split, config.link, config.train.batch_size, device)
    if card.task == "node_classification":
        return NodeClassification(data.clone().to(device), split.to(device), card.metric, evaluator=card.evaluator)
    return GraphPrediction(
        data, split, card.metric, batch_size=config.train.batch_size, evaluator=card.evaluator, device=device
    )


def _run_seed(
    writer: RunWriter,
    data: Any,
    inputs: SampledInputs | None,
    config: BenchConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> None:
    split = data.card.split(data, seed)
    seed_everything(seed)
    task: Task
    store = None
    if inputs is None:
        task = _task(data, split, config, device)
    else:
        task, store = inputs.task(split, device, writer.folder)
    if config.model_name in HEURISTICS:
        assert isinstance(task, LinkPrediction)
        model, result = torch.nn.Module(), score_heuristic(config.model_name, task)
        writer.add_epoch(seed, result.best)
    else:
        model = _model(data, inputs is None, task, config, device)
        result = _fit(writer, model, task, config, seed, progress)
    spec = writer.record().spec
    writer.add_result(
        {
            "seed": seed,
            "test": result.best["test"],
            "valid": result.best["valid"],
            "train": result.best["train"],
            "best_epoch": result.best["epoch"],
            "epochs_run": result.history[-1]["epoch"],
            "wall_seconds": result.wall_seconds,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "peak_memory_bytes": provenance.peak_memory_bytes(device),
            **{name: spec[name] for name in ("recipe", "overrides", "backend")},
            "commit": provenance.commit(),
            "versions": provenance.versions(data.card.packages),
            "device": str(device),
            **({} if store is None else traffic(store)),
            **best_of_each(result.history),
        }
    )


def _model(data: Any, whole: bool, task: Task, config: BenchConfig, device: torch.device) -> torch.nn.Module:
    if isinstance(task, LinkPrediction):
        model = build_link(config.model_name, data, config.link, task.graph).to(device)
    else:
        model = build(config.model_name, data.card, config.model, one_graph=whole).to(device)
    if config.accelerate:
        gnnkit.accelerate(model)
    return model


def _fit(
    writer: RunWriter, model: torch.nn.Module, task: Task, config: BenchConfig, seed: int, progress: Progress
) -> FitResult:

    def on_epoch(row: dict[str, float]) -> None:
        writer.add_epoch(seed, row)
        progress.epoch(seed, row)

    def on_start(epochs_done: int) -> None:
        progress.begin(seed, epochs_done, config.train.max_epochs)

    return fit(model, task, config.train, checkpoint=writer.checkpoint(seed), on_start=on_start, on_epoch=on_epoch)
