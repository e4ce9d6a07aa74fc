"""What one split of stages and ways would cost, from sizes alone."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from gnnkit.pipeline._check import HopShape
from gnnkit.pipeline._costs import HopSeconds, hop_seconds
from gnnkit.pipeline._hardware import Hardware
from gnnkit.pipeline._memory import Memory, Share, rank_memory
from gnnkit.pipeline._saved import NetworkSaved, Saved
from gnnkit.pipeline._workload import Workload

ITEM = 4  # bytes of a float32


class _Model(NamedTuple):
    """A hop of one of `adapters`' models, H wide, as `inspect` and `measure_saved` find it."""

    parameters: Callable[[int], int]
    row: float  # rows of H that autograd keeps for each node
    source: float  # and for each row that a chunk reads
    shares: bool


MODELS = {
    "gcn": _Model(lambda h: h * h + h, 3.0, 0.0, False),
    "sage": _Model(lambda h: 2 * h * h + h, 4.0, 0.0, False),
    "resgcn": _Model(lambda h: h * h + 3 * h, 4.0, 0.0, False),
    "gcnii": _Model(lambda h: h * h, 3.0, 0.0, True),
    "gat": _Model(lambda h: h * h + 3 * h, 4.0, 1.0, False),
}
Replication = Callable[[int], float]
_LIMITS = {  # least and most of each size: beyond, it is a slip of the hand
    "layers": (1, 4096),
    "hidden": (1, 1_000_000),
    "nodes": (1, 10**12),
    "edges": (0, 10**15),
    "features": (1, 10**8),
    "classes": (1, 10**8),
}


@dataclass(frozen=True)
class Job:
    """A network to train on a graph, by sizes.

    Attributes:
        layers: L, the number of hops.
        hidden: H, the width of every hop.
        nodes: N.
        edges: E, as the layers read them: an undirected edge counts twice.
        features: F, the width of the features.
        classes: C, the width of the outputs.
        model: One of ``gcn``, ``sage``, ``resgcn``, ``gcnii``, ``gat``.

    Raises:
        ValueError: A size is below 1 (edges: 0) or beyond any graph or network, there are more than N² edges, or the
            model is unknown.
    """

    layers: int
    hidden: int
    nodes: int
    edges: int
    features: int = 128
    classes: int = 128
    model: str = "gcn"

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                got = f"{value:.3g}" if isinstance(value, int) and value > most else repr(value)
                raise ValueError(f"{name}: expected a whole number from {least} to {most:,} (got {got})")
        if self.edges > self.nodes**2:
            raise ValueError(f"edges: expected at most {self.nodes**2:.3g}, nodes x nodes (got {self.edges:.3g})")
        if self.model not in MODELS:
            raise ValueError(f"model: expected one of {', '.join(MODELS)} (got {self.model!r})")

    @property
    def shares(self) -> bool:
        """Whether the first rows travel along."""
        return MODELS[self.model].shares

    @property
    def shape(self) -> HopShape:
        """Of every hop."""
        wide = self.hidden
        return HopShape(wide, wide, wide, 0, True, MODELS[self.model].parameters(wide))

    @property
    def end_parameters(self) -> tuple[int, int]:
        """How many numbers the first and the last part learn: one linear map each."""
        return self.features * self.hidden + self.hidden, self.hidden * self.classes + self.classes

    @property
    def saved(self) -> NetworkSaved:
        """What autograd keeps: of a first part dropped-out features and masks, of a last part the same of its rows."""
        model, row = MODELS[self.model], self.hidden * ITEM
        hop = Saved(model.row * row, model.source * row, ITEM)
        ends = (2.0 * self.features + self.hidden) * ITEM, 2.0 * self.hidden * ITEM
        return NetworkSaved(ends[0], (hop,) * self.layers, ends[1])


