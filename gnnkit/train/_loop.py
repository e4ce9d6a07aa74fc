"""The training loop: it knows no dataset, no model and no task by name."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gnnkit.train._checkpoint import load_checkpoint, save_checkpoint
from gnnkit.train._config import TrainConfig
from gnnkit.train._metrics import Metric


class Task(Protocol):
    """What the loop needs: losses to descend, and scores ``train``, ``valid``, ``test``, ``valid_loss``."""

    metric: Metric

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield a scalar with gradients for each step of one epoch; the model has stepped when the next is asked for.

        Random numbers are drawn from the global generators alone: those a checkpoint holds.
        """

    def scores(self, model: nn.Module) -> dict[str, float]:
        """Return the metric on each part, and the validation loss."""


@dataclass(frozen=True)
class FitResult:
    """What a training run came to; the model itself holds the weights of the best epoch.

    Attributes:
        best: The row of the best validation epoch: ``epoch, loss, train, valid, test, valid_loss``.
        history: One such row an epoch, with ``epoch`` and ``loss`` alone where ``eval_every`` leaves an epoch out.
        wall_seconds: Training time, that of interrupted attempts included up to their last checkpoint.
    """

    best: dict[str, float]
    history: list[dict[str, float]]
    wall_seconds: float


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries underneath draw from the global one)
    torch.manual_seed(seed)


