"""What predictions come to in words, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gnnkit.pipeline._costs import ROW_TOUCHES
from gnnkit.pipeline._hardware import Hardware
from gnnkit.pipeline._predict import ROOM, Job, Replication, Split

DEEPEST = 256  # layers up to which the depth is looked for from which pipelining pays
GAIN = 1.05  # what predictions have to differ by to count


def preferred(splits: Sequence[Split]) -> Split:
    """Take the fastest split that fits, graph mode where it is as fast but for what counts, or else the smallest."""
    fitting = [split for split in splits if split.fits]
    if not fitting:
        return min(splits, key=lambda split: split.memory.total)
    fastest = min(fitting, key=lambda split: split.epoch_seconds)
    alone = next((split for split in fitting if split.stages == 1), fastest)
    return fastest if fastest.epoch_seconds * GAIN < alone.epoch_seconds else alone


def verdict(
    job: Job, gpus: int, splits: Sequence[Split], crossover: int | None, wins: bool, fewer: Split | None
) -> str:
    """Say in words what the predictions come to.

    Args:
        job: What is trained.
        gpus: How many.
        splits: For each number of stages that divides them.
        crossover: The depth from which stages win, memory aside.
        wins: Whether they win at this depth, memory aside.
        fewer: The split of somewhat fewer GPUs that is better than all of these.
    """
    if gpus == 1:
        return "One GPU: there is nothing to split."
    best = preferred(splits)
    return f"{_finding(job, gpus, splits, best, crossover, wins, fewer)}. {_depth(crossover)}{_hint(best, fewer)}"


def _finding(
    job: Job,
    gpus: int,
    splits: Sequence[Split],
    best: Split,
    crossover: int | None,
    wins: bool,
    fewer: Split | None,
) -> str:
    if not best.fits:
        return f"No split is predicted to fit into memory; the smallest needs {gigabytes(best.memory.total)} GB a GPU"
    graph = next(split for split in splits if split.stages == 1)
    if best is not graph:
        if not graph.fits:
            return "Pipelining is predicted to help: graph mode alone does not fit into memory"
        gain = graph.epoch_seconds / best.epoch_seconds
        return f"Pipelining is predicted to help: {gain:.2f} times faster than graph mode"
    gain = max(graph.epoch_seconds / split.epoch_seconds for split in splits if split.fits)
    tried, stages = min(job.layers, gpus), sorted(split.stages for split in splits if split.stages > 1)
    if job.layers == 1:
        why = "one layer cannot be cut into stages"
    elif not stages:
        why = f"no number of stages from 2 to {tried} divides {gpus} GPUs"
    elif wins:
        why = "splits that would be faster do not fit into memory, or not without computing twice"
    elif gain > 1:
        why = f"{gain - 1:.1%} faster than graph mode is less than counts, {GAIN - 1:.0%}"
    elif fewer is not None and fewer.stages > 1 and fewer.stages not in stages:
        why = f"of 2 to {tried} stages only {', '.join(map(str, stages))} can share {gpus} GPUs"
    elif crossover is None:
        why = "the cut is cheap for this link"
    elif crossover > job.layers:
        why = f"{job.layers} layers are too few for this cut and link"
    else:
        why = f"stages do not share {job.layers} layers evenly"
    return f"Pipelining is not predicted to help: {why}"


def _depth(crossover: int | None) -> str:
    if crossover is None:
        return f"No depth up to {DEEPEST} layers is predicted to make stages {GAIN - 1:.0%} faster than graph mode."
    if crossover == 2:
        return f"Memory aside, two layers are enough for stages to be {GAIN - 1:.0%} faster than graph mode."
    return f"Memory aside, graph mode is predicted to win below {crossover} layers."


def _hint(best: Split, fewer: Split | None) -> str:
    if fewer is None:
        return ""
    gain = "take less time" if best.fits else "fit"
    named = f"{fewer.stages * fewer.ways} GPUs are predicted to {gain}: {split_sizes(fewer)}"
    return f" {named}, {fewer.epoch_seconds:.3g} s an epoch."


def split_sizes(split: Split) -> str:
    """Say ``1 stage x 8 ways, 1 chunk``."""
    stages, ways, chunks = (
        f"{number} {what}{'' if number == 1 else 's'}"
        for number, what in ((split.stages, "stage"), (split.ways, "way"), (split.chunks, "chunk"))
    )
    return f"{stages} x {ways}, {chunks}"


def gigabytes(size: float) -> str:
    """Write a number of bytes in GB: ``0.844``, ``34.5``, ``1,474``, ``1.23e+07``."""
    amount = size / 1e9
    return f"{amount:,.0f}" if 100 <= amount < 1e6 else f"{amount:.3g}"


def assumptions(
    hardware: Hardware, measured: Mapping[int, float] | None, quality: float, replication: Replication, gpus: int
) -> tuple[str, ...]:
    """List what the predictions rest on."""
    given = ", ".join(f"{ways}={ratio:g}" for ways, ratio in sorted((measured or {}).items()))
    cut = f"measured {given}, and in proportion elsewhere" if given else f"{quality:g} of a random cut's"
    return (
        f"{hardware.name}: {hardware.flops / 1e12:g} TFLOP/s, {hardware.memory_bytes_per_second / 1e9:g} GB/s, "
        f"{hardware.memory_bytes / 1e9:g} GB ({hardware.source}); {hardware.efficiency:.0%} of the speeds is reached",
        f"every message goes over a full-duplex link of {hardware.link_bytes_per_second / 1e9:g} GB/s a GPU with "
        f"{hardware.latency_seconds * 1e6:g} us latency; nothing is faster within a host, nothing congests",
        "a hop's messages to all other ways leave at once: their bytes queue, but however many, they cost one latency; "
        "ways add up gradients with 2 ceil(log2 W) latencies (trees) and 2 (W - 1) / W of the bytes through each link",
        f"replicas a node M/N: {cut}; {replication(gpus):.2f} for {gpus} ways; a share r / (r + 0.3) of the edges "
        "waits for other ways, r = M/N / sqrt(K)",
        f"float32; an edge reads a whole row from memory, a hop's row-wise parts touch rows {ROW_TOUCHES} times; "
        f"backward the row-wise parts count twice; {hardware.overhead_seconds * 1e6:g} us a hop and chunk for kernels",
        "stages divide the number of GPUs and take hops by cost; equal chunks and ways, all hops alike; no priming, no "
        "evaluation",
        "memory: each hop's tables of current and historical rows and gradients (fewer with one chunk), kept "
        f"activations, inputs, buffers, topology, parameters with Adam; at most {ROOM:.0%} of a GPU's may be used",
    )