@dataclass(frozen=True)
class Split:
    """A prediction for one split.

    Attributes:
        stages: S.
        ways: W.
        chunks: K.
        recompute: Whether chunks are computed once more on their way back, to fit into memory.
        epoch_seconds: Predicted.
        busy: The share of the epoch in which a GPU computes, on average.
        sent_bytes: On all links together in an epoch.
        memory: Of the GPU that holds most.
        fits: Whether that is at most `ROOM` of a GPU's memory.
    """

    stages: int
    ways: int
    chunks: int
    recompute: bool
    epoch_seconds: float
    busy: float
    sent_bytes: float
    memory: Memory
    fits: bool

    @property
    def mode(self) -> str:
        """``"single"``, ``"pipeline"``, ``"graph"`` or ``"hybrid"``."""
        if self.stages == 1:
            return "single" if self.ways == 1 else "graph"
        return "pipeline" if self.ways == 1 else "hybrid"


ROOM = 0.9  # of a GPU's memory: kernels, libraries and the allocator need some


def predict(
    job: Job, hardware: Hardware, stages: int, ways: int, chunks: int, replication: Replication, recompute: bool = False
) -> Split:
    """Predict an epoch of a job that is cut into equal parts.

    All hops cost alike, and all cells. Stages take as many hops as evens out their times. With a pass of stage s
    taking p_s, its link l_s and the slowest of all t = max(p_s, l_s), a phase takes Σ p_s + (S - 1) send + (K - 1) t.
    Among ways, a hop's transfer hides behind the edges that wait for nobody, see `waiting_share`.

    Args:
        job: What is trained.
        hardware: On what.
        stages: S, at most the number of layers.
        ways: W.
        chunks: K.
        replication: ``replication(W)`` gives M/N of a cut into W parts.
        recompute: Whether chunks are computed once more on their way back.

    Raises:
        ValueError: More stages than layers, or more cells than nodes.
    """
    if not 1 <= stages <= job.layers:
        raise ValueError(f"stages: expected 1 to {job.layers}, the number of layers (got {stages})")
    if ways < 1 or chunks < 1 or ways * chunks > job.nodes:
        raise ValueError(f"ways and chunks: expected 1 to {job.nodes} cells (got {ways} ways of {chunks} chunks)")
    shape, cells, ratio = job.shape, ways * chunks, replication(ways)
    rows, edges, given = job.nodes / cells, job.edges / cells, ratio * job.nodes / cells
    waiting = edges * waiting_share(ratio, chunks)
    forward, backward = (hop_seconds(rows, edges, waiting, shape, ITEM, hardware, back) for back in (False, True))
    link = hardware.transfer(given * shape.message_channels * ITEM)
    again = sum(forward) if recompute else 0.0
    hops = [_exposed(hop, link, hardware, ways) for hop in (forward, backward)]
    ends = _ends(job, rows, hardware)  # of one forward pass; backward takes twice that
    times = 4 if recompute else 3
    counts = _hops_per_stage(job.layers, stages, sum(hops) + again, times * ends[0], times * ends[1])
    extra = [[0.0] * stages for _ in range(2)]
    for side, factor in enumerate((1, times - 1)):
        extra[side][0] += factor * ends[0]
        extra[side][-1] += factor * ends[1]
    send = hardware.transfer(rows * job.hidden * (2 if job.shares else 1) * ITEM)
    epoch = 0.0
    for side in (0, 1):
        repeated = again if side else 0.0
        passes = [count * (hops[side] + repeated) + more for count, more in zip(counts, extra[side], strict=True)]
        links = [count * (link if ways > 1 else 0.0) + (send if stages > 1 else 0.0) for count in counts]
        slowest = max(map(max, passes, links))
        epoch += math.fsum(passes) + (stages - 1) * (send + hardware.latency_seconds) + (chunks - 1) * slowest
    parameters = [count * shape.parameters for count in counts]
    parameters[0] += job.end_parameters[0]
    parameters[-1] += job.end_parameters[1]
    epoch += hardware.all_reduce(max(parameters) * ITEM, ways)
    work = job.layers * (sum(forward) + sum(backward) + again) + times * sum(ends)
    numbers = 2.0 * (stages - 1) * job.nodes * job.hidden * (2 if job.shares else 1)
    numbers += 2 * ratio * job.nodes * job.layers * shape.message_channels
    memory = _memory(job, counts, ways, chunks, replication, recompute)
    return Split(
        stages,
        ways,
        chunks,
        recompute,
        epoch,
        chunks * work / stages / epoch if epoch else 1.0,
        numbers * ITEM,
        memory,
        memory.total <= ROOM * hardware.memory_bytes,
    )