def evaluate(model: nn.Module, task: Task) -> dict[str, float]:
    """Return a task's scores without dropout and without gradients, and leave the model's mode as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            return task.scores(model)
    finally:
        for module, training in modes:  # a part may be frozen in another mode than the whole
            module.training = training


def fit(
    model: nn.Module,
    task: Task,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    on_start: Callable[[int], None] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> FitResult:
    """Train a model, keep the weights of its best validation epoch, and continue an interrupted run exactly.

    A checkpoint holds the model, its best weights, optimiser, schedule, random generators, epoch and history;
    a run continued from it computes what an unbroken one would have, bit for bit on one CPU with one number of threads.

    Args:
        model: Trained in place, on the device where it is. Its first child of ``model.layers`` is what
            ``decay="first"`` acts on.
        task: What to descend and how to score.
        config: The settings.
        checkpoint: File to write every ``checkpoint_every`` epochs and at the end, and to continue from if it
            exists. The caller removes it when the result is safe.
        on_start: Called once, with the number of epochs that the checkpoint holds, 0 without one.
        on_epoch: Called with every epoch's row, once it is trained.

    Raises:
        ValueError: The checkpoint is damaged or belongs to another model or config.
        FloatingPointError: The loss is no longer finite.

    Example:
        >>> import torch
        >>> from gnnkit.datasets import load
        >>> from gnnkit.train import NodeClassification, TrainConfig, fit, seed_everything
        >>> from torch_geometric.nn import GCN
        >>> data = load("karate")
        >>> seed_everything(0)
        >>> model = GCN(34, 16, num_layers=2, out_channels=4)
        >>> result = fit(model, NodeClassification(data, data.card.split(data, 0)), TrainConfig(max_epochs=50))
        >>> result.best["test"] > 0.6
        True
    """
    state = _State(model, config)
    if checkpoint is not None and checkpoint.exists():
        state.restore(checkpoint)
    if on_start is not None:
        on_start(state.epoch)
    begun = time.perf_counter() - state.wall_seconds
    while not state.finished:
        row = _train_epoch(model, task, state)
        judged = row["epoch"] % config.eval_every == 0 or row["epoch"] == config.max_epochs
        if judged:
            row |= evaluate(model, task)
        state.record(row, better=judged and better(row, state.best, task.metric, config.monitor))
        state.wall_seconds = time.perf_counter() - begun
        if on_epoch is not None:
            on_epoch(row)
        if checkpoint is not None and (state.finished or state.epoch % config.checkpoint_every == 0):
            state.save(checkpoint)
    model.load_state_dict(state.best_weights)
    assert state.best is not None
    return FitResult(state.best, state.history, state.wall_seconds)


def _train_epoch(model: nn.Module, task: Task, state: _State) -> dict[str, float]:
    model.train()
    losses: list[float] = []
    for loss in task.losses(model):
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"epoch {state.epoch + 1}: expected a finite loss (got {losses[-1]}); lower train.lr"
            )
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
    state.scheduler.step()
    return {"epoch": state.epoch + 1, "loss": fmean(losses)}


def better(row: dict[str, float], best: dict[str, float] | None, metric: Metric, monitor: str) -> bool:
    """Whether a row validates better than the best so far, by ``monitor``; NaN is worse than any number."""
    sign = 1 if metric.higher_is_better else -1

    def rank(scores: dict[str, float]) -> tuple[float, ...]:
        loss = -scores["valid_loss"]
        keys = (loss,) if monitor == "loss" else (sign * scores["valid"], loss)
        return tuple(-math.inf if math.isnan(key) else key for key in keys)

    return best is None or rank(row) > rank(best)


class _State:
    """All that changes during training, to be saved and restored as one."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.model, self.config = model, config
        self.optimizer = _optimizer(model, config)
        self.scheduler = _scheduler(self.optimizer, config)
        self.best: dict[str, float] | None = None
        self.best_weights: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        self.wall_seconds = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def finished(self) -> bool:
        judged = next((row["epoch"] for row in reversed(self.history) if "valid" in row), 0)
        waited = judged - (self.best["epoch"] if self.best else 0)
        return self.epoch >= self.config.max_epochs or (self.config.patience > 0 and waited >= self.config.patience)

    def record(self, row: dict[str, float], better: bool) -> None:
        self.history.append(row)
        if better:
            self.best, self.best_weights = row, copy.deepcopy(self.model.state_dict())

    def save(self, path: Path) -> None:
        state = {
            "config": repr(self.config),
            "model": self.model.state_dict(),
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": _rng_state(),
            "best": self.best,
            "history": self.history,
            "wall_seconds": self.wall_seconds,
        }
        save_checkpoint(path, state)

    def restore(self, path: Path) -> None:
        state = load_checkpoint(path)
        if state.get("config") != repr(self.config):
            raise ValueError(f"{path}: expected a checkpoint of {self.config!r} (got {state.get('config')})")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.best, self.best_weights = state["best"], state["best_weights"]
            self.history, self.wall_seconds = state["history"], state["wall_seconds"]
            _restore_rng(state["rng"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(f"{path}: expected a checkpoint of this model (got {reason})") from error


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    if config.predictor_lr is not None:
        return _two_steps(model, config, config.predictor_lr)
    if config.decay == "all":
        return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    layers = getattr(model, "layers", None)
    if layers is None:
        raise ValueError(f"train.decay=first: expected a model with layers (got {type(model).__name__})")
    first = set(layers[0].parameters())
    rest = [p for p in model.parameters() if p not in first]
    groups: list[dict[str, Any]] = [
        {"params": [*layers[0].parameters()], "weight_decay": config.weight_decay},
        {"params": rest},
    ]
    return torch.optim.Adam(groups, lr=config.lr, weight_decay=0)


def _two_steps(model: nn.Module, config: TrainConfig, predictor_lr: float) -> torch.optim.Optimizer:
    """An optimiser whose steps differ for an encoder and the predictor on it."""
    predictor = getattr(model, "predictor", None)
    if predictor is None:
        raise ValueError(f"train.predictor_lr: expected a model with a predictor (got {type(model).__name__})")
    if config.decay != "all":
        raise ValueError(f"train.decay: expected all with train.predictor_lr (got {config.decay})")
    own = set(predictor.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p not in own]},
        {"params": [*predictor.parameters()], "lr": predictor_lr},
    ]
    return torch.optim.Adam(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)  # of many small ones


def _scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.max_epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=0)


def _rng_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    numpy_global: Any = np.random.get_state()  # noqa: NPY002
    kind, keys, *position = numpy_global
    numpy_state = [kind, torch.from_numpy(keys.astype(np.int64)), *position]
    return {"torch": torch.get_rng_state(), "cuda": cuda, "python": random.getstate(), "numpy": numpy_state}


def _restore_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *position = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))  # noqa: NPY002
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
