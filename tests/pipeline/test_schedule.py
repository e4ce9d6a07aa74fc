"""The schedule's laws, and timelines."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gnnkit.pipeline import Event, Schedule, Task, Timeline, schedule

stages = st.integers(1, 7)
orders = st.integers(1, 9).flatmap(lambda count: st.permutations(range(count)))


def by_task(found: Schedule) -> dict[tuple[str, int, int], int]:
    """Map (kind, stage, chunk) to its tick."""
    return {(t.kind, stage, t.chunk): t.tick for stage, tasks in enumerate(found.tasks) for t in tasks}


@given(stages, orders)
def test_each_chunk_goes_once_forward_and_once_backward_through_each_stage(num_stages: int, order: list[int]) -> None:
    found = schedule(num_stages, order)
    assert len(found.tasks) == num_stages
    for tasks in found.tasks:
        pairs = [(task.kind, task.chunk) for task in tasks]
        assert len(pairs) == len(set(pairs)) == 2 * len(order)
        ticks = [task.tick for task in tasks]
        assert ticks == sorted(set(ticks)), "one task a tick, in the order in which they are done"
        assert ticks[0] >= 0
        assert ticks[-1] < found.ticks


@given(stages, orders)
def test_forwards_follow_the_order_and_the_stages_and_backwards_reverse_both(num_stages: int, order: list[int]) -> None:
    found = schedule(num_stages, order)
    tick = by_task(found)
    for stage, tasks in enumerate(found.tasks):
        forward = [task.chunk for task in tasks if task.kind == "forward"]
        assert [task.kind for task in tasks] == ["forward"] * len(order) + ["backward"] * len(order)
        assert forward == list(order)
        assert [task.chunk for task in tasks if task.kind == "backward"] == forward[::-1]
        for chunk in order:
            if stage:
                assert tick["forward", stage, chunk] > tick["forward", stage - 1, chunk]
                assert tick["backward", stage, chunk] < tick["backward", stage - 1, chunk]


@given(stages, orders)
def test_the_bubble_is_that_of_the_formula_in_each_phase(num_stages: int, order: list[int]) -> None:
    found = schedule(num_stages, order)
    chunks = len(order)
    for kind in ("forward", "backward"):
        ticks = {task.tick for tasks in found.tasks for task in tasks if task.kind == kind}
        slots = (max(ticks) - min(ticks) + 1) * num_stages
        assert found.bubble_fraction == pytest.approx(1 - chunks * num_stages / slots)
    assert found.bubble_fraction == pytest.approx((num_stages - 1) / (chunks + num_stages - 1))
    assert found.ticks == 1 + max(task.tick for tasks in found.tasks for task in tasks)


def test_thirty_two_chunks_on_eight_stages_idle_for_18_percent() -> None:
    assert round(schedule(8, range(32)).bubble_fraction, 2) == 0.18


def test_one_stage_has_no_bubble() -> None:
    assert schedule(1, [0]).tasks == ((Task("forward", 0, 0), Task("backward", 0, 1)),)
    assert schedule(1, [2, 0, 1]).bubble_fraction == 0


@pytest.mark.parametrize(
    ("num_stages", "order", "named"),
    [
        (0, [0], "num_stages"),
        (True, [0], "num_stages"),
        (1.5, [0], "num_stages"),
        (2, [], "order"),
        (2, [0, 0], "order"),
        (2, [1, 2], "order"),
    ],
)
def test_what_is_no_schedule_is_refused(num_stages: Any, order: list[int], named: str) -> None:
    with pytest.raises(ValueError, match=rf"{named}.*\(got .*\)$"):
        schedule(num_stages, order)


def test_a_timeline_counts_work_bytes_and_bubble() -> None:
    line = Timeline(
        (
            Event(0, "forward", 0, 0.0, 2.0),
            Event(0, "wait", 0, 0.5, 1.0),  # inside of the forward
            Event(0, "send", 0, 2.0, 3.0, num_bytes=8),
            Event(0, "boundary", 0, 0.0, 1.0, num_bytes=3),
            Event(0, "wait", 0, 2.0, 3.5),
            Event(0, "update", -1, 3.5, 4.0),
        ),
        4.0,
    )
    assert line.busy_seconds(0) == 2.0
    assert line.bubble_fraction == 0.5
    assert line.sent_bytes(0) == 11
    assert [event.kind for event in line.of(0, "wait", "update")] == ["wait", "wait", "update"]


def test_a_wrong_event_and_two_timelines_of_one_rank_are_refused() -> None:
    kind: Any = "sleep"
    with pytest.raises(ValueError, match="kind: expected"):
        Event(0, kind, 0, 0.0, 1.0)
    with pytest.raises(ValueError, match="ends after it starts"):
        Event(0, "send", 0, 1.0, 0.5)
    one = Timeline((Event(0, "forward", 0, 0.0, 1.0),), 1.0)
    with pytest.raises(ValueError, match="one for each rank"):
        Timeline.merge([one, one])
    with pytest.raises(ValueError, match="one for each rank"):
        Timeline.merge([])
