"""Metrics equal scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

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
