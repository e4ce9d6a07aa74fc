"""Trainings of link prediction that several claims read: each is stored once, and found by all of them."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import _ncn_peer
import torch
from _rows import RESULTS
from _stored import source_of
from torch import nn

import gnnkit.adjacency
import gnnkit.data._negatives
import gnnkit.datasets
import gnnkit.kernels
import gnnkit.links
import gnnkit.models
import gnnkit.nn
import gnnkit.train
from gnnkit.bench import BenchConfig, _heuristics, _link_models, _links, recipe
from gnnkit.bench._heuristics import HEURISTICS, score_heuristic
from gnnkit.bench._links import build_link, link_task
from gnnkit.datasets import load
from gnnkit.train import LinkPrediction, evaluate, fit, override, seed_everything

STORE = RESULTS / "links.jsonl"
NOT_HIDDEN, NO_COMMON = "ncn, edges not hidden", "ncn, no common neighbours"
_GIVEN = (gnnkit.adjacency, gnnkit.data._negatives, gnnkit.datasets, gnnkit.links)  # what makes the splits
SOURCE = source_of(
    *_GIVEN,
    gnnkit.kernels,
    gnnkit.models,
    gnnkit.nn,
    gnnkit.train,
    _heuristics,
    _link_models,
    _links,
)
AUTHORS = source_of(*_GIVEN, _ncn_peer)  # their training runs none of gnnkit's models, nor of its kernels


@dataclass(frozen=True)
class Run:
    """A method on a split: ``who`` is gnnkit or authors, ``protocol`` link or heart."""

    who: str
    method: str
    dataset: str
    protocol: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the store: other recipes of other methods do not change it."""
        return json.dumps([*asdict(self).values(), settings(self.config), AUTHORS if self.who == "authors" else SOURCE])

    @property
    def config(self) -> BenchConfig:
        """All settings."""
        config = recipe(f"{self.dataset}:{self.protocol}", self.method.partition(",")[0])
        return override(config, "link.mask_targets=false") if self.method == NOT_HIDDEN else config


def settings(config: BenchConfig) -> str:
    """A digest of what a training does, and not of where its settings come from."""
    return hashlib.sha256(json.dumps([asdict(config.link), asdict(config.train)]).encode()).hexdigest()


def execute(run: Run) -> dict[str, Any]:
    """Train, or score a heuristic, on one thread, and return the row: percents at the best validation epoch."""
    torch.set_num_threads(1)
    name = run.method.partition(",")[0]
    data = load(f"{run.dataset}:{run.protocol}")
    split, config = data.card.split(data, run.seed), run.config
    begun = time.perf_counter()
    if run.who == "authors":
        best, epochs = _authors(name, data, split, config, run.seed), config.train.max_epochs
    else:
        task = link_task(data, split, config.link, config.train.batch_size, torch.device("cpu"))
        if name in HEURISTICS:
            best, epochs = score_heuristic(name, task).best, 0
        else:
            seed_everything(run.seed)
            model = build_link("gae" if run.method == NO_COMMON else name, data, config.link)
            best, epochs = fit_unseen(model, task, config)
    scores = {part: 100 * best[part] for part in ("valid", "test")}
    return {**asdict(run), **scores, "epochs": epochs, "seconds": time.perf_counter() - begun}


class _Unseen:
    """A task whose test pairs are not scored while it is learnt."""

    def __init__(self, task: LinkPrediction) -> None:
        self.losses, self.scores, self.metric = task.losses, task.validation_scores, task.metric


def fit_unseen(model: nn.Module, task: LinkPrediction, config: BenchConfig) -> tuple[dict[str, float], int]:
    """Train, score all at the best validation epoch, and say after how many epochs it ended."""
    result = fit(model, _Unseen(task), config.train)
    return evaluate(model, task), int(result.history[-1]["epoch"])


def _authors(name: str, data: Any, split: Any, config: Any, seed: int) -> dict[str, float]:
    """The scores of the authors' code at its best epoch, chosen as gnnkit chooses: by the metric, ties by the loss."""
    peer = _ncn_peer.Peer(name, data.x, split, config.link, config.train, seed)
    rows = []
    for _ in range(config.train.max_epochs):
        peer.train_epoch()
        rows.append(peer.scores())
    return max(rows, key=lambda row: (row["valid"], -row["valid_loss"]))
