"""Metrics by name: what a dataset's card asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A metric: ``score(logits, y)`` as a fraction, and whether more of it is better."""

    score: Callable[[Tensor, Tensor], float]
    higher_is_better: bool


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Share of rows whose largest logit is at the true class; logits ``[P, C]``, y ``[P]``."""
    return float((logits.argmax(dim=-1) == y).double().mean())


METRICS = {"accuracy": Metric(accuracy, higher_is_better=True)}
