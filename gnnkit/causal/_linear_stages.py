"""Stages without training: a constant, ridge regression on features or graph features, scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor

from gnnkit.causal._nodes import Nodes, location
from gnnkit.causal._task import Task

_RIDGES = np.logspace(-2, 5, 15)
_STRENGTHS, _LOGISTIC_FOLDS = np.logspace(-4, 1, 6), 3  # of the logistic regression, one over the ridge


class ConstantStage(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The best constant: of an effect sum(w y d) / sum(w d^2), else the weighted mean."""

    def fit_task(self, task: Task, nodes: Nodes, rows: Tensor) -> FittedLinear:
        """See `Stage`."""
        return FittedLinear(torch.zeros(0, dtype=torch.float64), task.constant(rows), None, 0, nodes)


class KnownStage(BaseEstimator):  # type: ignore[misc]
    """What is known of outcome or treatment without fitting, such as the propensity of a randomised experiment.

    Args:
        values: A number for all nodes, or ``[N]`` numbers; of a treatment in {0, 1} its probabilities.
    """

    def __init__(self, values: Any) -> None:
        self.values = values

    def fit_task(self, task: Task, nodes: Nodes, rows: Tensor) -> FittedKnown:
        """See `Stage`."""
        values = torch.as_tensor(self.values, dtype=nodes.x.dtype, device=nodes.x.device)
        if values.shape not in ((), (len(nodes),)) or not bool(values.isfinite().all()):
            raise ValueError(f"values: expected a finite number or [{len(nodes)}] of them (got {list(values.shape)})")
        if task.kind == "classification":
            if not bool(((values >= 0) & (values <= 1)).all()):
                raise ValueError(
                    f"values: expected probabilities (got {float(values.min()):g} to {float(values.max()):g})"
                )
            values = values.logit()
        return FittedKnown(values, nodes)


class FittedKnown:
    """Known values of the nodes."""

    def __init__(self, values: Tensor, nodes: Nodes | None) -> None:
        self.values = values
        self.predictions = torch.empty(0) if nodes is None else self.predict(nodes)

    def predict(self, nodes: Nodes) -> Tensor:
        """See `Fitted`."""
        if self.values.dim() and len(self.values) != len(nodes):
            raise ValueError(f"values: expected as many nodes as in fit, {len(self.values)} (got {len(nodes)})")
        return self.values.expand(len(nodes))


class LinearStage(BaseEstimator):  # type: ignore[misc]
    """Ridge regression (of a treatment in {0, 1}: logistic) on the features, or on those of the neighbourhood too.

    Args:
        hops: 0 for the features alone; k for features, features propagated 1 to k times with GCN's weights, log degree.
        ridge: The penalty on squared weights of the raw features, of an effect that of the constant too; None for
            standardised features, a constant without penalty, and the penalty with the least leave-one-out loss.
        intercept: False for an effect without a constant: the outcome residual has the intercept in its place, which
            is then added to the effect. It is what the Graph R-Learner's public code does, and why its linear stages
            look as if they failed (docs/reproductions.md); it needs a number for ``ridge``.
    """

    def __init__(self, *, hops: int = 0, ridge: float | None = None, intercept: bool = True) -> None:
        self.hops = hops
        self.ridge = ridge
        self.intercept = intercept

    def fit_task(self, task: Task, nodes: Nodes, rows: Tensor) -> FittedLinear:
        """See `Stage`."""
        self._check()
        features = nodes.hops(self.hops).double()
        scaled = location(features) if self.ridge is None else None
        if scaled is not None:
            features = (features - scaled[0]) / scaled[1]
        z = features[rows].cpu().numpy()
        coefficients, constant = self._solved(task, z, rows)
        return FittedLinear(torch.from_numpy(coefficients).to(nodes.x.device), constant, scaled, self.hops, nodes)

    def _solved(self, task: Task, z: np.ndarray, rows: Tensor) -> tuple[np.ndarray, float]:
        target, weight = task.as_regression(rows)
        if task.kind == "classification":
            rarer = min(np.bincount(target.astype(np.int64), minlength=2))
            if not rarer:
                return np.zeros(z.shape[1]), task.constant(rows)
            model: Any = LogisticRegression(C=1 / max(1.0 if self.ridge is None else self.ridge, 1e-12), max_iter=1000)
            if self.ridge is None and rarer >= _LOGISTIC_FOLDS:
                grid = {"C": _STRENGTHS}
                model = GridSearchCV(model, grid, cv=_LOGISTIC_FOLDS, scoring="neg_log_loss")
                model = model.fit(z, target, sample_weight=weight).best_estimator_
            else:
                model.fit(z, target, weight)
            return model.coef_[0], float(model.intercept_[0])
        if self.ridge is None and len(rows) < 3:  # nothing is left to choose a penalty by
            return np.zeros(z.shape[1]), task.constant(rows)
        if self.ridge is None:
            model = RidgeCV(_RIDGES).fit(z, target, weight)
            return model.coef_, float(model.intercept_)
        if task.dose is None:
            model = Ridge(self.ridge).fit(z, target, weight)
            return model.coef_, float(model.intercept_)
        dose, residual = (t[rows].double().cpu().numpy() for t in (task.dose, task.target))
        root = np.ones_like(dose) if task.weight is None else task.weight[rows].double().cpu().numpy()
        if not self.intercept:
            model = Ridge(self.ridge).fit(z * dose[:, None], residual, root)
            return model.coef_, float(model.intercept_)
        columns = np.hstack([np.ones((len(z), 1)), z]) * dose[:, None]
        solution = Ridge(self.ridge, fit_intercept=False).fit(columns, residual, root).coef_
        return solution[1:], float(solution[0])

    def _check(self) -> None:
        if isinstance(self.hops, bool) or not isinstance(self.hops, int) or not 0 <= self.hops <= 10:
            raise ValueError(f"hops: expected a whole number from 0 to 10 (got {self.hops!r})")
        if self.ridge is not None and not 0 <= self.ridge < float("inf"):
            raise ValueError(f"ridge: expected a number >= 0 or None (got {self.ridge!r})")
        if not self.intercept and self.ridge is None:
            raise ValueError("ridge: expected a number where intercept is False (got None)")


