"""What estimated effects are good for: whom to treat first, and whether they mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from gnnkit.causal._average import AverageEffect


@dataclass(frozen=True, eq=False)
class UpliftCurve:
    """What is gained by treating the nodes with the largest estimated effects first.

    Attributes:
        share: ``[N + 1]``, 0 to 1, of nodes that are treated.
        gain: ``[N + 1]``, mean gain over all N nodes when that share is treated.
        area: Mean height of the curve over that of treating at random (the Qini coefficient), with its interval; at or
            below 0, the order of the effects is worth nothing.
    """

    share: np.ndarray
    gain: np.ndarray
    area: AverageEffect


@dataclass(frozen=True, eq=False)
class Calibration:
    """Whether nodes with larger estimated effects have larger effects, and by as much.

    Attributes:
        slope: Of scores on estimated effects, with its interval: 1 where differences between nodes are what they are
            estimated to be, below where they are exaggerated, 0 where they are noise.
        predicted: ``[groups]`` mean estimated effect of nodes grouped by it.
        observed: ``[groups]`` mean score, an estimate that does not rest on the effects alone.
        standard_error: ``[groups]`` of ``observed``.
    """

    slope: AverageEffect
    predicted: np.ndarray
    observed: np.ndarray
    standard_error: np.ndarray


def uplift_curve(effect: Any, scores: Any, level: float = 0.95, *, folds: Any = None) -> UpliftCurve:
    r"""The gain of treating by estimated effects, :math:`g(q) = \frac{1}{N} \sum_{i \leq qN} s_{(i)}`, largest first.

    Effects must not come from the outcomes of the nodes they rank: ``held_out_effect_`` does not. With ``folds`` nodes
    are ranked within their fold. Each fold's effects are those of a fit of its own, and where a fold's outcomes are
    high, that of the others has been fitted to lower ones: without folds, effects that do not vary seem to be upside
    down.

    Args:
        effect: ``[N]`` estimated effects, held out.
        scores: ``[N]``, such as `GraphRLearner.scores`; in a randomised trial with half of the nodes treated,
            4 (T - 1/2) Y will do, with more noise.
        level: Of the interval of the area.
        folds: ``[N]`` numbers of the folds that the effects come from, such as ``GraphRLearner.fold_``; None where one
            fit made all of them.

    Raises:
        ValueError: Sizes differ, or a number is not finite.

    Example:
        >>> from gnnkit.causal import GraphRLearner, simulate, uplift_curve
        >>> data = simulate("ba", seed=0, num_nodes=500)
        >>> learner = GraphRLearner("linear-graph", "linear-graph", "linear-graph", random_state=0).fit(data)
        >>> uplift_curve(learner.held_out_effect_, learner.scores(), folds=learner.fold_).area.low > 0
        True
    """
    tau, s, groups = _columns(effect, scores, folds)
    number = len(tau)
    rank, centred = np.empty(number), np.empty(number)
    for fold in groups:
        rank[fold] = (rankdata(-tau[fold]) - 0.5) / len(fold)  # 0 for the first of its fold to 1 for the last
        centred[fold] = s[fold] - s[fold].mean()
    # nodes of the same rank have no order: each counts with their mean score
    _, same, sizes = np.unique(rank, return_inverse=True, return_counts=True)
    even = (np.bincount(same, s) / sizes)[same]
    gain = np.concatenate([[0.0], np.cumsum(even[np.argsort(rank, kind="stable")])]) / number
    # the area is a mean of scores, each with the weight of its rank, 1/2 for the first to -1/2 for the last
    parts = (0.5 - rank) * centred
    area = AverageEffect.of(float(parts.mean()), float(parts.std(ddof=1) / np.sqrt(number)), level)
    return UpliftCurve(np.linspace(0, 1, number + 1), gain, area)


def calibration(effect: Any, scores: Any, groups: int = 5, level: float = 0.95, *, folds: Any = None) -> Calibration:
    r"""Compare estimated effects with scores: the slope :math:`s = a + b (\hat\tau - \bar\tau)`, and means by groups.

    Source: Chernozhukov et al., arXiv 1712.04802, the best linear predictor, on doubly robust scores. Effects must be
    held out, and with ``folds`` they are compared within each, as for `uplift_curve`. Nuisances of a fold still come
    from outcomes of the others: on 100 networks of 500 nodes whose effects do not vary, 3 slopes were above 0 by their
    intervals of 95 % and 14 below, where 2.5 would have been.

    Args:
        effect: ``[N]`` estimated effects, held out.
        scores: ``[N]``, such as `GraphRLearner.scores`.
        groups: Number of groups of equal size.
        level: Of the slope's interval.
        folds: As `uplift_curve`.

    Raises:
        ValueError: Sizes differ, a number is not finite, all effects (of a fold) are the same, or groups are fewer than
            two or have fewer than two nodes each.

    Example:
        >>> from gnnkit.causal import GraphRLearner, calibration, simulate
        >>> data = simulate("ba", seed=0, num_nodes=500)
        >>> learner = GraphRLearner("linear-graph", "linear-graph", "linear-graph", random_state=0).fit(data)
        >>> slope = calibration(learner.held_out_effect_, learner.scores(), folds=learner.fold_).slope
        >>> slope.low < 1 < slope.high
        True
    """
    tau, s, parts = _columns(effect, scores, folds)
    if isinstance(groups, bool) or not isinstance(groups, int) or not 2 <= groups <= len(tau) // 2:
        raise ValueError(f"groups: expected 2 to {len(tau) // 2}, half of the nodes (got {groups!r})")
    means, levels = tau.mean(), s.mean()
    centred, score = np.empty_like(tau), np.empty_like(s)
    for fold in parts:
        centred[fold], score[fold] = tau[fold] - tau[fold].mean(), s[fold] - s[fold].mean()
    power = float(centred @ centred)
    if power <= 1e-20 * float(tau @ tau):  # what rounding of the means leaves
        where = "" if folds is None else " within folds"
        raise ValueError(f"effect: expected effects that differ{where} (got {tau[0]:g} for all)")
    slope = float(centred @ score) / power
    left = score - slope * centred
    error = float(np.sqrt(((centred * left) ** 2).sum())) / power
    tau, s = centred + means, score + levels
    grouped = np.array_split(np.argsort(tau, kind="stable"), groups)
    return Calibration(
        AverageEffect.of(slope, error, level),
        np.array([tau[group].mean() for group in grouped]),
        np.array([s[group].mean() for group in grouped]),
        np.array([s[group].std(ddof=1) / np.sqrt(len(group)) for group in grouped]),
    )


def _columns(effect: Any, scores: Any, folds: Any) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Both columns, and the places of each fold's nodes."""
    tau, s = (torch.as_tensor(values).detach().cpu().double().numpy() for values in (effect, scores))
    if tau.ndim != 1 or tau.shape != s.shape or len(tau) < 4:
        raise ValueError(
            f"effect and scores: expected two [N], N at least 4 (got {list(tau.shape)} and {list(s.shape)})"
        )
    if not (np.isfinite(tau).all() and np.isfinite(s).all()):
        raise ValueError("effect and scores: expected finite numbers (got NaN or infinity)")
    if folds is None:
        return tau, s, [np.arange(len(tau))]
    fold = torch.as_tensor(folds).cpu().numpy()
    if fold.shape != tau.shape or (counts := np.unique(fold, return_counts=True)[1]).min() < 2:
        got = f"shape {list(fold.shape)}" if fold.shape != tau.shape else f"{counts.min()} in one"
        raise ValueError(f"folds: expected [{len(tau)}] numbers of folds of two nodes or more (got {got})")
    return tau, s, [np.flatnonzero(fold == number) for number in np.unique(fold)]
