"""What a process did when: the measured counterpart of a simulated timeline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gnnkit.pipeline._timeline import Event, EventKind, Timeline


class Trace:
    """Writes down the events of an epoch, if asked to.

    Args:
        rank: Whose.
        enabled: Whether to.
    """

    def __init__(self, rank: int, enabled: bool) -> None:
        self.rank, self.enabled = rank, enabled
        self.events: list[Event] = []
        self._origin = 0.0

    def begin(self) -> None:
        """Begin an epoch: forget the last one's events."""
        self.events, self._origin = [], time.monotonic()

    @property
    def timeline(self) -> Timeline:
        """The last epoch of this process."""
        return Timeline(tuple(self.events), max((event.end_seconds for event in self.events), default=0.0))

    @contextmanager
    def event(self, kind: EventKind, chunk: int = -1) -> Iterator[None]:
        """Write down that the block ran."""
        if not self.enabled:
            yield
            return
        start = time.monotonic() - self._origin
        yield
        self.events.append(Event(self.rank, kind, chunk, start, time.monotonic() - self._origin))
