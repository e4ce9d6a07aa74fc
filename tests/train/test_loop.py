"""The loop: it learns, keeps the best validation epoch, and continues an interrupted run bit for bit."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from gnnkit.data import Split
from gnnkit.datasets import load
from gnnkit.train import METRICS, Metric, NodeClassification, TrainConfig, evaluate, fit, seed_everything


class Net(nn.Module):
    """Two graph convolutions with dropout."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList([GCNConv(34, hidden), GCNConv(hidden, 4)])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = nn.functional.dropout(self.layers[0](x, edge_index).relu(), 0.5, self.training)
        return self.layers[1](x, edge_index)


@pytest.fixture(scope="module")
def karate() -> NodeClassification:
    """The task of classifying the karate club."""
    data = load("karate")
    return NodeClassification(data, data.card.split(data, 0))


class Scripted:
    """A task whose validation scores are written beforehand, and whose loss moves the one weight by lr an epoch."""

    def __init__(self, rows: list[tuple[float, float]], higher_is_better: bool = True) -> None:
        self.rows = rows
        self.metric = Metric(lambda logits, y: 0.0, higher_is_better)
        self.weights: list[float] = []  # after each epoch

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        yield model.weight.sum()  # its gradient is 1: Adam's step is then exactly the learning rate

    def scores(self, model: nn.Module) -> dict[str, float]:
        valid, valid_loss = self.rows[len(self.weights)]
        self.weights.append(model.weight.item())
        return {"train": 0.0, "valid": valid, "test": 0.0, "valid_loss": valid_loss}


