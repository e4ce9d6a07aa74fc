"""The loop: it learns, keeps the best validation epoch, and stops in time."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import Net, Scripted, one_weight

from gnnkit.train import NodeClassification, TrainConfig, evaluate, fit, seed_everything

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


def test_epochs_that_are_not_evaluated_train_all_the_same(karate: NodeClassification) -> None:
    found = []
    for every in (1, 3):
        seed_everything(0)
        model = Net()
        result = fit(model, karate, TrainConfig(max_epochs=8, eval_every=every))
        found.append(result.history)
        assert result.best == max(
            (row for row in result.history if "valid" in row), key=lambda row: (row["valid"], -row["valid_loss"])
        )
    assert [row["epoch"] for row in found[1] if "valid" in row] == [3, 6, 8]  # the last one too
    for each, every in zip(*found, strict=True):
        assert {**each, **every} == each
        assert every["loss"] == each["loss"]


def test_patience_ends_a_run_at_an_evaluation() -> None:
    rows = [(0.5, 1.0), (0.9, 1.0), (0.1, 1.0), (0.1, 1.0)]  # of epochs 4, 8, 12, 16
    result = fit(one_weight(), Scripted(rows), TrainConfig(max_epochs=99, eval_every=4, patience=6))
    assert (result.best["epoch"], result.history[-1]["epoch"]) == (8, 16)


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
