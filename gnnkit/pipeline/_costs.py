"""How long each process computes at each hop of each chunk: measured, or estimated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gnnkit.pipeline._hardware import Hardware
from gnnkit.pipeline._workload import Workload

if TYPE_CHECKING:
    from gnnkit.pipeline._check import HopShape

# How often an epoch's row-wise parts read or write a row of a hop forward: dropout, normalisation, activation and
# linear map read and write it, a residual reads it once more, tables and their reading make three.
ROW_TOUCHES = 12


class HopSeconds(NamedTuple):
    """One hop of one chunk.

    Backward the same parts come in the reverse order.

    Attributes:
        before: Until boundary rows can be sent.
        interior: The rows that need none of other ways, gathered and finished.
        waiting: The others.
        after: What follows for all of them.
    """

    before: float
    interior: float
    waiting: float
    after: float


class PassSeconds(NamedTuple):
    """One pass of one chunk through one stage.

    Attributes:
        first: The network's row-wise first part, 0 where the stage has none.
        hops: Of the stage, in the order of the network, backward too.
        last: The network's row-wise last part and the loss.
    """

    first: float
    hops: tuple[HopSeconds, ...]
    last: float

    @property
    def total(self) -> float:
        """Without any wait."""
        return self.first + math.fsum(map(math.fsum, self.hops)) + self.last


Passes = tuple[tuple[PassSeconds, ...], ...]


@dataclass(frozen=True)
class Costs:
    """Seconds of computing in an epoch, without waits.

    Attributes:
        forward: For each rank and chunk.
        backward: For each rank and chunk, what recomputing takes included.
        update: The optimiser's step.
    """

    forward: Passes
    backward: Passes
    update: float = 0.0

    def busy(self, rank: int) -> float:
        """Seconds for which a rank computes."""
        return math.fsum(each.total for passes in (self.forward, self.backward) for each in passes[rank]) + self.update

    @classmethod
    def measured(
        cls,
        work: Workload,
        forward: Sequence[Sequence[float]],
        backward: Sequence[Sequence[float]],
        update: float = 0.0,
        *,
        aggregate: float = 0.5,
        first: tuple[float, float] = (0.0, 0.0),
        last: tuple[float, float] = (0.0, 0.0),
    ) -> Costs:
        """Take measured seconds of whole passes; hops of a stage share them equally.

        Args:
            work: What is computed.
            forward: ``[world][K]`` seconds of each rank and chunk, without waits.
            backward: ``[world][K]``.
            update: Seconds of the optimiser's step.
            aggregate: The share of a hop's time that is aggregation, which transfers hide behind. The rest is taken to
                be half before and half after it.
            first: Seconds of the network's first part, forward and backward, on all nodes; part of the passes.
            last: The same of its last part and the loss.

        Raises:
            ValueError: Another shape, a negative time, or ends that take longer than a whole pass.
        """
        if not 0 <= aggregate <= 1:
            raise ValueError(f"aggregate: expected a share from 0 to 1 (got {aggregate})")
        if not 0 <= update < math.inf:
            raise ValueError(f"update: expected a time >= 0 (got {update})")
        nodes = int(work.rows.sum())
        sides = []
        for name, given, ends in (("forward", forward, 0), ("backward", backward, 1)):
            if len(given) != work.world_size or any(len(row) != work.num_chunks for row in given):
                got = [len(row) for row in given]
                raise ValueError(f"{name}: expected [{work.world_size}][{work.num_chunks}] seconds (got lengths {got})")
            sides.append(
                tuple(
                    tuple(
                        _spread(work, rank, chunk, seconds, aggregate, first[ends] / nodes, last[ends] / nodes, name)
                        for chunk, seconds in enumerate(row)
                    )
                    for rank, row in enumerate(given)
                )
            )
        return cls(sides[0], sides[1], update)

    @classmethod
    def estimate(
        cls, work: Workload, hardware: Hardware, *, ends: tuple[int, int] = (0, 0), recompute: bool = False
    ) -> Costs:
        """Estimate from what the hardware can do; see `hop_seconds`.

        Args:
            work: What is computed.
            hardware: On what.
            ends: How many numbers the network's first and last part learn.
            recompute: Whether a chunk is computed once more on its way back; one chunk is not.
        """
        recompute = recompute and work.num_chunks > 1
        sides = tuple(
            tuple(
                tuple(
                    _estimated(work, hardware, rank, chunk, ends, back, recompute) for chunk in range(work.num_chunks)
                )
                for rank in range(work.world_size)
            )
            for back in (False, True)
        )
        learned = max(sum(work.shapes[hop].parameters for hop in range(*stage)) for stage in work.stages)
        return cls(sides[0], sides[1], hardware.compute(0, 4 * 7 * (learned + max(ends))))  # Adam reads 4, writes 3


def hop_seconds(
    rows: float, edges: float, waiting: float, shape: HopShape, itemsize: int, hardware: Hardware, backward: bool
) -> HopSeconds:
    """Estimate one hop: aggregation is bound by memory, each weight is used once a row, row-wise parts touch rows.

    An edge reads a row of width D' with no help of a cache, an index and a weight. A hop's row-wise parts read or write
    rows `ROW_TOUCHES` times. Backward, aggregation runs once on the transposed graph, the rest counts twice.

    Args:
        rows: Destinations.
        edges: Into them.
        waiting: Those of them into rows that wait for other ways.
        shape: The hop's.
        itemsize: Bytes of a number.
        hardware: On what.
        backward: Whether backward.
    """
    row = shape.message_channels * itemsize
    aggregation = hardware.compute(2.0 * edges * shape.message_channels, edges * (row + 8) + rows * row)
    late = waiting / edges if edges else 0.0
    wide = max(shape.in_channels, shape.message_channels, shape.out_channels) * itemsize
    dense = hardware.compute(2.0 * rows * shape.parameters, rows * (shape.in_channels + shape.out_channels) * itemsize)
    rest = dense + hardware.compute(0, ROW_TOUCHES * rows * wide) + hardware.overhead_seconds
    whole = aggregation + rest * (2 if backward else 1)
    return HopSeconds(0.0, whole * (1 - late), whole * late, 0.0)


def _estimated(
    work: Workload, hardware: Hardware, rank: int, chunk: int, ends: tuple[int, int], backward: bool, recompute: bool
) -> PassSeconds:
    stage, way = divmod(rank, work.ways)
    low, high = work.stages[stage]
    rows, edges, waiting = (int(counts[way, chunk]) for counts in (work.rows, work.edges, work.waiting))

    def one_way(backward: bool) -> PassSeconds:
        hops = tuple(
            hop_seconds(rows, edges, waiting, work.shapes[hop], work.itemsize, hardware, backward)
            for hop in range(low, high)
        )
        times = (2 if backward else 1) * 2.0 * rows
        first = hardware.compute(times * ends[0], 0) if low == 0 else 0.0
        last = hardware.compute(times * ends[1], 0) if high == len(work.shapes) else 0.0
        return PassSeconds(first, hops, last)

    if not (backward and recompute):
        return one_way(backward)
    again, back = one_way(False), one_way(True)
    # rows of other ways are kept in the tables: the forward pass runs again without any wait, before the way back
    return PassSeconds(back.first, back.hops, back.last + again.total)


def _spread(
    work: Workload, rank: int, chunk: int, seconds: float, aggregate: float, first: float, last: float, name: str
) -> PassSeconds:
    stage, way = divmod(rank, work.ways)
    low, high = work.stages[stage]
    rows, edges, waiting = (int(counts[way, chunk]) for counts in (work.rows, work.edges, work.waiting))
    first, last = (first * rows if low == 0 else 0.0), (last * rows if high == len(work.shapes) else 0.0)
    hop = (seconds - first - last) / (high - low)
    if not 0 <= hop < math.inf:
        raise ValueError(f"{name}: expected at least the {first + last} seconds of the ends (got {seconds})")
    late = waiting / edges if edges else 0.0
    outer = hop * (1 - aggregate) / 2
    inner = hop - outer  # rows that wait for nobody are finished before the others
    parts = HopSeconds(outer, inner * (1 - late), inner * late, 0.0)
    return PassSeconds(first, (parts,) * (high - low), last)