class FittedLinear:
    """Coefficients in float64, with what features are scaled by."""

    def __init__(
        self,
        coefficients: Tensor,
        constant: float,
        location: tuple[Tensor, Tensor] | None,
        hops: int,
        nodes: Nodes | None,
    ) -> None:
        self.coefficients, self.constant, self.location, self.hops = coefficients, constant, location, hops
        self.predictions = torch.empty(0) if nodes is None else self.predict(nodes)

    def predict(self, nodes: Nodes) -> Tensor:
        """See `Fitted`."""
        if not len(self.coefficients):
            return torch.full_like(nodes.x[:, 0], self.constant)
        features = nodes.hops(self.hops).double()
        if self.location is not None:
            features = (features - self.location[0]) / self.location[1]
        return (features @ self.coefficients + self.constant).to(nodes.x.dtype)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which it can be made again."""
        scaled = {"location": self.location, "hops": self.hops}
        return {"coefficients": self.coefficients, "constant": self.constant, **scaled}


class EstimatorStage(BaseEstimator):  # type: ignore[misc]
    """An estimator of scikit-learn on features, or on those of the neighbourhood too; for the R-loss it has to take
    sample weights (a pipeline's last step, what a search searches).

    Args:
        estimator: A regressor, or for a treatment or outcome in {0, 1} a classifier, of which the probability of 1 is
            taken; cloned for every fit.
        hops: As `LinearStage`.
    """

    def __init__(self, estimator: Any, hops: int = 2) -> None:
        self.estimator = estimator
        self.hops = hops

    def fit_task(self, task: Task, nodes: Nodes, rows: Tensor) -> FittedEstimator:
        """See `Stage`."""
        target, weight = task.as_regression(rows)
        if is_classifier(self.estimator):
            if not np.isin(target, (0, 1)).all():
                name = type(self.estimator).__name__
                raise ValueError(f"estimator: expected a regressor for targets other than 0 and 1 (got {name})")
            target = target.astype(np.int64)
        z = nodes.hops(self.hops)[rows].cpu().numpy()
        made = clone(self.estimator)
        if bool((weight == 1).all()):
            made.fit(z, target)
        elif (argument := _weight_argument(made)) is not None:
            made.fit(z, target, **{argument: weight})
        else:
            name = type(made).__name__
            raise ValueError(f"estimator: expected one whose fit takes sample_weight, for the R-loss (got {name})")
        return FittedEstimator(made, task.kind, self.hops, nodes)


def _weight_argument(estimator: Any) -> str | None:
    """What ``fit`` calls the sample weights, None where it takes none."""
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = _weight_argument(last)
        return None if inner is None else f"{name}__{inner}"
    if isinstance(estimator, GridSearchCV | RandomizedSearchCV):
        return _weight_argument(estimator.estimator)
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


class FittedEstimator:
    """A fitted estimator of scikit-learn."""

    def __init__(self, estimator: Any, kind: str, hops: int, nodes: Nodes) -> None:
        self.estimator, self.kind, self.hops = estimator, kind, hops
        self.predictions = self.predict(nodes)

    def predict(self, nodes: Nodes) -> Tensor:
        """See `Fitted`."""
        z = nodes.hops(self.hops).cpu().numpy()
        if is_classifier(self.estimator):
            classes = list(self.estimator.classes_)  # a fit may have seen one alone
            values = self.estimator.predict_proba(z)[:, classes.index(1)] if 1 in classes else np.zeros(len(z))
        else:
            values = self.estimator.predict(z)
        if self.kind == "classification":
            chance = np.clip(values, 1e-6, 1 - 1e-6)
            values = np.log(chance / (1 - chance))
        return torch.as_tensor(np.asarray(values), dtype=nodes.x.dtype, device=nodes.x.device)
