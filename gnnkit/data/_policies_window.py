"""The window of announced batches: when each of their rows is used again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from gnnkit.data._policies import UNKNOWN, Ints


class Window:
    """The batch that is read next and up to ``length`` batches after it.

    Steps are absolute: batch t is the t-th that is read, from 0 on. Every row of an open batch is an entry; entries are
    numbered through all batches, and a ring holds, for each entry of the open ones, the next step that uses its row.
    Letting a batch in costs O(its rows), whatever the length.

    Memory: 8 bytes a row of the table, 8 an open entry; nothing a row with length 0.
    """

    def __init__(self, num_rows: int, length: int) -> None:
        self.length = length
        self.step = 0  # of the batch that is read next
        self._announced: deque[Ints] = deque()  # beyond the window; appended to by other threads too
        self._open: deque[tuple[int, Ints]] = deque()  # first entry and rows of batch step, step + 1, …
        self._latest = np.full(num_rows if length else 0, -1, np.int64)  # [N] the last entry of each row
        self._next = np.empty(16, np.int64)  # ring, its length a power of two
        self._entries = 0

    def announce(self, ids: Ints) -> None:
        """Append a batch of distinct rows."""
        self._announced.append(ids)

    def admit(self) -> Iterator[tuple[int, Ints]]:
        """Let announced batches into the window; give the step and the rows of each."""
        while self._announced and len(self._open) <= self.length:
            ids = self._announced[0]
            step, first = self.step + len(self._open), self._entries
            self._link(step, ids)
            self._open.append((first, ids))
            self._announced.popleft()
            yield step, ids

    def oldest(self) -> tuple[Ints, Ints]:
        """Return the rows of the oldest open batch, and the step that uses each next, or `UNKNOWN`."""
        first, ids = self._open[0]
        return ids, self._next[self._ring(first, first + len(ids))]

    def later(self) -> Iterator[tuple[int, Ints]]:
        """Give step and rows of the open batches after the oldest."""
        for number, (_, ids) in enumerate(self._open):
            if number:
                yield self.step + number, ids

    def advance(self) -> None:
        """Close the oldest batch, or count a step that nobody announced."""
        if self._open:
            self._open.popleft()
        self.step += 1

    def forget(self) -> None:
        """Drop all batches that were announced and not read."""
        self._announced.clear()
        self._open.clear()

    def _link(self, step: int, ids: Ints) -> None:
        self._make_room(len(ids))
        first, end = self._entries, self._entries + len(ids)
        self._next[self._ring(first, end)] = UNKNOWN
        self._entries = end  # before a row is noted under an entry: after an interruption its number is not used again
        if self.length:
            before = self._latest[ids]
            live = before[before >= (self._open[0][0] if self._open else first)]
            self._next[live & (len(self._next) - 1)] = step
            self._latest[ids] = np.arange(first, end)

    def _ring(self, begin: int, end: int) -> Ints:
        return np.arange(begin, end) & (len(self._next) - 1)

    def _make_room(self, count: int) -> None:
        begin = self._open[0][0] if self._open else self._entries
        size = len(self._next)
        while size < self._entries - begin + count:
            size *= 2
        if size > len(self._next):
            kept = self._next[self._ring(begin, self._entries)]
            self._next = np.empty(size, np.int64)
            self._next[self._ring(begin, self._entries)] = kept
