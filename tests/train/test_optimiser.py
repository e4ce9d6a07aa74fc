"""The optimiser: its schedules, and decay on the first layer only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_runs import Net, Scripted, one_weight
from torch import Tensor, nn

from gnnkit.train import NodeClassification, TrainConfig, fit, seed_everything


def steps(config: TrainConfig) -> list[float]:
    """How far the one weight moved in each epoch: the learning rate."""
    task = Scripted([(0.0, 0.0)] * config.max_epochs)
    fit(one_weight().double(), task, config)
    return [before - after for before, after in zip([0.0, *task.weights], task.weights, strict=False)]


def test_the_cosine_schedule_falls_from_lr_to_zero() -> None:
    expected = [0.1 * (1 + math.cos(math.pi * epoch / 20)) / 2 for epoch in range(20)]
    config = TrainConfig(lr=0.1, weight_decay=0, max_epochs=20, schedule="cosine")
    assert steps(config) == pytest.approx(expected, rel=1e-6)


def test_the_constant_schedule_keeps_lr() -> None:
    assert steps(TrainConfig(lr=0.1, weight_decay=0, max_epochs=20)) == pytest.approx([0.1] * 20, rel=1e-6)


class Still(Scripted):
    """A task without a gradient: only weight decay moves anything."""

    def __init__(self, epochs: int) -> None:
        super().__init__([(0.0, -float(epoch)) for epoch in range(epochs)])  # the last epoch is the best

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        yield sum(0 * p.sum() for p in model.parameters())

    def scores(self, model: nn.Module) -> dict[str, float]:
        self.weights.append(0.0)
        valid, valid_loss = self.rows[len(self.weights) - 1]
        return {"train": 0.0, "valid": valid, "test": 0.0, "valid_loss": valid_loss}


def test_decay_first_acts_on_the_first_layer_only() -> None:
    moved: dict[Any, set[str]] = {}
    for decay in ("first", "all"):
        seed_everything(0)
        model = Net()
        for p in model.parameters():
            nn.init.uniform_(p, 0.5, 1)
        before = {name: p.clone() for name, p in model.named_parameters()}
        fit(model, Still(3), TrainConfig(max_epochs=3, decay=decay))  # type: ignore[arg-type]
        after = dict(model.named_parameters())
        moved[decay] = {name for name in before if not torch.equal(before[name], after[name])}
        assert all(bool((after[name] < before[name]).all()) for name in moved[decay])
    assert moved["all"] == set(dict(Net().named_parameters()))
    assert moved["first"] == {name for name in moved["all"] if name.startswith("layers.0.")}


def test_decay_first_trains_the_other_layers_too(karate: NodeClassification) -> None:
    seed_everything(0)
    model = Net()
    before = {name: p.clone() for name, p in model.named_parameters()}
    fit(model, karate, TrainConfig(max_epochs=3, decay="first"))
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())


def test_decay_first_takes_a_model_of_one_layer() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(2, 2)])
    fit(model, Still(2), TrainConfig(max_epochs=2, decay="first"))


def test_decay_first_of_a_model_without_layers_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"decay=first: expected a model with layers \(got Linear\)"):
        fit(one_weight(), Scripted([(0.0, 0.0)]), TrainConfig(max_epochs=1, decay="first"))
