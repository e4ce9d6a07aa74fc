"""What each process did when, in one epoch: measured, or simulated."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

EventKind = Literal["forward", "backward", "send", "wait", "boundary", "update"]
COMPUTING: tuple[EventKind, ...] = ("forward", "backward", "update")


@dataclass(frozen=True)
class Event:
    """Something that a rank did or waited for.

    Attributes:
        rank: Whose.
        kind: ``"forward"`` or ``"backward"`` of a chunk through the rank's layers, with the waits inside of it;
            ``"send"`` to another stage, from the start to the end of the transfer; ``"wait"`` for a message;
            ``"boundary"`` the transfer of boundary rows to other ways; ``"update"`` the sum of the parameters'
            gradients and the optimiser's step.
        chunk: The chunk, -1 where there is none.
        start_seconds: Since the epoch began.
        end_seconds: Since the epoch began.
        num_bytes: Of a message.
    """

    rank: int
    kind: EventKind
    chunk: int
    start_seconds: float
    end_seconds: float
    num_bytes: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(EventKind):
            raise ValueError(f"kind: expected one of {', '.join(get_args(EventKind))} (got {self.kind!r})")
        if self.end_seconds < self.start_seconds:
            raise ValueError(f"expected an event that ends after it starts (got {self})")

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True)
class Timeline:
    """One epoch of one rank, or of several.

    Example:
        >>> from gnnkit.pipeline import Event, Timeline
        >>> zero = Timeline((Event(0, "forward", 0, 0.0, 1.0), Event(0, "wait", 0, 1.0, 3.0)), 4.0)
        >>> one = Timeline((Event(1, "forward", 0, 1.0, 3.0), Event(1, "wait", 1, 1.5, 2.0)), 3.9)
        >>> both = Timeline.merge([zero, one])
        >>> both.ranks, both.epoch_seconds, both.busy_seconds(1), both.bubble_fraction
        ((0, 1), 4.0, 1.5, 0.6875)

    Attributes:
        events: By rank, then by start.
        epoch_seconds: Length of the epoch.
    """

    events: tuple[Event, ...]
    epoch_seconds: float

    @classmethod
    def merge(cls, timelines: Iterable[Timeline]) -> Timeline:
        """Put several ranks' timelines of one epoch side by side; the epoch is as long as the longest.

        Raises:
            ValueError: There is none, or two of them hold events of one rank.
        """
        parts = list(timelines)
        ranks = [rank for part in parts for rank in part.ranks]
        if not parts or len(ranks) != len(set(ranks)):
            raise ValueError(f"timelines: expected one for each rank (got ranks {sorted(ranks)})")
        events = sorted((event for part in parts for event in part.events), key=lambda e: (e.rank, e.start_seconds))
        return cls(tuple(events), max(part.epoch_seconds for part in parts))

    @cached_property
    def _by_rank(self) -> dict[int, tuple[Event, ...]]:
        found: dict[int, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.rank, []).append(event)
        return {rank: tuple(found[rank]) for rank in sorted(found)}

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that have events."""
        return tuple(self._by_rank)

    def of(self, rank: int, *kinds: EventKind) -> tuple[Event, ...]:
        """Give a rank's events of some kinds, or of all."""
        return tuple(event for event in self._by_rank.get(rank, ()) if not kinds or event.kind in kinds)

    def sent_bytes(self, rank: int) -> int:
        """Bytes that a rank sent to other stages and ways, without the parameters' gradients."""
        return sum(event.num_bytes for event in self.of(rank, "send", "boundary"))

    def busy_seconds(self, rank: int) -> float:
        """How long a rank computed: forward, backward and update without the waits inside of them."""
        work = sorted(self.of(rank, *COMPUTING), key=_start)  # one after the other
        inside = 0.0
        for wait in self.of(rank, "wait"):
            at = max(bisect_right(work, wait.start_seconds, key=_start) - 1, 0)
            while at < len(work) and work[at].start_seconds < wait.end_seconds:
                span = min(work[at].end_seconds, wait.end_seconds) - max(work[at].start_seconds, wait.start_seconds)
                inside += max(0.0, span)
                at += 1
        return sum(task.seconds for task in work) - inside

    @property
    def bubble_fraction(self) -> float:
        """The share of the ranks' time in which they did not compute."""
        total = self.epoch_seconds * len(self.ranks)
        return 1.0 - sum(self.busy_seconds(rank) for rank in self.ranks) / total if total else 0.0


def _start(event: Event) -> float:
    return event.start_seconds
