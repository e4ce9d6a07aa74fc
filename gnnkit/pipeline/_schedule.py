"""Who does what in which tick of an epoch: all forwards, then all backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Task:
    """One pass of a chunk through the layers of a stage.

    Attributes:
        kind: ``"forward"`` or ``"backward"``.
        chunk: The chunk.
        tick: When, counted in passes; at most one task of a stage has a tick.
    """

    kind: Literal["forward", "backward"]
    chunk: int
    tick: int


@dataclass(frozen=True)
class Schedule:
    """The tasks of an epoch.

    Attributes:
        tasks: For each stage its tasks in the order in which it does them, all forwards before all backwards.
        ticks: How many ticks the epoch has.
        bubble_fraction: The share of each phase in which a stage is idle.
    """

    tasks: tuple[tuple[Task, ...], ...]
    ticks: int
    bubble_fraction: float


def schedule(num_stages: int, order: Sequence[int]) -> Schedule:
    """Give the tasks of an epoch: chunks forward in order, then backward in the reverse order through reversed stages.

    With S stages and K chunks, the k-th chunk is forward at stage s in tick s + k, and the chunk that was k-th from the
    last is backward in tick (K + S - 1) + (S - 1 - s) + k. A phase has K + S - 1 ticks, in K of which a stage works:
    the bubble is (S - 1) / (K + S - 1). Each process derives the same schedule from the order: nobody coordinates.

    The schedule is GPipe's (Huang et al., 2019), which GNNPipe (arXiv 2308.10087) uses on chunks of a graph. In the
    reverse order, a row's gradient is complete before its chunk comes: only chunks after it have read the row.

    Args:
        num_stages: S.
        order: The chunks 0 … K - 1 in the order of this epoch.

    Raises:
        ValueError: There is no stage, or ``order`` is not a permutation of 0 … K - 1 with K >= 1.

    Example:
        >>> from gnnkit.pipeline import schedule
        >>> two = schedule(2, [1, 0])
        >>> [(task.kind, task.chunk, task.tick) for task in two.tasks[0]]
        [('forward', 1, 0), ('forward', 0, 1), ('backward', 0, 4), ('backward', 1, 5)]
        >>> [(task.kind, task.chunk, task.tick) for task in two.tasks[1]]
        [('forward', 1, 1), ('forward', 0, 2), ('backward', 0, 3), ('backward', 1, 4)]
        >>> two.ticks, round(two.bubble_fraction, 3)
        (6, 0.333)
    """
    if not isinstance(num_stages, int) or isinstance(num_stages, bool) or num_stages < 1:
        raise ValueError(f"num_stages: expected a number >= 1 (got {num_stages!r})")
    chunks = list(order)
    if not chunks or sorted(chunks) != list(range(len(chunks))):
        raise ValueError(f"order: expected each of the chunks 0 … K - 1 once, K >= 1 (got {chunks})")
    phase = len(chunks) + num_stages - 1
    return Schedule(
        tuple(
            (
                *(Task("forward", chunk, stage + k) for k, chunk in enumerate(chunks)),
                *(Task("backward", chunk, 2 * phase - 1 - stage - k) for k, chunk in reversed(list(enumerate(chunks)))),
            )
            for stage in range(num_stages)
        ),
        2 * phase,
        (num_stages - 1) / phase,
    )
