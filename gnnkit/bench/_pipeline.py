"""A deep network trained by a pipeline on a dataset, over seeds; run by every process that torchrun started."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gnnkit import datasets
from gnnkit.bench import _provenance as provenance
from gnnkit.bench._pipeline_config import PipelineConfig, build_network, pipeline_config
from gnnkit.bench._pipeline_part import Share, take_share
from gnnkit.bench._run import Progress
from gnnkit.bench._store import RunRecord, RunWriter, run_key
from gnnkit.bench._summary import summarise, to_json
from gnnkit.datasets import Card
from gnnkit.train import seed_everything
from gnnkit.train._loop import better
from gnnkit.train._metrics import metric_named
from gnnkit.train._node import node_scores

if TYPE_CHECKING:
    from gnnkit.data import Split
    from gnnkit.pipeline import PipelineTrainer
    from gnnkit.pipeline._launch import Launch

_TRAINING = ("activations", "gradients", "boundary", "boundary_gradients", "parameters")  # kinds of messages


def run_pipeline(
    dataset: str,
    model: str,
    *,
    seeds: Sequence[int] = (0,),
    root: str | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    out: Path = Path("runs"),
    progress: Progress | None = None,
) -> RunRecord | None:
    """Train and test a deep network on a dataset for each seed by a pipeline, and store the run.

    Called in every process that torchrun started, or in one alone, which then executes the whole plan. The test score
    is that of the best of the exact evaluations on the validation nodes. Called again after an interruption, also by
    torchrun itself, it goes on from the newest checkpoints, to the numbers of an unbroken run.

    Args:
        dataset: A name of `gnnkit.datasets.names` whose task is one class a node.
        model: A key of `gnnkit.pipeline.adapters.MODELS`.
        seeds: Seeds of the splits (where the protocol draws them), the weights, the dropout and the chunks' order.
        root: Folder of the raw data; None for ``GNNKIT_DATA``, else the user's cache.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``.
        overrides: Settings such as ``"plan.mode=hybrid"``.
        out: Folder of the stored runs, which all processes share.
        progress: Told what happens, in the process that stores it.

    Returns:
        The stored run on rank 0, with the results of the asked seeds; None on other ranks.

    Raises:
        ValueError: An unknown name or setting, settings that do not fit each other, the dataset or the number of
            processes, a checkpoint of another run, or a run that another gnnkit process is writing.
        PeerError: Another process does not answer.
        FloatingPointError: Training diverged.

    Example:
        >>> import tempfile, pathlib
        >>> from gnnkit.bench import run_pipeline
        >>> settings = ["plan.stages=2", "model.num_layers=4", "model.hidden_channels=8", "train.epochs=5"]
        >>> with tempfile.TemporaryDirectory() as out:
        ...     record = run_pipeline("karate", "gcnii", device="cpu", overrides=settings, out=pathlib.Path(out))
        >>> record.results[0]["chunks"], record.results[0]["epochs_run"]
        (8, 5)
    """
    from gnnkit.pipeline._launch import launched, let_rank_0_speak, torchrun_place

    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**32:
        raise ValueError(f"seeds: expected distinct numbers >= 0, at least one, below 2^32 (got {list(seeds)})")
    try:
        config = pipeline_config(dataset, model, root, overrides, torchrun_place()[1])
    except ValueError:
        let_rank_0_speak()
        raise
    target = provenance.resolve_device(device)
    process = config.process
    with launched(target, threads=process.threads, timeout_seconds=process.timeout_seconds) as here:
        run = _Run(config, here, root, overrides, out, progress or Progress())
        try:
            return run.all_seeds(seeds)
        finally:
            run.close()


class _Run:
    """The seeds of one run, in one process of several."""

    def __init__(
        self,
        config: PipelineConfig,
        here: Launch,
        root: str | None,
        overrides: Sequence[str],
        out: Path,
        progress: Progress,
    ) -> None:
        from gnnkit.pipeline._transport import Transport

        self.config, self.here, self.progress = config, here, progress
        self.card = datasets.card(config.dataset, root)
        self.metric = metric_named(self.card.metric, self.card.evaluator)
        ways = config.plan.shape(here.processes)[1]

        def place(rank: int) -> str:
            return "stage {}, way {}".format(*divmod(rank, ways))

        self.writer: RunWriter | None = None
        self.sent: dict[str, int] = {}  # bytes of the last epoch, by this process
        preparing = Transport(timeout_seconds=config.process.prepare_seconds, describe=place)
        self.share: Share = take_share(config, here, root, preparing)
        preparing.barrier()
        preparing.close()
        self.transport = Transport(timeout_seconds=config.process.timeout_seconds, describe=place)
        if here.rank == 0:
            self.writer = RunWriter(out, _spec(config, self.card, list(overrides), here, self.share))
        self.folder: Path = self.transport.broadcast_object(self.writer.folder if self.writer else None, 0)

    def close(self) -> None:
        """Let other runs write here."""
        if self.writer is not None:
            self.writer.close()

    def all_seeds(self, seeds: Sequence[int]) -> RunRecord | None:
        """Train what is not stored yet, and return what is."""
        for seed in seeds:
            done = {row["seed"] for row in self.writer.record().results} if self.writer else None
            if seed not in self.transport.broadcast_object(done, 0):
                self._one_seed(seed)
            if self.writer is not None:
                shutil.rmtree(self._checkpoint_folder(seed), ignore_errors=True)
                self.progress.end(next(row for row in self.writer.record().results if row["seed"] == seed))
        if self.writer is None:
            return None
        record = self.writer.record()
        return dataclasses.replace(record, results=[row for row in record.results if row["seed"] in set(seeds)])

    def _checkpoint_folder(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}.checkpoints"

    def _one_seed(self, seed: int) -> None:
        from gnnkit.pipeline import Checkpoints

        config = self.config.train
        trainer, split = self._trainer(seed)
        settings = {**dataclasses.asdict(self.config), "seed": seed, "data": self.share.raw_digest}
        del settings["process"]  # changes no number
        checkpoints = Checkpoints(self._checkpoint_folder(seed), trainer, settings)
        notes = checkpoints.restore() or {"history": [], "wall_seconds": 0.0}
        history: list[dict[str, float]] = notes["history"]
        begun = time.perf_counter() - notes["wall_seconds"]
        if self.writer is not None:
            self.progress.begin(seed, trainer.epoch, config.epochs)
        while trainer.epoch < config.epochs:
            row = self._epoch(trainer, split)
            history.append(row)
            if self.writer is not None:
                self.writer.add_epoch(seed, row)
                known = next((each for each in reversed(history) if "valid" in each), None)
                if known is not None:
                    self.progress.epoch(seed, {**known, **row})
            # not after the last: who goes on from a checkpoint then trains an epoch, and knows what it sends
            if trainer.epoch < config.epochs and trainer.epoch % config.checkpoint_every == 0:
                checkpoints.save({"history": history, "wall_seconds": time.perf_counter() - begun})
        self._store(trainer, seed, history, time.perf_counter() - begun)

    def _trainer(self, seed: int) -> tuple[PipelineTrainer, Split | None]:
        """The trainer of a seed, and on rank 0 the split."""
        from gnnkit.pipeline import PipelineTrainer

        config, share = self.config.train, self.share
        split = self.card.split(share.data, seed) if self.here.rank == 0 else None
        train = self.transport.broadcast_object(split.train if split is not None else None, 0)
        seed_everything(seed)
        network = build_network(self.config, self.card)
        hops = set(network.layers.parameters())
        decay = config.weight_decay if config.hop_weight_decay is None else config.hop_weight_decay

        def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
            groups = [
                {"params": [p for p in parameters if p in hops], "weight_decay": decay},
                {"params": [p for p in parameters if p not in hops], "weight_decay": config.weight_decay},
            ]
            return torch.optim.Adam([group for group in groups if group["params"]], lr=config.lr)

        trainer = PipelineTrainer(
            network,
            dataclasses.replace(share.plan, seed=seed),
            share.part,
            share.features,
            share.y,
            train,
            optimizer=adam,
            refresh=config.refresh,
            prime=config.prime,
            recompute=config.recompute,
            precision=config.precision,
            seed=seed,
            device=self.here.device,
            transport=self.transport,
        )
        return trainer, split

    def _epoch(self, trainer: PipelineTrainer, split: Split | None) -> dict[str, float]:
        """Train an epoch, and evaluate it where that is due; scores are rank 0's."""
        config, sent = self.config.train, dict(self.transport.sent_bytes)
        begun = time.perf_counter()
        loss = trainer.train_epoch()
        row = {"epoch": trainer.epoch, "loss": loss, "seconds": time.perf_counter() - begun}
        self.sent = {kind: self.transport.sent_bytes[kind] - sent[kind] for kind in _TRAINING}
        if trainer.epoch % config.eval_every == 0 or trainer.epoch == config.epochs:
            outputs = trainer.infer()
            if outputs is not None and split is not None:
                row |= node_scores(outputs.cpu(), self.share.y, split, self.metric)
        return row

    def _store(self, trainer: PipelineTrainer, seed: int, history: list[dict[str, float]], seconds: float) -> None:
        """Store the result of a seed; what each process knows of itself comes together on rank 0."""
        from gnnkit.pipeline._launch import all_gather

        facts = all_gather((self.sent, provenance.peak_memory_bytes(self.here.device)))
        network = trainer.network_state()
        if self.writer is None:
            return
        assert network is not None
        best: dict[str, float] | None = None
        for row in history:
            if "valid" in row and better(row, best, self.metric, "metric"):
                best = row
        assert best is not None
        spec, plan = self.writer.record().spec, self.share.plan
        peaks = [peak for _, peak in facts]
        self.writer.add_result(
            {
                "seed": seed,
                "test": best["test"],
                "valid": best["valid"],
                "train": best["train"],
                "best_epoch": best["epoch"],
                "epochs_run": len(history),
                "wall_seconds": seconds,
                "parameters": sum(p.numel() for p in build_network(self.config, self.card).parameters()),
                "peak_memory_bytes": max(peaks),
                **{name: spec[name] for name in ("recipe", "overrides", "backend", "mode", "partitioner")},
                "processes": self.here.processes,
                "stages": plan.num_stages,
                "layers_by_stage": [high - low for low, high in plan.stages],
                "ways": plan.ways,
                "chunks": plan.num_chunks,
                "epoch_seconds": median(row["seconds"] for row in history),
                "bytes_by_kind": {kind: sum(sent[kind] for sent, _ in facts) for kind in _TRAINING},
                "peak_memory_bytes_by_rank": peaks,
                "weights_sha256": _digest(network),
                "commit": provenance.commit(),
                "versions": _versions(self.card, self.share),
                "device": str(self.here.device),
            }
        )