def one_weight() -> nn.Linear:
    """A model with a single weight, 0."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


# ------------------------------------------------------------------ learning


def test_training_descends_and_learns_the_karate_club(karate: NodeClassification) -> None:
    seed_everything(0)
    result = fit(Net(), karate, TrainConfig(max_epochs=100))
    losses = [row["loss"] for row in result.history]
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    assert result.best["test"] > 0.6  # four classes


def test_history_holds_one_whole_row_an_epoch(karate: NodeClassification) -> None:
    rows: list[dict[str, float]] = []
    starts: list[int] = []
    seed_everything(0)
    result = fit(Net(), karate, TrainConfig(max_epochs=7), on_start=starts.append, on_epoch=rows.append)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5, 6, 7]
    assert all(set(row) == {"epoch", "loss", "train", "valid", "test", "valid_loss"} for row in result.history)
    assert rows == result.history
    assert starts == [0]
    assert result.wall_seconds > 0


def test_the_same_seed_gives_the_same_run_and_another_seed_another(karate: NodeClassification) -> None:
    def run(seed: int) -> list[dict[str, float]]:
        seed_everything(seed)
        return fit(Net(), karate, TrainConfig(max_epochs=5)).history

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_the_model_given_back_scores_what_the_best_row_says(karate: NodeClassification) -> None:
    seed_everything(3)
    model = Net()
    result = fit(model, karate, TrainConfig(max_epochs=60, lr=0.1))
    assert result.best["epoch"] < 60  # else the last weights would do
    scores = evaluate(model, karate)
    assert scores == {name: result.best[name] for name in scores}


# ------------------------------------------------------------------ which epoch is best, and when to stop

SCORES = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.sampled_from([0.1, 1.0, 3.0])), min_size=1, max_size=9)


def best_epoch(rows: list[tuple[float, float]], monitor: str, higher_is_better: bool = True) -> int:
    """The rule, said once more: the first of the best; by the metric, ties go to the lower loss."""
    sign = 1 if higher_is_better else -1
    order = [-loss for _, loss in rows] if monitor == "loss" else [(sign * valid, -loss) for valid, loss in rows]
    return order.index(max(order)) + 1


@given(rows=SCORES, monitor=st.sampled_from(["metric", "loss"]), higher_is_better=st.booleans())
def test_the_best_epoch_is_the_first_of_the_best_validations(
    rows: list[tuple[float, float]], monitor: Any, higher_is_better: bool
) -> None:
    task, model = Scripted(rows, higher_is_better), one_weight()
    result = fit(model, task, TrainConfig(max_epochs=len(rows), monitor=monitor))
    expected = best_epoch(rows, monitor, higher_is_better)
    assert result.best == result.history[expected - 1]
    assert model.weight.item() == task.weights[expected - 1]


@pytest.mark.parametrize(
    ("rows", "monitor", "epoch"),
    [
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.9)], "metric", 2),  # a tie goes to the lower loss, then to the earlier
        ([(0.5, 1.0), (0.4, 0.1)], "metric", 1),
        ([(0.5, 1.0), (0.4, 0.1)], "loss", 2),
        ([(0.5, 1.0), (0.9, 1.0)], "loss", 1),
    ],
)
def test_ties_by_example(rows: list[tuple[float, float]], monitor: Any, epoch: int) -> None:
    result = fit(one_weight(), Scripted(rows), TrainConfig(max_epochs=len(rows), monitor=monitor))
    assert result.best["epoch"] == epoch


@pytest.mark.parametrize("monitor", ["metric", "loss"])
def test_an_epoch_whose_validation_is_nan_is_never_the_best_of_others(monitor: Any) -> None:
    rows = [(math.nan, math.nan), (0.5, 1.0), (math.nan, math.nan), (0.9, 0.5)]
    result = fit(one_weight(), Scripted(rows), TrainConfig(max_epochs=4, monitor=monitor))
    assert result.best["epoch"] == 4


@given(rows=SCORES, patience=st.integers(1, 4), monitor=st.sampled_from(["metric", "loss"]))
def test_patience_stops_after_so_many_epochs_without_a_better_one(
    rows: list[tuple[float, float]], patience: int, monitor: Any
) -> None:
    expected = next(
        (n for n in range(1, len(rows)) if n - best_epoch(rows[:n], monitor) >= patience),
        len(rows),
    )
    config = TrainConfig(max_epochs=len(rows), patience=patience, monitor=monitor)
    assert len(fit(one_weight(), Scripted(rows), config).history) == expected


def test_patience_zero_never_stops_early() -> None:
    rows = [(0.9, 0.1)] + [(0.1, 1.0)] * 30
    assert len(fit(one_weight(), Scripted(rows), TrainConfig(max_epochs=31)).history) == 31


# ------------------------------------------------------------------ optimiser


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


# ------------------------------------------------------------------ interruption and continuation


class Interrupted(Exception):  # noqa: N818 (no error of anybody)
    """Ends a run in the middle."""


def interrupt_after(epoch: int) -> Callable[[dict[str, float]], None]:
    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise Interrupted

    return on_epoch


CONFIG = TrainConfig(lr=0.05, max_epochs=30, checkpoint_every=7)
CONFIGS = {
    "constant": CONFIG,
    "cosine": dataclasses.replace(CONFIG, schedule="cosine"),
    "first": dataclasses.replace(CONFIG, decay="first", schedule="cosine"),
    "patience": dataclasses.replace(CONFIG, patience=5, monitor="loss", lr=0.3),
}


@pytest.fixture(scope="module", params=CONFIGS)
def unbroken(request: pytest.FixtureRequest, karate: NodeClassification) -> Iterator[Any]:
    """A config, and what a run that nobody interrupts comes to: result, weights, generator."""
    seed_everything(5)
    model = Net()
    result = fit(model, karate, CONFIGS[request.param])
    return CONFIGS[request.param], result, model.state_dict(), torch.get_rng_state()


def begin_again(checkpoint: Path) -> Net:
    """Do what a new process does; where there is a checkpoint, nothing else can be what makes the numbers equal."""
    seed_everything(5)
    model = Net()
    if checkpoint.exists():
        seed_everything(6)
        for p in model.parameters():
            nn.init.zeros_(p)
    return model


@pytest.mark.parametrize("stops", [(1,), (6,), (7,), (8,), (10,), (3, 9, 9, 10), (7, 8, 9, 10, 11)], ids=str)
def test_a_continued_run_equals_an_unbroken_one_bit_for_bit(
    stops: tuple[int, ...], unbroken: Any, karate: NodeClassification, tmp_path: Path
) -> None:
    config, expected, weights, generator = unbroken
    assert len(expected.history) > max(stops)  # else nothing would be interrupted
    checkpoint = tmp_path / "a.ckpt"
    for stop in stops:
        model = begin_again(checkpoint)
        with pytest.raises(Interrupted):
            fit(model, karate, config, checkpoint=checkpoint, on_epoch=interrupt_after(stop))
    model = begin_again(checkpoint)
    result = fit(model, karate, config, checkpoint=checkpoint)
    assert result.history == expected.history
    assert result.best == expected.best
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights.items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize(("stop", "kept"), [(1, 0), (7, 0), (8, 7), (14, 7), (15, 14)])
def test_an_interruption_loses_at_most_checkpoint_every_epochs(
    stop: int, kept: int, karate: NodeClassification, tmp_path: Path
) -> None:
    # epoch 7 itself: the run ends between the epoch and its checkpoint
    seed_everything(0)
    with pytest.raises(Interrupted):
        fit(Net(), karate, CONFIG, checkpoint=tmp_path / "a.ckpt", on_epoch=interrupt_after(stop))
    starts: list[int] = []
    rows: list[dict[str, float]] = []
    fit(Net(), karate, CONFIG, checkpoint=tmp_path / "a.ckpt", on_start=starts.append, on_epoch=rows.append)
    assert starts == [kept]
    assert [row["epoch"] for row in rows] == list(range(kept + 1, 31))


def test_a_finished_run_is_not_trained_again(karate: NodeClassification, tmp_path: Path) -> None:
    seed_everything(0)
    model = Net()
    first = fit(model, karate, CONFIG, checkpoint=tmp_path / "a.ckpt")
    rows: list[dict[str, float]] = []
    other = Net()
    second = fit(other, karate, CONFIG, checkpoint=tmp_path / "a.ckpt", on_epoch=rows.append)
    assert rows == []
    assert second == first
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_wall_seconds_count_interrupted_attempts_up_to_their_checkpoint(
    karate: NodeClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10**6))  # a clock that ticks once a reading
    monkeypatch.setattr("gnnkit.train._loop.time.perf_counter", lambda: float(next(now)))
    with pytest.raises(Interrupted):
        fit(Net(), karate, CONFIG, checkpoint=tmp_path / "a.ckpt", on_epoch=interrupt_after(10))
    result = fit(Net(), karate, CONFIG, checkpoint=tmp_path / "a.ckpt")
    assert result.wall_seconds == 30.0  # 7 of the first attempt, 23 of the second: epochs 8 to 10 are lost


class Drawing(Scripted):
    """A task whose loss draws from one of the generators that `seed_everything` seeds."""

    def __init__(self, draw: Callable[[], float], epochs: int) -> None:
        super().__init__([(0.0, 0.0)] * epochs)
        self.draw = draw

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        yield model.weight.sum() + self.draw()

    def scores(self, model: nn.Module) -> dict[str, float]:
        return {"train": 0.0, "valid": 0.0, "test": 0.0, "valid_loss": 0.0}


GENERATORS = {
    "torch": lambda: float(torch.rand(())),
    "python": random.random,  # PyG's negative_sampling draws from this one
    "numpy": lambda: float(np.random.rand()),  # noqa: NPY002
}


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_generator_that_is_seeded_is_continued(generator: str, tmp_path: Path) -> None:
    task, config = Drawing(GENERATORS[generator], 9), TrainConfig(max_epochs=9, checkpoint_every=4)
    seed_everything(1)
    expected = fit(one_weight(), task, config).history
    seed_everything(1)
    with pytest.raises(Interrupted):
        fit(one_weight(), task, config, checkpoint=tmp_path / "a.ckpt", on_epoch=interrupt_after(6))
    seed_everything(1)
    assert fit(one_weight(), task, config, checkpoint=tmp_path / "a.ckpt").history == expected


# ------------------------------------------------------------------ refusals


@pytest.fixture
def checkpoint(karate: NodeClassification, tmp_path: Path) -> Path:
    """A checkpoint of `Net` under `CONFIG`, in the middle of training."""
    with pytest.raises(Interrupted):
        fit(Net(), karate, CONFIG, checkpoint=tmp_path / "a.ckpt", on_epoch=interrupt_after(10))
    return tmp_path / "a.ckpt"


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.01},
        {"max_epochs": 40},
        {"schedule": "cosine"},
        {"decay": "first"},
        {"patience": 3},
        {"monitor": "loss"},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_config_is_refused(
    changes: dict[str, Any], karate: NodeClassification, checkpoint: Path
) -> None:
    with pytest.raises(ValueError, match=r"a\.ckpt: expected a checkpoint of TrainConfig.*\(got TrainConfig"):
        fit(Net(), karate, dataclasses.replace(CONFIG, **changes), checkpoint=checkpoint)


@pytest.mark.parametrize("model", [lambda: Net(hidden=9), lambda: nn.Linear(34, 4)], ids=["width", "kind"])
def test_a_checkpoint_of_another_model_is_refused(
    model: Callable[[], nn.Module], karate: NodeClassification, checkpoint: Path
) -> None:
    with pytest.raises(ValueError, match=r"a\.ckpt: expected a checkpoint of this model \(got "):
        fit(model(), karate, CONFIG, checkpoint=checkpoint)


def test_a_damaged_checkpoint_is_refused_and_stays_as_it_is(karate: NodeClassification, checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    damaged = checkpoint.read_bytes()
    with pytest.raises(ValueError, match=r"a\.ckpt: expected a checkpoint; remove the file"):
        fit(Net(), karate, CONFIG, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == damaged


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_a_floating_point_error_that_names_the_epoch(value: float) -> None:
    class Diverging(Scripted):
        def losses(self, model: nn.Module) -> Iterator[Tensor]:
            yield model.weight.sum() + (value if len(self.weights) == 2 else 0.0)

    model = one_weight()
    with pytest.raises(FloatingPointError, match=rf"epoch 3: expected a finite loss \(got {value}\)"):
        fit(model, Diverging([(0.0, 0.0)] * 9), TrainConfig(max_epochs=9))
    assert bool(model.weight.isfinite().all())  # the step that would have spoilt them is not taken


def test_a_real_divergence_is_told_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    class Exploding(Scripted):
        def losses(self, model: nn.Module) -> Iterator[Tensor]:
            yield (1e10 * model.weight.sum() + 1).square()

    config = TrainConfig(lr=1e15, max_epochs=20, checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"lower train\.lr"):
        fit(one_weight(), Exploding([(0.0, 0.0)] * 20), config, checkpoint=tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").exists()


# ------------------------------------------------------------------ evaluation


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_mode_generator_and_gradients_alone(training: bool, karate: NodeClassification) -> None:
    model = Net().train(training)
    before = torch.get_rng_state()
    first = evaluate(model, karate)
    assert [module.training for module in model.modules()] == [training] * len(list(model.modules()))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()
    assert evaluate(model, karate) == first  # without dropout, no chance is involved


def test_evaluation_leaves_the_mode_of_a_frozen_part_alone(karate: NodeClassification) -> None:
    model = Net().train()
    model.layers[0].eval()
    evaluate(model, karate)
    assert model.training
    assert not model.layers[0].training


def test_evaluation_takes_no_part_in_training(karate: NodeClassification) -> None:
    def history(evaluations: int) -> list[float]:
        seed_everything(2)
        model = Net()

        def look(row: dict[str, float]) -> None:
            for _ in range(evaluations):
                evaluate(model, karate)

        return [row["loss"] for row in fit(model, karate, TrainConfig(max_epochs=5), on_epoch=look).history]

    assert history(0) == history(3)


def test_seed_everything_seeds_python_numpy_and_torch() -> None:
    def draws(seed: int) -> tuple[float, ...]:
        seed_everything(seed)
        return tuple(draw() for draw in GENERATORS.values())

    assert draws(4) == draws(4)
    assert all(left != right for left, right in zip(draws(4), draws(5), strict=True))


# ------------------------------------------------------------------ node classification


class Fixed(nn.Module):
    """Logits that look at nothing."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.logits


