"""Task: what a stage is fitted to: an outcome, a treatment, or an effect by the R-loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Task:
    r"""Targets of all nodes, of which a stage reads those of its rows.

    ``"regression"``: :math:`w (y - f)^2`; ``"classification"``: the logistic loss of f with y in {0, 1};
    ``"effect"``: the R-loss :math:`w (y - d f)^2`, y and d being residuals of outcome and treatment.

    Attributes:
        kind: One of the three.
        target: ``[N]``, y.
        dose: ``[N]``, d, of an effect.
        weight: ``[N]``, w; None for 1.
    """

    kind: str
    target: Tensor
    dose: Tensor | None = None
    weight: Tensor | None = None

    def weighted(self, weight: Tensor) -> Task:
        """The same task with every node's loss times ``weight [N]``."""
        return replace(self, weight=weight if self.weight is None else self.weight * weight)

    def losses(self, prediction: Tensor, rows: Tensor) -> Tensor:
        """The loss of each of the rows from their predictions, both ``[len(rows)]``."""
        target = self.target[rows]
        if self.kind == "classification":
            losses = F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        elif self.dose is None:
            losses = (target - prediction).square()
        else:
            losses = (target - self.dose[rows] * prediction).square()
        return losses if self.weight is None else losses * self.weight[rows]

    def constant(self, rows: Tensor) -> float:
        """The best constant prediction on the rows: sum(w d y) / sum(w d^2); of a classification its log-odds."""
        target, weight, dose = self._double(rows)
        if self.kind == "classification":
            share = ((weight * target).sum() + 0.5) / (weight.sum() + 1)  # finite for one class too
            return float(share.logit())
        power = (weight * dose.square()).sum()
        return float((weight * dose * target).sum() / power) if power > 0 else 0.0

    def spread(self, base: Tensor, rows: Tensor) -> float:
        """How far predictions may be expected to lie from ``base [N]``: the deviation of what it leaves on the rows."""
        if self.kind == "classification":
            return 1.0
        target, weight, dose = self._double(rows)
        left, power = (weight * (target - dose * base[rows]).square()).sum(), (weight * dose.square()).sum()
        return (float((left / power).sqrt()) or 1.0) if power > 0 else 1.0

    def _double(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        target = self.target[rows].double()
        weight = torch.ones_like(target) if self.weight is None else self.weight[rows].double()
        return target, weight, torch.ones_like(target) if self.dose is None else self.dose[rows].double()

    def as_regression(self, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Targets and weights of the rows in float64 whose weighted squared loss is this one.

        The R-loss of f is that of a regression of y / d with weights w d^2.
        """
        target, weight, dose = self._double(rows)
        if self.dose is not None:
            target = torch.where(dose == 0, 0.0, target / torch.where(dose == 0, 1.0, dose))
            weight = weight * dose.square()
        return target.cpu().numpy(), weight.cpu().numpy()