def waiting_share(ratio: float, chunks: int) -> float:
    """Guess the share of edges into nodes that read rows of their own chunk of another way, from M/N and K.

    r / (r + 0.3) with r = M/N / sqrt(K). On METIS's cuts of Coauthor Physics, Amazon Computers and Squirrel it was off
    by at most 0.21 for 2, 8 and 32 ways of one chunk, by 0.05 to 0.27 for 2 and 8 ways of 16 chunks, mostly too high.
    """
    crossing = ratio / math.sqrt(chunks)
    return crossing / (crossing + 0.3)


def _exposed(hop: HopSeconds, link: float, hardware: Hardware, ways: int) -> float:
    """Seconds of a hop with what its transfer takes longer than the rows that hide it."""
    if ways == 1:
        return sum(hop)
    return hop.before + max(hop.interior, link + hardware.latency_seconds) + hop.waiting + hop.after


def _ends(job: Job, rows: float, hardware: Hardware) -> tuple[float, float]:
    """Seconds of the first and the last part forward: one linear map each, and a dropout of what it reads."""
    first, last = (
        hardware.compute(2.0 * rows * wide * narrow, 0) + hardware.compute(0, 3 * rows * wide * ITEM)
        for wide, narrow in ((job.features, job.hidden), (job.hidden, job.classes))
    )
    return first, last


def _hops_per_stage(layers: int, stages: int, hop: float, first: float, last: float) -> list[int]:
    """Share equal hops out so that the slowest stage is as fast as can be: each to the stage that is done first."""
    counts = [1] * stages
    done = [hop] * stages
    done[0] += first
    done[-1] += last
    heap = [(seconds, stage) for stage, seconds in enumerate(done)]
    heapq.heapify(heap)
    for _ in range(layers - stages):
        seconds, stage = heap[0]
        counts[stage] += 1
        heapq.heapreplace(heap, (seconds + hop, stage))
    return counts


def _memory(job: Job, counts: list[int], ways: int, chunks: int, replication: Replication, recompute: bool) -> Memory:
    """Count the bytes of the GPU that holds most: of the first stage, the last, or the one with the most hops."""
    rows, edges = job.nodes / ways, job.edges / ways
    sources = (job.nodes + replication(ways * chunks) * job.nodes) / ways
    given = 2 * replication(ways) * job.nodes / ways / chunks
    share = Share(
        rows,
        replication(ways) * job.nodes / ways,
        edges,
        sources,
        given,
        rows / chunks,
        edges / chunks,
        sources / chunks,
    )
    bounds, low = [], 0
    for count in counts:
        bounds.append((low, low + count))
        low += count
    none = torch.zeros(1, chunks, dtype=torch.int64)  # the counts come in ``share``
    work = Workload(
        tuple(bounds),
        (job.shape,) * job.layers,
        job.hidden,
        job.shares,
        ITEM,
        none,
        none,
        none,
        none,
        none[None],
    )
    chosen = {0, len(counts) - 1, counts.index(max(counts))}
    found = [
        rank_memory(work, share, stage, job.saved, recompute, job.features, 2, job.end_parameters) for stage in chosen
    ]
    return max(found, key=lambda memory: memory.total)
