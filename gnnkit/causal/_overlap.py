"""Overlap: how far every node could have been treated or not, and a warning where it could not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

EXTREME = 0.01  # where nothing is clipped
_MANY = 0.05


@dataclass(frozen=True)
class Overlap:
    """How far every node could have been treated or not.

    Attributes:
        least: Smallest estimated propensity, before clipping.
        most: Largest.
        clipped: Share of the nodes whose propensity was clipped, without those that are left out.
        trimmed: Share of the nodes that are left out of the effect.
        effective: Effective share of the nodes under inverse-propensity weights, Kish's (sum w)^2 / (N sum w^2).
        extreme: Share of the nodes beyond ``clip``, or beyond 0.01 and 0.99 where nothing is clipped, without those
            that are left out.
    """

    least: float
    most: float
    clipped: float
    trimmed: float
    effective: float
    extreme: float

    def __str__(self) -> str:
        return (
            f"propensities {self.least:.3f} to {self.most:.3f}, {100 * self.clipped:.1f} % clipped, "
            f"{100 * self.trimmed:.1f} % trimmed, weights worth {100 * self.effective:.0f} % of the nodes"
        )


def overlap(raw: Tensor, treatment: Tensor, clip: float = 0.0, kept: Tensor | None = None) -> Overlap:
    """Describe propensities ``[N]``, which have not been clipped; ``kept [N]`` says which are not left out."""
    clipped, edge = raw.clamp(clip, 1 - clip), clip or EXTREME
    kept = torch.ones_like(raw, dtype=torch.bool) if kept is None else kept
    chance = torch.where(treatment == 1, clipped, 1 - clipped).double()
    weight = 1 / chance
    effective = float(weight.sum().square() / (len(weight) * weight.square().sum())) if chance.min() > 0 else 0.0
    moved, extreme = (float((part & kept).double().mean()) for part in (raw != clipped, (raw - 0.5).abs() > 0.5 - edge))
    return Overlap(float(raw.min()), float(raw.max()), moved, 1 - float(kept.double().mean()), effective, extreme)


def warn_of(found: Overlap, clip: float) -> None:
    """Warn the caller's caller where more than one node in twenty could hardly have been either."""
    edge = clip or EXTREME
    if found.extreme > _MANY:
        warnings.warn(
            f"{100 * found.extreme:.0f} % of the nodes have propensities below {edge:g} or above {1 - edge:g}: they "
            "could hardly have been either treated or not: their effects are guesses. GraphRLearner(trim=0.05) leaves "
            "them out, overlap_ describes them",
            stacklevel=3,
        )
