"""What an epoch looks like before it is run: who computes, sends and waits when."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gnnkit.pipeline._costs import Costs, HopSeconds
from gnnkit.pipeline._hardware import Hardware
from gnnkit.pipeline._memory import Memory, memory_of
from gnnkit.pipeline._saved import NetworkSaved
from gnnkit.pipeline._timeline import Event, EventKind, Timeline
from gnnkit.pipeline._volume import Volume, volume_of
from gnnkit.pipeline._workload import Workload

UNDER_WAY = 2  # a stage sends a chunk when at most one other is still leaving: double buffers


@dataclass(frozen=True)
class Simulation:
    """A predicted epoch.

    Attributes:
        timeline: What each rank does when.
        volume: Bytes on the wire.
        memory: Of each rank.
    """

    timeline: Timeline
    volume: Volume
    memory: tuple[Memory, ...]

    @property
    def epoch_seconds(self) -> float:
        """How long the epoch takes."""
        return self.timeline.epoch_seconds

    @property
    def bubble_fraction(self) -> float:
        """The share of the ranks' time in which they do not compute."""
        return self.timeline.bubble_fraction


def simulate(
    work: Workload,
    hardware: Hardware,
    costs: Costs | None = None,
    order: Sequence[int] | None = None,
    *,
    saved: NetworkSaved | None = None,
    recompute: bool = False,
    in_channels: int | None = None,
    optimizer_states: int = 2,
    end_parameters: tuple[int, int] = (0, 0),
) -> Simulation:
    """Predict an epoch of a plan: a timeline, bytes, memory and bubbles. A pure function.

    Every rank walks the chunks as the trainer does, all forward, then all back, and starts a chunk when its rows have
    come and it is idle. Messages leave a rank one after another, in the order in which they are sent, while it
    computes, and are there a latency later; a link carries as much in as out at the same time, and the receiving end is
    never what a message waits for. Ways trade boundary rows at each hop: they leave when ``before`` is done, interior
    rows are aggregated meanwhile, then the others; on the way back gradients leave when the others are done. At the end
    the ways of a stage add up their gradients (``2 (W - 1) / W`` of their bytes through each link and the
    ``2 ceil(log2 W)`` latencies of a tree) and step.

    Cost: O(S K L W) time for W ways that all trade.

    Args:
        work: The counts of a plan, graph and network.
        hardware: The link and, for estimates, the processor.
        costs: Seconds of computing; None to estimate them from ``hardware``.
        order: The chunks in the order of the epoch; None for 0, 1, ….
        saved: What `measure_saved` gives, for memory; None for a guess.
        recompute: Whether chunks are computed once more on their way back; ``costs`` that are given contain it.
        in_channels: Width of the features; None for that of the first hop's rows.
        optimizer_states: Numbers the optimiser keeps for each parameter: 2 for Adam.
        end_parameters: How many numbers the network's first and last part learn.

    Raises:
        ValueError: ``order`` is no permutation of the chunks, or ``costs`` or ``saved`` are of another
            plan or network.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.pipeline import Costs, Hardware, HopShape, Workload, plan, simulate
        >>> ring = torch.stack([torch.arange(100), torch.arange(100).roll(-1)])
        >>> adj = gnnkit.Adjacency.from_edge_index(ring)
        >>> two = plan(adj, 2, stages=2, chunks=4, partitioner=torch.arange(100) // 25)
        >>> work = Workload.of(two, adj, [HopShape(16, 16, 16, 0, True, 256)] * 2, first_channels=16)
        >>> costs = Costs.measured(work, forward=[[1.0] * 4] * 2, backward=[[2.0] * 4] * 2)
        >>> found = simulate(work, Hardware(), costs)
        >>> found.epoch_seconds, round(found.bubble_fraction, 3)  # (K + S - 1) (1 + 2), and 1 / 5
        (15.0, 0.2)
        >>> simulate(work, Hardware(link_bytes_per_second=1600), costs).epoch_seconds  # a chunk: 25 * 16 * 4 bytes
        17.0
    """
    chunks = list(range(work.num_chunks)) if order is None else list(order)
    if sorted(chunks) != list(range(work.num_chunks)):
        raise ValueError(f"order: expected each of the {work.num_chunks} chunks once (got {chunks})")
    memory = memory_of(
        work,
        saved,
        recompute=recompute,
        in_channels=in_channels,
        optimizer_states=optimizer_states,
        end_parameters=end_parameters,
    )
    costs = Costs.estimate(work, hardware, ends=end_parameters, recompute=recompute) if costs is None else costs
    for name, passes in (("forward", costs.forward), ("backward", costs.backward)):
        sizes = {len(row) for row in passes}
        if len(passes) != work.world_size or sizes != {work.num_chunks}:
            expected = f"{work.world_size} ranks of {work.num_chunks} chunks in {name}"
            raise ValueError(f"costs: expected {expected} (got {len(passes)} of {sorted(sizes)})")
    clock = _Clock(work, hardware)
    clock.run([_walk(work, costs, rank, chunks) for rank in range(work.world_size)])
    _update(clock, work, costs, hardware, end_parameters)
    events = sorted(clock.events, key=lambda event: (event.rank, event.start_seconds, event.end_seconds))
    return Simulation(Timeline(tuple(events), max(clock.time)), volume_of(work, sum(end_parameters)), memory)


