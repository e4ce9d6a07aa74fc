"""GIDS's accumulator: enough reads at once to keep a disk busy, taken from the batches to come."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from gnnkit.data._policies import Ints
from gnnkit.data._store import FeatureStore


def outstanding_accesses(
    fraction: float,
    bandwidth: float,
    storage_latency: float,
    system_latency: float = 0.0,
    *,
    access_bytes: int = 4096,
    devices: int = 1,
) -> int:
    """Return how many accesses have to be under way for a fraction of the storage's peak bandwidth.

    ``n* = p / (1 - p) · BW · (l_ssd + l_sys) · n_ssd / page`` (GIDS, arXiv 2306.16384), rounded up.

    Args:
        fraction: p, in [0, 1).
        bandwidth: Peak of one device, bytes a second.
        storage_latency: l_ssd of one access, seconds.
        system_latency: l_sys, what the system adds to it, seconds.
        access_bytes: Of one access: a page, or a row if that is longer.
        devices: n_ssd, how many work side by side.

    Example:
        >>> from gnnkit.data import outstanding_accesses
        >>> outstanding_accesses(0.95, bandwidth=7e9, storage_latency=80e-6, system_latency=20e-6)
        3248
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction: expected a number in [0, 1) (got {fraction!r})")
    for name, value in (("bandwidth", bandwidth), ("access_bytes", access_bytes), ("devices", devices)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: expected a number above 0 (got {value!r})")
    for name, value in (("storage_latency", storage_latency), ("system_latency", system_latency)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: expected seconds, at least 0 (got {value!r})")
    latency = storage_latency + system_latency
    return math.ceil(fraction / (1 - fraction) * bandwidth * latency * devices / access_bytes)


class Accumulator:
    """Reads from a store, and where rows are wanted now, as many of the next batches' as make ``outstanding``.

    The rows read early wait here, at most ``outstanding`` of them, and are handed out once. So a disk sees few reads of
    many rows, and a batch whose rows all wait here none.

    Attributes:
        rows: Read from the store so far.
        calls: Reads of the store so far.
    """

    def __init__(self, store: FeatureStore, outstanding: int) -> None:
        self.store, self.outstanding = store, outstanding
        self.rows = self.calls = 0
        self._ids: Ints = np.empty(0, np.int64)  # of the rows that wait, sorted
        self._waiting = torch.empty(0, *store.shape[1:], dtype=store.dtype)

    def read(self, ids: Ints, ahead: Iterable[Ints], out: Tensor) -> None:
        """Write the rows of distinct ids into ``out``; ``ahead`` gives the rows that coming batches will miss."""
        place, found = self._find(ids)
        needed = ids[~found]
        if len(needed):
            early = self._early(ids, len(needed), ahead)
            if not len(early) and not len(self._ids):  # as it came, without a copy
                self._fetch(ids, out)
                return
            rows = self._fetch(np.concatenate([needed, early]), None)
            out[torch.from_numpy(np.flatnonzero(~found))] = rows[: len(needed)]
        waiting = torch.from_numpy(place[found])
        out[torch.from_numpy(np.flatnonzero(found))] = self._waiting[waiting]
        left = np.setdiff1d(np.arange(len(self._ids)), place[found])
        self._ids, self._waiting = self._ids[left], self._waiting[torch.from_numpy(left)]
        if len(needed) and len(early):
            both = np.concatenate([self._ids, early])
            order = np.argsort(both)
            self._waiting = torch.cat([self._waiting, rows[len(needed) :]])[torch.from_numpy(order)]
            self._ids = both[order]

    def forget(self) -> None:
        """Drop the rows that were read early."""
        self._ids, self._waiting = self._ids[:0], self._waiting[:0]

    def _early(self, ids: Ints, count: int, ahead: Iterable[Ints]) -> Ints:
        """Choose rows of coming batches, the nearest first, that fill up what is needed now."""
        room = self.outstanding - max(count, 1) - len(self._ids) if self.outstanding else 0
        early: Ints = ids[:0]
        if room <= 0:
            return early
        for batch in ahead:
            fresh = np.setdiff1d(batch, np.concatenate([ids, self._ids, early]), assume_unique=True)
            early = np.concatenate([early, fresh[: room - len(early)]])
            if len(early) == room:
                break
        return early

    def _find(self, ids: Ints) -> tuple[Ints, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """For each id its place among the rows that wait, and whether it is there."""
        if not len(self._ids):
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return place, self._ids[place] == ids

    def _fetch(self, ids: Ints, out: Tensor | None) -> Tensor:
        rows = self.store.read(torch.from_numpy(ids), out)
        self.rows, self.calls = self.rows + len(ids), self.calls + 1
        return rows
