"""Metrics equal scikit-learn's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    mean_absolute_error,
    roc_auc_score,
    root_mean_squared_error,
)
from torch import Tensor

from gnnkit.train import METRICS


@given(rows=st.integers(1, 40), classes=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_accuracy_is_that_of_scikit_learn(rows: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator)
    y = torch.randint(classes, (rows,), generator=generator)
    expected = accuracy_score(y.numpy(), logits.numpy().argmax(axis=1))
    assert METRICS["accuracy"].score(logits, y) == pytest.approx(expected, abs=1e-12)


def test_accuracy_is_a_python_float_that_counts_exactly() -> None:
    # float32 would give 0.333333343 and print as another number
    logits = torch.eye(3)
    score = METRICS["accuracy"].score(logits, torch.tensor([0, 0, 0]))
    assert isinstance(score, float)
    assert score == 1 / 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_accuracy_takes_logits_of_any_float_type(dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [1.0, 0.0]], dtype=dtype)
    assert METRICS["accuracy"].score(logits, torch.tensor([1, 0, 0, 0])) == 0.75


def test_more_accuracy_is_better() -> None:
    assert METRICS["accuracy"].higher_is_better


# ------------------------------------------------------------------ against scikit-learn


@st.composite
def _binary(draw: Any) -> tuple[Tensor, Tensor]:
    """Logits and yes/no of the same rows, both answers among them; scores tie often."""
    size = draw(st.integers(2, 30))
    y = torch.tensor([0, 1, *draw(st.lists(st.integers(0, 1), min_size=size - 2, max_size=size - 2))])
    scores = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    return torch.tensor(scores, dtype=torch.float32) / 2, y


@given(_binary())
def test_areas_are_those_of_scikit_learn(rows: tuple[Tensor, Tensor]) -> None:
    scores, y = rows
    for name, oracle in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
        expected = oracle(y.numpy(), scores.numpy())
        two_logits = torch.stack([-scores, scores], dim=1)
        assert METRICS[name].score(two_logits, y) == pytest.approx(expected)
        assert METRICS[name].score(scores[:, None], y[:, None].float()) == pytest.approx(expected)


def test_an_area_is_the_mean_over_tasks_that_have_both_answers_among_their_known_rows() -> None:
    nan = math.nan
    y = torch.tensor([[0.0, 1.0, nan], [1.0, 1.0, 0.0], [nan, 1.0, 1.0], [0.0, 1.0, 1.0]])
    logits = torch.tensor([[0.1, 0.0, 9.0], [0.9, 0.0, 0.5], [5.0, 0.0, 0.2], [0.4, 0.0, 0.9]])
    expected = (1.0 + roc_auc_score([0, 1, 1], [0.5, 0.2, 0.9])) / 2
    assert METRICS["roc_auc"].score(logits, y) == pytest.approx(expected)


def test_an_area_without_both_answers_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"expected rows of both classes .+ \(got one class\)"):
        METRICS["roc_auc"].score(torch.randn(4, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"expected two classes \(got 3\)"):
        METRICS["roc_auc"].score(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))


def test_the_area_of_a_diverged_model_is_nan() -> None:
    assert math.isnan(METRICS["roc_auc"].score(torch.full((4, 1), math.nan), torch.tensor([[0.0], [1.0]] * 2)))


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=20))
def test_errors_are_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    values, y = torch.tensor(pairs, dtype=torch.float64).unsqueeze(2).unbind(1)  # [P, 1] each
    assert METRICS["mae"].score(values, y) == pytest.approx(mean_absolute_error(y, values), abs=1e-9)
    assert METRICS["rmse"].score(values, y) == pytest.approx(root_mean_squared_error(y, values), abs=1e-9)


def test_every_metric_knows_its_direction_and_whether_it_is_a_share() -> None:
    direction = {name: metric.higher_is_better for name, metric in METRICS.items()}
    assert direction == {"accuracy": True, "roc_auc": True, "average_precision": True, "mae": False, "rmse": False}
    assert {name: metric.is_share for name, metric in METRICS.items()} == direction


@pytest.mark.parametrize("name", METRICS)
def test_descending_the_loss_of_a_metric_improves_it(name: str) -> None:
    torch.manual_seed(0)
    y = torch.randint(2, (40, 1)).float()
    y = y.squeeze(1).long() if name == "accuracy" else y
    outputs = torch.randn(40, 2 if name == "accuracy" else 1, requires_grad=True)
    before = METRICS[name].score(outputs.detach(), y)
    for _ in range(50):
        (grad,) = torch.autograd.grad(METRICS[name].loss(outputs, y), outputs)
        outputs = (outputs - 5 * grad).detach().requires_grad_()
    after = METRICS[name].score(outputs.detach(), y)
    assert (after > before) == METRICS[name].higher_is_better
    assert after != before