def pipeline_json(record: RunRecord) -> dict[str, Any]:
    """Give the summary of a pipeline run as a dictionary that `json.dumps` takes: see `Summary`, and what of the plan.

    ``epoch_seconds`` is the median over epochs and seeds, ``bytes_by_kind`` those of a training epoch, summed over the
    processes, ``peak_memory_bytes_by_rank`` the largest of any seed.
    """
    first = record.results[0]
    names = ("mode", "partitioner", "processes", "stages", "layers_by_stage", "ways", "chunks", "bytes_by_kind")
    peaks = zip(*(row["peak_memory_bytes_by_rank"] for row in record.results), strict=True)
    return {
        **to_json(summarise(record)),
        **{name: first[name] for name in names},
        "epoch_seconds": median(row["epoch_seconds"] for row in record.results),
        "peak_memory_bytes_by_rank": [max(each) for each in peaks],
    }


def _spec(config: PipelineConfig, card: Card, overrides: list[str], here: Launch, share: Share) -> dict[str, Any]:
    settings = {**dataclasses.asdict(config), "processes": here.processes}
    versions = _versions(card, share)
    identity = {
        "config": {name: each for name, each in settings.items() if name != "process"},  # that changes no number
        "data": share.raw_digest,
        "plan": share.plan.digest(),
        "source": provenance.source_digest(),
        "versions": versions,
        "device": here.device.type,
    }
    return {
        "dataset": config.dataset,
        "model": config.model_name,
        "task": card.task,
        "metric": card.metric,
        "config": settings,
        "data": share.raw_digest,
        "overrides": [*overrides, f"processes={here.processes}"],
        "recipe": config.recipe,
        "mode": config.plan.mode,
        "partitioner": share.partitioner,
        "commit": provenance.commit(),
        "versions": versions,
        "device": here.device.type,
        "hardware": provenance.hardware(),
        "backend": "gnnkit.pipeline" + (f" on {here.backend}" if here.processes > 1 else ""),
        "key": run_key(identity),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions(card: Card, share: Share) -> dict[str, str]:
    """The versions that the numbers depend on, METIS's too where it has cut the nodes."""
    return provenance.versions((*card.packages, *(["pymetis"] if share.partitioner == "metis" else [])))


def _digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 of all weights in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode() + weights[name].cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
