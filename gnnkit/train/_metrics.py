"""Metrics by name, each with the loss that is descended for it: what a dataset's card asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss


def classification_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy: of logits ``[P, C]`` and classes ``[P]``, or of ``[P, T]`` and yes/no ``[P, T]``.

    Where a yes/no is NaN it is unknown and takes no part.
    """
    if y.dim() == 1:
        return cross_entropy(logits, y)
    known = ~y.isnan()  # [P, T]
    return binary_cross_entropy_with_logits(logits[known], y[known])


@dataclass(frozen=True)
class Metric:
    """A metric, and what is descended to improve it.

    Attributes:
        score: ``score(outputs, y)``.
        higher_is_better: Whether more of it is better.
        is_share: Whether it lies between 0 and 1, and is printed in percent.
        loss: ``loss(outputs, y)``, a scalar with gradients.
    """

    score: Callable[[Tensor, Tensor], float]
    higher_is_better: bool
    is_share: bool = True
    loss: Callable[[Tensor, Tensor], Tensor] = classification_loss


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Share of rows whose largest logit is at the true class; logits ``[P, C]``, y ``[P]``."""
    return float((logits.argmax(dim=-1) == y).double().mean())


def roc_auc(logits: Tensor, y: Tensor) -> float:
    """Area under the ROC curve; logits ``[P, 2]`` and classes ``[P]``, or the mean over tasks of ``[P, T]`` each.

    Raises:
        ValueError: More than two classes, or no task with a row of either kind.
    """
    from sklearn.metrics import roc_auc_score

    return _mean_over_tasks(roc_auc_score, logits, y)


def average_precision(logits: Tensor, y: Tensor) -> float:
    """Average precision, by the same shapes and errors as `roc_auc`."""
    from sklearn.metrics import average_precision_score

    return _mean_over_tasks(average_precision_score, logits, y)


def mae(values: Tensor, y: Tensor) -> float:
    """Mean absolute error; both ``[P, T]``."""
    return float((values - y).abs().double().mean())


def rmse(values: Tensor, y: Tensor) -> float:
    """Root of the mean squared error; both ``[P, T]``."""
    return math.sqrt(float((values - y).double().square().mean()))


def _mean_over_tasks(score: Callable[..., float], logits: Tensor, y: Tensor) -> float:
    if y.dim() == 1:
        if logits.shape[1] != 2:
            raise ValueError(f"metric: expected two classes (got {logits.shape[1]})")
        logits, y = logits[:, 1:] - logits[:, :1], y[:, None].double()  # [P, 1]
    if not bool(logits.isfinite().all()):
        return math.nan  # a diverged model: the loop says so at the next loss
    scores = []
    for truth, guess in zip(y.cpu().unbind(1), logits.cpu().unbind(1), strict=True):
        known = ~truth.isnan()
        if torch.unique(truth[known]).numel() == 2:
            scores.append(float(score(truth[known].numpy(), guess[known].numpy())))
    if not scores:
        raise ValueError("metric: expected rows of both classes in each part of the split (got one class)")
    return sum(scores) / len(scores)


METRICS = {
    "accuracy": Metric(accuracy, higher_is_better=True),
    "roc_auc": Metric(roc_auc, higher_is_better=True),
    "average_precision": Metric(average_precision, higher_is_better=True),
    "mae": Metric(mae, higher_is_better=False, is_share=False, loss=l1_loss),
    "rmse": Metric(rmse, higher_is_better=False, is_share=False, loss=mse_loss),
}


def metric_named(name: str, evaluator: Callable[[Tensor, Tensor], float] | None = None) -> Metric:
    """Return a metric of `METRICS`, scored by ``evaluator(y_true, y_pred)`` where one is given.

    Raises:
        ValueError: No metric has this name.
    """
    if not isinstance(name, str) or name not in METRICS:
        raise ValueError(f"metric: expected one of {', '.join(METRICS)} (got {name!r})")
    metric = METRICS[name]
    if evaluator is None:
        return metric
    return Metric(lambda outputs, y: evaluator(y, outputs), metric.higher_is_better, metric.is_share, metric.loss)
