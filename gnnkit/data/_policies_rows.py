"""Residents: which rows lie in which lines, step by step. It plans; `gnnkit.data.Cached` moves the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gnnkit.data._policies import UNKNOWN, WINDOWED, Ints, Policy, worst
from gnnkit.data._policies_window import Window
from gnnkit.data._victim import Parked, Victims


@dataclass(frozen=True)
class Found:
    """Where the distinct rows of the batch of one step lie.

    Attributes:
        step: The step.
        ids: ``[U]`` distinct rows.
        reuse: ``[U]`` the next step that uses them, or `UNKNOWN`.
        line: ``[U]`` their line, or -1.
        waiting: ``[U]`` their number in the victim queue of this step, or -1.
        missing: Positions of the rows that lie nowhere.
    """

    step: int
    ids: Ints
    reuse: Ints
    line: Ints
    waiting: Ints
    missing: Ints


@dataclass(frozen=True)
class Moves:
    """What changes place after a step.

    Attributes:
        evicted: Lines that become free.
        load: Positions in the batch whose rows enter a line, and
        lines: the lines, one each.
        park_lines, park_rows: Lines, and positions in the batch, whose rows are offered to the victim buffer: first all
            of the lines, then all of the batch.
        parked: Those of them that find a place there.
    """

    evicted: Ints
    load: Ints
    lines: Ints
    park_lines: Ints
    park_rows: Ints
    parked: Parked


class Residents:
    """The rows that a cache holds: after every batch the best of those held and those just read.

    After step t the cache keeps, of its rows and the rows of batch t, as many as fit, by the policy's keys: a row may
    be passed on without being kept. A call of `look`, `settle` and `commit` is a step; only `settle` and `commit`
    change anything, so that a step given up after `look` has not happened.

    A line holds row x exactly when both tables say so (``ids[line[x]] == x``): what is interrupted between two
    assignments leaves a free line, never a wrong one.

    Memory: 4 bytes a row of the table, 24 a line, and the window's.

    Args:
        num_rows: Rows of the table.
        capacity: Rows that fit, in lines and in the victim buffer.
        policy: Which to keep.
        window: Batches known ahead; look-ahead policies only.
        victim_rows: Of the capacity, rows for the victim buffer: as many for each of the next ``window`` batches, the
            remainder are lines.
    """

    def __init__(self, num_rows: int, capacity: int, policy: Policy, window: int = 0, victim_rows: int = 0) -> None:
        length = window if policy.name in WINDOWED else 0
        self.policy, self.window = policy, Window(num_rows, length)
        self.victims = Victims(length, min(victim_rows // length, num_rows) if length else 0)
        self.capacity = min(capacity - self.victims.num_rows, num_rows)  # lines
        self._ids = np.full(self.capacity + 1, -1, np.int64)  # row of each line; the last line stays empty
        self._line = np.full(num_rows, self.capacity, np.int32)
        self._reuse = np.full(self.capacity + 1, UNKNOWN, np.int64)
        self._since = np.zeros(self.capacity + 1, np.int64)
        # [N] position in the batch, to find the batch's rows among those that wait for it
        self._position = np.zeros(num_rows if self.victims.num_rows else 0, np.int32)

    def look(self, ids: Ints | None = None) -> Found:
        """Find the rows of the oldest announced batch; of ``ids``, distinct rows, where none was announced.

        The caller decides which of them: another thread may announce at any time, and batches that it announces during
        a step of unannounced rows come after that step.
        """
        if ids is None:
            for later, admitted in self.window.admit():
                self._refresh(later, admitted)
            ids, reuse = self.window.oldest()
        else:
            reuse = np.full(len(ids), UNKNOWN, np.int64)
        step = self.window.step
        line = self._line[ids].astype(np.int64)
        line[self._ids[line] != ids] = -1
        waiting = np.full(len(ids), -1, np.int64)
        queued, _ = self.victims.queue(step)
        if len(queued):
            self._position[ids] = np.arange(len(ids))
            waiting[self._position[queued]] = np.arange(len(queued))
            waiting[line >= 0] = -1
        return Found(step, ids, reuse, line, waiting, np.flatnonzero((line < 0) & (waiting < 0)))

    def settle(self, found: Found) -> Moves:
        """Free the lines of the rows that leave, and say what enters which."""
        hits, new = found.line[found.line >= 0], np.flatnonzero(found.line < 0)
        self._reuse[hits] = found.reuse[found.line >= 0]
        if self.policy.name != "fifo":
            self._since[hits] = found.step
        self.victims.clear(found.step)
        held = np.flatnonzero(self._ids[:-1] >= 0)
        over = max(len(held) + len(new) - self.capacity, 0)
        since = np.concatenate([self._since[held], np.full(len(new), found.step)])
        reuse = np.concatenate([self._reuse[held], found.reuse[new]])
        ids = np.concatenate([self._ids[held], found.ids[new]])
        gone = np.sort(worst(self.policy.keys(ids, reuse, since, found.step), ids, over)) if over else ids[:0]
        evicted, stays = held[gone[gone < len(held)]], np.ones(len(new), bool)
        stays[gone[gone >= len(held)] - len(held)] = False
        load = new[stays]
        wanted = gone[reuse[gone] < UNKNOWN]
        parked = self.victims.offer(ids[wanted], reuse[wanted])
        self._ids[evicted] = -1
        lines = np.flatnonzero(self._ids[:-1] < 0)[: len(load)]
        park_lines, park_rows = wanted[wanted < len(held)], wanted[wanted >= len(held)]
        return Moves(evicted, load, lines, held[park_lines], new[park_rows - len(held)], parked)

    def commit(self, found: Found, moves: Moves) -> None:
        """Take in the rows whose data have been moved, and go to the next step."""
        ids = found.ids[moves.load]
        self._reuse[moves.lines], self._since[moves.lines] = found.reuse[moves.load], found.step
        self._line[ids] = moves.lines
        self._ids[moves.lines] = ids
        self.victims.park(moves.parked)
        self.window.advance()

    def missing_ahead(self) -> Iterator[Ints]:
        """Give, for each open batch after the oldest, the rows that would be missing if it were read now."""
        for step, ids in self.window.later():
            absent = ids[self._ids[self._line[ids]] != ids]
            queued, _ = self.victims.queue(step)
            yield np.setdiff1d(absent, queued, assume_unique=True) if len(queued) else absent

    def forget(self) -> None:
        """Drop announced batches, and with them everything known about the future."""
        self.window.forget()
        self.victims.forget()
        self._reuse[:] = UNKNOWN

    def _refresh(self, step: int, ids: Ints) -> None:
        """A batch came into the window: rows held without a known reuse have one now."""
        lines = self._line[ids]
        lines = lines[(self._ids[lines] == ids) & (self._reuse[lines] == UNKNOWN)]
        self._reuse[lines] = step
