"""AverageEffect: a mean effect with its standard error and interval, from cross-fitted scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from torch import Tensor


@dataclass(frozen=True)
class AverageEffect:
    """An estimated mean with its uncertainty.

    Attributes:
        estimate: The mean.
        standard_error: Of the estimate.
        low: Lower end of the confidence interval.
        high: Upper end.
        level: Of the interval, 0.95 for 95 %.
    """

    estimate: float
    standard_error: float
    low: float
    high: float
    level: float

    @classmethod
    def of(cls, estimate: float, standard_error: float, level: float) -> AverageEffect:
        """With the interval of a normal distribution."""
        reach = quantile(level) * standard_error
        return cls(estimate, standard_error, estimate - reach, estimate + reach, level)

    def __str__(self) -> str:
        return f"{self.estimate:.3f} ({100 * self.level:g} % interval {self.low:.3f} to {self.high:.3f})"


def quantile(level: float) -> float:
    """Half the width, in deviations, of a normal interval of this level."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number within (0, 1) (got {level!r})")
    return NormalDist().inv_cdf(0.5 + level / 2)


def corrections(treatment: Tensor, propensity: Tensor, residual: Tensor, kind: str) -> Tensor:
    r"""``[N]``: what is added to the effects so that errors of the nuisances cancel in the mean.

    :math:`(T - e) / v \cdot r`, with v = e (1 - e) for a treatment in {0, 1} and the mean of :math:`(T - e)^2` for a
    dose; r is what outcome and effect leave unexplained. For the former it is the augmented inverse-propensity score.
    """
    dose = treatment - propensity
    variance = propensity * (1 - propensity) if kind == "binary" else dose.square().mean()
    return dose / variance * residual


def average(effects: Tensor, correction: Tensor, level: float, target: str) -> AverageEffect:
    """The mean of effects and corrections.

    For the nodes at hand (``"sample"``) the effects are what they are, and the corrections alone are uncertain; for
    the population that they were drawn from independently, the effects too.
    """
    if target not in ("sample", "population"):
        raise ValueError(f"target: expected sample or population (got {target!r})")
    scores = (effects + correction).double()
    require_finite(scores)
    uncertain = scores if target == "population" else correction.double()
    return AverageEffect.of(float(scores.mean()), float(uncertain.std()) / math.sqrt(len(scores)), level)


def require_finite(scores: Tensor) -> None:
    """Refuse what propensities of 0 or 1 make of scores."""
    if not bool(scores.isfinite().all()):
        raise ValueError("expected propensities within (0, 1): set clip, such as 0.01 (got some of 0 or 1)")


def ratio(response: Tensor, dose: Tensor, level: float) -> AverageEffect:
    """The slope of ``response`` on ``dose``, both residuals, with an error that allows unequal variances (HC3)."""
    response, dose = response.double(), dose.double()
    power = dose.square().sum()
    if not power > 0:
        raise ValueError("expected nodes with neighbours, some of them treated, to estimate spillover from (got none)")
    slope = (dose * response).sum() / power
    left = (response - slope * dose) / (1 - dose.square() / power)  # as if the node itself had been left out
    error = (dose * left).square().sum().sqrt() / power
    return AverageEffect.of(float(slope), float(error), level)
