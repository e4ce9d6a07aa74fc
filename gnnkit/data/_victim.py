"""The victim buffer: queues of rows that left the cache although a coming batch uses them. Places, without data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnnkit.data._policies import Ints


@dataclass(frozen=True)
class Parked:
    """Rows that get a place: queue by queue, in each queue side by side."""

    chosen: Ints  # [V] positions among the rows offered
    places: Ints  # [V] row of the buffer
    ids: Ints  # [V]


class Victims:
    """A ring of ``buffers`` queues of ``depth`` rows: queue t mod ``buffers`` holds rows that batch t uses next.

    LSM-GNN's preemptive victim-buffer prefetcher (arXiv 2407.15264). A row goes there when it leaves the cache with a
    known reuse, is dropped where its queue is full, and comes back right before its batch. The queue of batch t is free
    again once t was read, so that a reuse at most ``buffers`` steps ahead always has a queue.
    """

    def __init__(self, buffers: int, depth: int) -> None:
        self.buffers, self.depth = buffers, depth
        self._ids = np.full((buffers, depth), -1, np.int64)
        self._count = np.zeros(buffers, np.int64)

    @property
    def num_rows(self) -> int:
        """How many rows fit."""
        return self.buffers * self.depth

    def queue(self, step: int) -> tuple[Ints, int]:
        """Return the rows that wait for a step, and the place of the first; the others follow it."""
        if not self.num_rows:
            return np.empty(0, np.int64), 0
        number = step % self.buffers
        return self._ids[number, : self._count[number]], number * self.depth

    def clear(self, step: int) -> None:
        """Empty the queue of a step."""
        if self.num_rows:
            self._count[step % self.buffers] = 0

    def offer(self, ids: Ints, steps: Ints) -> Parked:
        """Say which rows find a place in the queues of their steps; rows offered earlier come first."""
        if not self.num_rows or not len(ids):
            nothing = np.empty(0, np.int64)
            return Parked(nothing, nothing, nothing)
        queues = steps % self.buffers
        order = np.argsort(queues, kind="stable")
        sizes = np.bincount(queues, minlength=self.buffers)
        number = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the queue's newcomers
        slot = self._count[queues[order]] + number
        fits = slot < self.depth
        chosen = order[fits]
        return Parked(chosen, queues[chosen] * self.depth + slot[fits], ids[chosen])

    def park(self, parked: Parked) -> None:
        """Take the rows in, once their data lie at their places."""
        queues, slots = np.divmod(parked.places, max(self.depth, 1))
        self._ids[queues, slots] = parked.ids
        np.maximum.at(self._count, queues, slots + 1)

    def forget(self) -> None:
        """Empty all queues."""
        self._count[:] = 0