def test_node_classification_scores_each_part_on_its_own_nodes() -> None:
    logits = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randint(4, (30,), generator=torch.Generator().manual_seed(1))
    split = Split(torch.arange(5), torch.arange(5, 12), torch.arange(12, 30))
    data = Data(x=torch.ones(30, 1), edge_index=torch.zeros(2, 0, dtype=torch.int64), y=y)
    task, model = NodeClassification(data, split), Fixed(logits)
    scores = evaluate(model, task)
    for name, ids in (("train", split.train), ("valid", split.valid), ("test", split.test)):
        assert scores[name] == METRICS["accuracy"].score(logits[ids], y[ids])
    log_p = logits.log_softmax(dim=1)[torch.arange(30), y]  # [N]
    assert scores["valid_loss"] == pytest.approx(-float(log_p[split.valid].mean()), rel=1e-5)
    (loss,) = task.losses(model)
    assert loss.item() == pytest.approx(-float(log_p[split.train].mean()), rel=1e-5)
    loss.backward()
    seen = model.logits.grad.abs().sum(dim=1).nonzero().squeeze(1)
    assert torch.equal(seen, split.train)  # no gradient from a validation or test label


def test_a_node_outside_the_split_may_lack_a_label() -> None:
    data = Data(x=torch.ones(4, 1), edge_index=torch.zeros(2, 0, dtype=torch.int64), y=torch.tensor([0, 1, 0, -1]))
    split = Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    assert evaluate(Fixed(torch.zeros(4, 2)), NodeClassification(data, split))["train"] == 1.0
