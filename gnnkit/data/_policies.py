"""What each policy drops first: one number a row, the largest goes. Pure functions of ids and steps, without data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

POLICIES = ("degree", "pagerank", "lru", "lookahead", "hybrid", "random", "fifo")
STATIC = ("degree", "pagerank")  # a score of the row alone
SCORED = (*STATIC, "hybrid")
WINDOWED = ("lookahead", "hybrid")  # know the next batches
UNKNOWN = 2**61  # a reuse that no announced batch has; steps are smaller
_STEPS = 31  # bits of a step


@dataclass(frozen=True)
class Policy:
    """A policy, with what it knows from the start.

    Attributes:
        name: One of `POLICIES`.
        ranks: ``[N]``, 0 for the rows of the highest score, rows of one score alike; None without scores.
        seed: Of ``"random"``.
    """

    name: str
    ranks: NDArray[np.int32] | None = None
    seed: int = 0

    def keys(self, ids: Ints, reuse: Ints, since: Ints, step: int) -> Ints:
        """Give each row a key; the largest leave first.

        Args:
            ids: ``[K]`` rows.
            reuse: ``[K]`` the next step that is known to use them, or `UNKNOWN`.
            since: ``[K]`` the step of their last use; for ``"fifo"`` of their loading.
            step: The present one.
        """
        if self.name == "random":
            return _mixed(ids, step, self.seed)
        if self.name in ("lru", "fifo"):
            return -since
        if self.name == "lookahead":  # unknown before known; the longest unused, or the farthest
            return np.where(reuse < UNKNOWN, reuse, 2 * UNKNOWN - since)
        assert self.ranks is not None
        ranks = self.ranks[ids].astype(np.int64)
        if self.name in STATIC:
            return ranks
        unknown = UNKNOWN + (ranks << _STEPS) + (2**_STEPS - 1 - since)  # the lowest score, then the longest unused
        return np.where(reuse < UNKNOWN, reuse, unknown)


def worst(keys: Ints, ids: Ints, count: int) -> Ints:
    """Return the positions of the ``count`` largest keys; of equal keys the higher ids go. O(K), in no order."""
    if count == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(keys, len(keys) - count)[len(keys) - count]
    above, tied = np.flatnonzero(keys > threshold), np.flatnonzero(keys == threshold)
    wanted = count - len(above)
    if wanted < len(tied):
        tied = tied[np.argpartition(ids[tied], len(tied) - wanted)[len(tied) - wanted :]]
    return np.concatenate([above, tied])


def ranks_of(scores: NDArray[np.generic]) -> NDArray[np.int32]:
    """Number scores from the highest, 0, on; equal scores have equal numbers."""
    _, inverse = np.unique(scores, return_inverse=True)
    ranks: NDArray[np.int32] = (inverse.max(initial=0) - inverse).astype(np.int32)
    return ranks


def _mixed(ids: Ints, step: int, seed: int) -> Ints:
    """Random numbers that depend on (id, step, seed) alone: a finaliser of 64 bits over their sum."""
    start = (seed * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03) % 2**64
    z = ids.astype(np.uint64) * np.uint64(0xA0761D6478BD642F) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(2)).astype(np.int64)
