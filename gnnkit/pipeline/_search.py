"""The best split of stages and ways for a job, predicted from sizes, and whether pipelining helps at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gnnkit.pipeline._hardware import Hardware
from gnnkit.pipeline._predict import Job, Replication, Split, predict
from gnnkit.pipeline._verdict import DEEPEST, GAIN, assumptions, preferred, verdict

CHUNKS = (2, 4, 8)  # chunks a stage that are tried; more cost kernels, fewer cost bubbles
FEWER, MOST_FEWER = 0.9, 128  # smaller numbers of GPUs are tried down to this share, at most so many
QUALITY = 0.25


def replication_model(
    degree: float, measured: Mapping[int, float] | None = None, quality: float = QUALITY
) -> Replication:
    """Return a function that guesses M/N, replicas a node, of a cut into W parts.

    A random cut gives a node of degree d ``(W - 1) (1 - (1 - 1/W)^d)`` foreign ways that read it, and one with the mean
    degree bounds the mean over all. A partitioner reaches a share of it, the quality: METIS measured 0.19 … 0.36 on
    Coauthor Physics and Amazon Computers and 0.27 … 0.59 on Squirrel, for 2 to 128 parts. Measured figures take its
    place: between them the share is interpolated in log W, beyond them it stays.

    Args:
        degree: Edges a node.
        measured: W to M/N, with W >= 2.
        quality: The share where nothing was measured.

    Raises:
        ValueError: A figure that cannot be, or a quality that is not positive.

    Example:
        >>> from gnnkit.pipeline import replication_model
        >>> guess = replication_model(degree=14.4)
        >>> round(guess(1), 2), round(guess(8), 2), round(guess(1024), 2)
        (0.0, 1.49, 3.57)
        >>> round(replication_model(14.4, {8: 0.7})(8), 2)
        0.7
    """
    if not (math.isfinite(degree) and degree >= 0):
        raise ValueError(f"degree: expected a number >= 0 (got {degree})")
    if not 0 < quality < math.inf:
        raise ValueError(f"quality: expected a number above 0 (got {quality})")

    def random_cut(ways: int) -> float:
        return (ways - 1) * -math.expm1(degree * math.log1p(-1 / ways)) if ways > 1 else 0.0

    known: list[tuple[float, float]] = []
    for ways, ratio in sorted((measured or {}).items()):
        if ways < 2 or not 0 <= ratio <= ways - 1:
            expected = "W >= 2 ways and 0 to W - 1 replicas a node"
            raise ValueError(f"replication: expected {expected} (got {ways}={ratio:g})")
        if random_cut(ways) > 0:
            known.append((math.log(ways), ratio / random_cut(ways)))

    def guess(ways: int) -> float:
        if not known or ways == 1:
            return min(quality * random_cut(ways), max(ways - 1.0, 0.0))
        at = math.log(ways)
        below = max((each for each in known if each[0] <= at), default=known[0])
        above = min((each for each in known if each[0] >= at), default=known[-1])
        part = (at - below[0]) / (above[0] - below[0]) if above[0] != below[0] else 0.0
        return min((below[1] + part * (above[1] - below[1])) * random_cut(ways), ways - 1.0)

    return guess


@dataclass(frozen=True)
class Search:
    """Predictions for the splits of a number of GPUs.

    Attributes:
        job: What is trained.
        gpus: How many.
        hardware: Which.
        splits: The best chunks of each number of stages, fastest first, those that fit before those that do not.
        crossover_layers: The smallest number of layers at which a split with several stages is 5 % faster than graph
            mode, if memory were no matter; None if there is none up to 256.
        verdict: In words, whether pipelining helps.
        assumptions: What the predictions rest on.
    """

    job: Job
    gpus: int
    hardware: Hardware
    splits: tuple[Split, ...]
    crossover_layers: int | None
    verdict: str
    assumptions: tuple[str, ...]

    @property
    def best(self) -> Split:
        """The fastest split that fits, graph mode unless another is 5 % faster, or the smallest where none fits."""
        return preferred(self.splits)


def search(
    job: Job,
    gpus: int,
    hardware: Hardware,
    *,
    measured: Mapping[int, float] | None = None,
    quality: float = QUALITY,
) -> Search:
    """Predict an epoch for every way to split a job over GPUs, stages × ways = GPUs. A pure function.

    Predictions, from data sheets and a model of the cut: see ``assumptions``. A split that does not fit into memory is
    tried again with recomputation.

    Args:
        job: What is trained.
        gpus: How many.
        hardware: Which, one of `HARDWARE` or your own.
        measured: W to replicas a node, M/N, where you have partitioned the graph.
        quality: See `replication_model`.

    Raises:
        ValueError: ``gpus`` is below 1 or above the number of nodes, or a figure of ``measured`` cannot be.

    Example:
        >>> from gnnkit.pipeline import HARDWARE, Job, search
        >>> products = Job(layers=64, hidden=256, nodes=2_449_029, edges=123_718_280, features=100, classes=47)
        >>> found = search(products, 8, HARDWARE["a100"])
        >>> found.best.stages * found.best.ways
        8
        >>> "predict" in found.verdict
        True
    """
    if not isinstance(gpus, int) or isinstance(gpus, bool) or not 1 <= gpus <= job.nodes:
        raise ValueError(f"gpus: expected a number from 1 to the {job.nodes} nodes (got {gpus!r})")
    replication = replication_model(job.edges / job.nodes, measured, quality)
    splits = sorted(_splits(job, gpus, hardware, replication), key=lambda split: (not split.fits, split.epoch_seconds))
    crossover = _crossover(job, gpus, hardware, replication)
    wins = _pipelining_wins(job, gpus, hardware, replication)
    fewer = _with_fewer(job, gpus, hardware, replication, preferred(splits))
    return Search(
        job,
        gpus,
        hardware,
        tuple(splits),
        crossover,
        verdict(job, gpus, splits, crossover, wins, fewer),
        assumptions(hardware, measured, quality, replication, gpus),
    )


def _splits(job: Job, gpus: int, hardware: Hardware, replication: Replication) -> list[Split]:
    """Give the best split for each number of stages that divides the number of GPUs."""
    found = []
    for stages in (s for s in range(1, min(gpus, job.layers) + 1) if gpus % s == 0):
        ways = gpus // stages
        most = job.nodes // ways
        chunks = [1] if stages == 1 else sorted({min(each * stages, most) for each in CHUNKS})
        tried = [predict(job, hardware, stages, ways, each, replication) for each in chunks]
        if not any(split.fits for split in tried):
            many = [each for each in chunks if each > 1]  # one chunk is kept in any case
            tried += [predict(job, hardware, stages, ways, each, replication, recompute=True) for each in many]
        fitting = [split for split in tried if split.fits]
        found.append(
            min(fitting, key=lambda split: split.epoch_seconds)
            if fitting
            else min(tried, key=lambda split: split.memory.total)
        )
    return found


def _with_fewer(job: Job, gpus: int, hardware: Hardware, replication: Replication, best: Split) -> Split | None:
    """Find the split of a little fewer GPUs that is faster by what counts, or that fits where ``best`` does not."""
    found = best
    for fewer in range(gpus - 1, max(math.ceil(FEWER * gpus), gpus - MOST_FEWER) - 1, -1):
        split = preferred(_splits(job, fewer, hardware, replication))
        if split.fits and (not found.fits or split.epoch_seconds * GAIN < found.epoch_seconds):
            found = split
    return None if found is best else found


def _pipelining_wins(job: Job, gpus: int, hardware: Hardware, replication: Replication) -> bool:
    """Whether some split with several stages is faster than graph mode by what counts, memory aside."""
    roomy = replace(hardware, memory_bytes=math.inf)
    splits = _splits(job, gpus, roomy, replication)
    alone = next(split for split in splits if split.stages == 1)
    return any(split.epoch_seconds * GAIN < alone.epoch_seconds for split in splits)


def _crossover(job: Job, gpus: int, hardware: Hardware, replication: Replication) -> int | None:
    """Find the depth, one by one: a depth that stages share evenly can win where the next one does not."""
    for layers in range(2, DEEPEST + 1):
        if _pipelining_wins(replace(job, layers=layers), gpus, hardware, replication):
            return layers
    return None