# What a rank does, one after the other: ("work", seconds), ("send", kind, chunk, what, to, bytes),
# ("wait", chunk, what, from), ("begin", kind, chunk), ("end",)
Step = tuple[Any, ...]
Traded = tuple[list[int], list[int]]  # rows of a chunk that each other way is given, and gives


def _walk(work: Workload, costs: Costs, rank: int, order: list[int]) -> Iterator[Step]:
    """List what a rank does, in order."""
    stage, way = divmod(rank, work.ways)
    low, _ = work.stages[stage]
    behind, ahead = rank - work.ways, rank + work.ways
    last = stage == work.num_stages - 1
    gives, takes = work.given[way].t().tolist(), work.given[:, way].t().tolist()  # [K][W]
    traded = list(zip(gives, takes, strict=True))
    for chunk in order:
        if stage:
            yield "wait", chunk, "activations", behind
        seconds, rows = costs.forward[rank][chunk], traded[chunk]
        yield "begin", "forward", chunk
        yield "work", seconds.first
        for index, parts in enumerate(seconds.hops):
            yield from _hop(work, parts, rank, chunk, low + index, rows)
        yield "work", seconds.last
        yield ("end",)
        if not last:
            yield "send", "send", chunk, "activations", ahead, work.boundary_bytes(stage, way, chunk)
    for chunk in reversed(order):
        if not last:
            yield "wait", chunk, "gradients", ahead
        seconds, rows = costs.backward[rank][chunk], traded[chunk]
        yield "begin", "backward", chunk
        yield "work", seconds.last
        for index, parts in reversed(list(enumerate(seconds.hops))):
            yield from _hop_back(work, parts, rank, chunk, low + index, rows)
        yield "work", seconds.first
        yield ("end",)
        if stage:
            yield "send", "send", chunk, "gradients", behind, work.boundary_bytes(stage - 1, way, chunk)


def _hop(work: Workload, parts: HopSeconds, rank: int, chunk: int, hop: int, traded: Traded) -> Iterator[Step]:
    gives, takes = traded
    yield "work", parts.before
    yield from _trade(work, rank, chunk, (hop, "rows"), gives)
    yield "work", parts.interior
    yield from _arrivals(work, rank, chunk, (hop, "rows"), takes)
    yield "work", parts.waiting + parts.after


def _hop_back(work: Workload, parts: HopSeconds, rank: int, chunk: int, hop: int, traded: Traded) -> Iterator[Step]:
    gives, takes = traded if work.shapes[hop].message_grad else ([], [])
    yield "work", parts.after + parts.waiting
    yield from _trade(work, rank, chunk, (hop, "gradients"), takes)
    yield "work", parts.interior
    yield from _arrivals(work, rank, chunk, (hop, "gradients"), gives)
    yield "work", parts.before


def _trade(work: Workload, rank: int, chunk: int, what: tuple[int, str], rows: list[int]) -> Iterator[Step]:
    first, row = rank - rank % work.ways, work.shapes[what[0]].message_channels * work.itemsize
    for other, count in enumerate(rows):
        if count:
            yield "send", "boundary", chunk, what, first + other, count * row


def _arrivals(work: Workload, rank: int, chunk: int, what: tuple[int, str], rows: list[int]) -> Iterator[Step]:
    first = rank - rank % work.ways
    for other, count in enumerate(rows):
        if count:
            yield "wait", chunk, what, first + other


