"""Cross-fitting: stages fitted on all folds but one, with the whole graph in sight, and asked about that one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from torch import Tensor

from gnnkit.causal._nodes import Nodes
from gnnkit.causal._observed import Observed
from gnnkit.causal._stages import Asked, Fitted, Stage, fit_all
from gnnkit.causal._task import Task


class Fold(NamedTuple):
    """Numbers of the nodes that are fitted on and of those that are held out."""

    fit: Tensor
    held_out: Tensor


def folds_of(n_folds: Any, treatment: Tensor, kind: str, random_state: int | None) -> list[Fold]:
    """Folds of all nodes: a number of them, drawn with equal shares of treated nodes, or a splitter of scikit-learn."""
    number, rows = len(treatment), treatment.cpu().numpy()
    if isinstance(n_folds, int | np.integer) and not isinstance(n_folds, bool):
        arms = np.unique(rows, return_counts=True)[1] if kind == "binary" else [number]
        if min(arms) < 2:
            raise ValueError(f"T: expected two nodes of each treatment for folds (got {int(min(arms))} of one)")
        if not 2 <= n_folds <= min(arms):
            smallest = "nodes of the rarer treatment" if kind == "binary" else "nodes"
            raise ValueError(f"n_folds: expected 2 to {min(arms)}, the number of {smallest} (got {n_folds})")
        splitter: Any = StratifiedKFold if kind == "binary" else KFold
        splitter = splitter(int(n_folds), shuffle=True, random_state=random_state)
    elif isinstance(n_folds, bool) or n_folds is None:
        raise ValueError(f"n_folds: expected a whole number >= 2 or a splitter of scikit-learn (got {n_folds!r})")
    else:
        splitter = check_cv(n_folds)
    pairs = splitter.split(np.zeros((number, 1)), rows.astype(np.int64) if kind == "binary" else None)
    folds = [Fold(*(torch.as_tensor(np.array(part), device=treatment.device) for part in pair)) for pair in pairs]
    seen = torch.cat([fold.held_out for fold in folds])
    if len(seen) != number or len(seen.unique()) != number:  # type: ignore[no-untyped-call]
        raise ValueError(f"n_folds: expected every node to be held out once (got {len(seen)} for {number} nodes)")
    for fold in folds:
        if kind == "binary" and not 2 <= int(treatment[fold.fit].sum()) <= len(fold.fit) - 2:
            treated = int(treatment[fold.fit].sum())
            got = f"{treated} treated and {len(fold.fit) - treated} others"
            raise ValueError(f"n_folds: expected two nodes of each treatment in every fit (got {got})")
    return folds


def fold_numbers(folds: list[Fold], like: Tensor) -> Tensor:
    """``[N]`` int64: by which fold each node is held out."""
    numbers = torch.empty(len(like), dtype=torch.int64, device=like.device)
    for number, fold in enumerate(folds):
        numbers[fold.held_out] = number
    return numbers


def over_folds(
    stage: Stage,
    task: Task,
    nodes: Nodes,
    folds: list[Fold],
    *,
    rows: Tensor | None = None,
) -> tuple[Tensor, list[Fitted]]:
    """Fit a stage once a fold.

    Args:
        stage: What is fitted.
        task: To what.
        nodes: Of the whole graph: features of held-out nodes are seen, their targets are not.
        folds: From `folds_of`.
        rows: ``[N]`` bool, which nodes have a target; None for all.

    Returns:
        ``[N]``, each node's prediction by the fit that did not see it, and the fits.
    """
    asked = []
    for fold in folds:
        fit = fold.fit if rows is None else fold.fit[rows[fold.fit]]
        asked.append(Asked(stage, task, fit))  # a network's training ends by nodes of `fit` that it sets aside
    models = fit_all(asked, nodes)
    return by_fold(models, folds, task.target), models


def nuisances(
    data: Observed, folds: list[Fold], outcome: Stage, propensity: Stage, treatment: str
) -> tuple[Tensor, Tensor]:
    """``[N]`` means of outcome and treatment given features and graph, each by fits that did not see the node's own."""
    expected = Task("regression", data.outcome)
    given = Task("classification" if treatment == "binary" else "regression", data.treatment)
    # of a fold the outcome before the propensity, the order of the published code
    asked = [Asked(*pair, fold.fit) for fold in folds for pair in ((outcome, expected), (propensity, given))]
    models = fit_all(asked, data.nodes)
    m, e = (by_fold(models[first::2], folds, data.outcome) for first in (0, 1))
    return m, e.sigmoid() if treatment == "binary" else e


def by_fold(models: list[Fitted], folds: list[Fold], like: Tensor) -> Tensor:
    """``[N]``: each node's prediction by the fit that did not see it."""
    predictions = torch.empty_like(like)
    for model, fold in zip(models, folds, strict=True):
        predictions[fold.held_out] = model.predictions[fold.held_out]
    return predictions


def mean_prediction(models: list[Fitted], nodes: Nodes) -> Tensor:
    """``[N]``: the mean of what the models predict."""
    return torch.stack([model.predict(nodes) for model in models]).mean(0)
