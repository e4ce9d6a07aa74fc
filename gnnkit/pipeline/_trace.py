"""What a process did when: the measured counterpart of a simulated timeline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gnnkit.pipeline._timeline import Event, EventKind, Timeline


class Trace:
    """Writes down the events of an epoch, if asked to.

    Args:
        rank: Whose.
        enabled: Whether to.
        device: Where it computes.
    """

    def __init__(self, rank: int, enabled: bool, device: torch.device) -> None:
        self.rank, self.enabled, self.device = rank, enabled, device
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
        start = self._now()
        yield
        self.events.append(Event(self.rank, kind, chunk, start, self._now()))

    def _now(self) -> float:
        if self.device.type == "cuda":  # what was launched has to be over
            torch.cuda.synchronize(self.device)
        return time.monotonic() - self._origin