class _Clock:
    """The time of each rank and of its link. Each rank goes on until it waits for what nobody has sent yet.

    What a rank does is a fixed list, so times do not depend on the order in which ranks are looked at.
    """

    def __init__(self, work: Workload, hardware: Hardware) -> None:
        self.hardware = hardware
        self.time = [0.0] * work.world_size
        self.link = [0.0] * work.world_size  # when a rank's link is free
        self.leaving: list[deque[float]] = [deque() for _ in range(work.world_size)]
        self.arrival: dict[Any, float] = {}
        self.events: list[Event] = []

    def run(self, walks: list[Iterator[Step]]) -> None:
        """Let all ranks walk to their ends."""
        ready = deque(range(len(walks)))
        blocked: dict[Any, int] = {}
        pending: list[Any] = [None] * len(walks)  # what a rank waited for when it stopped
        started: list[Any] = [None] * len(walks)
        while ready:
            rank = ready.popleft()
            if pending[rank] is not None:
                self._wait(rank, *pending[rank])
                pending[rank] = None
            for step in walks[rank]:
                kind = step[0]
                if kind == "work":
                    self.time[rank] += step[1]
                elif kind == "send":
                    key = self._send(rank, *step[1:])
                    if key in blocked:
                        ready.append(blocked.pop(key))
                elif kind == "begin":
                    started[rank] = (*step[1:], self.time[rank])
                elif kind == "end":
                    what, chunk, since = started[rank]
                    self.events.append(Event(rank, what, chunk, since, self.time[rank]))
                else:
                    _, chunk, what, source = step
                    key = (source, rank, what, chunk)
                    if key not in self.arrival:
                        blocked[key], pending[rank] = rank, (key, chunk)
                        break
                    self._wait(rank, key, chunk)
        assert not blocked, "every message that is waited for is sent"

    def _send(self, rank: int, kind: EventKind, chunk: int, what: Any, to: int, size: int) -> Any:
        if kind == "send":
            while len(self.leaving[rank]) >= UNDER_WAY:
                self._until(rank, self.leaving[rank].popleft(), chunk)
        start = max(self.time[rank], self.link[rank])
        self.link[rank] = start + self.hardware.transfer(size)
        end = self.link[rank] + self.hardware.latency_seconds
        if kind == "send":
            self.leaving[rank].append(end)
        key = (rank, to, what, chunk)
        self.arrival[key] = end
        self.events.append(Event(rank, kind, chunk, start, end, size))
        return key

    def _wait(self, rank: int, key: Any, chunk: int) -> None:
        self._until(rank, self.arrival.pop(key), chunk)

    def _until(self, rank: int, moment: float, chunk: int) -> None:
        if moment > self.time[rank]:
            self.events.append(Event(rank, "wait", chunk, self.time[rank], moment))
            self.time[rank] = moment


def _update(clock: _Clock, work: Workload, costs: Costs, hardware: Hardware, ends: tuple[int, int]) -> None:
    """Add up the gradients over the ways of each stage, and step."""
    ways = work.ways
    for stage, (low, high) in enumerate(work.stages):
        ranks = range(stage * ways, (stage + 1) * ways)
        learned = sum(shape.parameters for shape in work.shapes[low:high])
        learned += (ends[0] if low == 0 else 0) + (ends[1] if high == len(work.shapes) else 0)
        size = learned * max(work.itemsize, 4)
        together = max(max(clock.time[rank], clock.link[rank] if ways > 1 else 0.0) for rank in ranks)
        for rank in ranks:
            clock._until(rank, together + hardware.all_reduce(size, ways), -1)
            end = clock.time[rank] + costs.update
            clock.events.append(Event(rank, "update", -1, clock.time[rank], end))
            clock.time[rank] = end


def crossover_link_speed(
    first: Callable[[float], float], second: Callable[[float], float], low: float = 1e6, high: float = 1e12
) -> float | None:
    """Find the link speed at which two modes take equal time, by bisection; None where one wins at both ends.

    Args:
        first: Seconds of an epoch at a number of bytes a second, such as ``lambda speed: simulate(…).epoch_seconds``.
        second: The same of the other mode.
        low: Slowest link looked at, bytes a second.
        high: Fastest.

    Raises:
        ValueError: Not ``0 < low < high``, both finite.

    Example:
        >>> from gnnkit.pipeline import crossover_link_speed
        >>> speed = crossover_link_speed(lambda speed: 1 + 1e9 / speed, lambda speed: 2 + 2e8 / speed)
        >>> round(speed / 1e6)
        800
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low and high: expected 0 < low < high (got {low} and {high})")
    ahead = first(low) < second(low)
    if (first(high) < second(high)) == ahead:
        return None
    while high / low > 1 + 1e-6:
        middle = math.sqrt(low * high)
        if (first(middle) < second(middle)) == ahead:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
