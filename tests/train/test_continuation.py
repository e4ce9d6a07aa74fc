"""An interrupted run continues bit for bit, from a checkpoint of its own and no other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import GENERATORS, Net, Scripted, one_weight
from torch import Tensor, nn

from gnnkit.train import NodeClassification, TrainConfig, fit, seed_everything

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
    "seldom": dataclasses.replace(CONFIG, eval_every=4, patience=12, lr=0.02),
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
