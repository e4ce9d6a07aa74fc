"""Paired comparisons of errors over seeds: differences, t and Wilcoxon tests, Holm's correction, effect sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student
from scipy.stats import ttest_rel, wilcoxon


@dataclass(frozen=True)
class Comparison:
    """Errors of one method against those of another on the same seeds.

    Attributes:
        method: Whose errors.
        rival: Against whose.
        difference: Mean of (method - rival): below 0 the method is better.
        low: Lower end of its 95 % interval, Student's t.
        high: Upper end.
        size: Mean difference over its deviation, Cohen's d of pairs.
        t_p: p of the paired t-test, two-sided.
        wilcoxon_p: p of Wilcoxon's signed-rank test, two-sided.
        holm_p: The larger of both, corrected by Holm for the comparisons made together.
        seeds: How many pairs.
    """

    method: str
    rival: str
    difference: float
    low: float
    high: float
    size: float
    t_p: float
    wilcoxon_p: float
    holm_p: float
    seeds: int


def compare(errors: Mapping[str, Sequence[float]], method: str, rivals: Sequence[str]) -> list[Comparison]:
    """Compare a method with each of its rivals, with p-values corrected for all of them together.

    Args:
        errors: Of every method, one a seed, in the same order.
        method: A key of it.
        rivals: Other keys.

    Raises:
        ValueError: A name is unknown, or methods have different numbers of seeds or fewer than two.

    Example:
        >>> from gnnkit.causal import compare
        >>> errors = {"a": [0.1, 0.2, 0.15, 0.12, 0.3], "b": [0.3, 0.5, 0.4, 0.35, 0.6]}
        >>> [(c.rival, round(c.difference, 2), c.holm_p < 0.1) for c in compare(errors, "a", ["b"])]
        [('b', -0.26, True)]
    """
    for name in (method, *rivals):
        if name not in errors:
            raise ValueError(f"expected one of {', '.join(errors)} (got {name!r})")
    own = np.asarray(errors[method], dtype=np.float64)
    found = [_pair(own, np.asarray(errors[rival], dtype=np.float64), method, rival) for rival in rivals]
    corrected = holm([max(c.t_p, c.wilcoxon_p) for c in found])
    return [replace(c, holm_p=p) for c, p in zip(found, corrected, strict=True)]


def _pair(own: np.ndarray, other: np.ndarray, method: str, rival: str) -> Comparison:
    if own.shape != other.shape or own.ndim != 1 or len(own) < 2:
        got = f"{len(own)} of {method}, {len(other)} of {rival}"
        raise ValueError(f"expected errors of the same seeds, two or more (got {got})")
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        raise ValueError(f"expected finite errors (got NaN or infinity of {method} or {rival})")
    difference = own - other
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    if deviation <= 1e-12 * abs(mean):  # the tests have nothing to go by
        if mean == 0:
            return Comparison(method, rival, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, len(own))
        size, signed = float(np.copysign(np.inf, mean)), 2 * 0.5 ** len(own)  # all ranks on one side
        return Comparison(method, rival, mean, mean, mean, size, 0.0, signed, signed, len(own))
    reach = float(student.ppf(0.975, len(own) - 1)) * deviation / math.sqrt(len(own))
    t_p, w_p = float(ttest_rel(own, other).pvalue), float(wilcoxon(difference).pvalue)
    return Comparison(
        method, rival, mean, mean - reach, mean + reach, mean / deviation, t_p, w_p, max(t_p, w_p), len(own)
    )


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values, in their order."""
    order = np.argsort(values, kind="stable")
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected
