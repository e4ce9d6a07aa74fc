"""The one way to measure: interleaved repetitions, the memory-bandwidth floor, and peak anonymous memory.

Every script in ``benchmarks/claims/`` times through ``interleave``, so that a slow minute of the machine
falls on all contenders alike and medians are compared with medians.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor

_SAMPLE_SECONDS = 0.002


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one case: median, quartiles and the samples in the order they were taken."""

    median_seconds: float
    q1_seconds: float
    q3_seconds: float
    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: list[float]) -> Timing:
        """Summarise at least one sample; the quartiles interpolate between samples (inclusive method)."""
        # quantiles() wants two points; a single sample is its own quartile.
        points = samples if len(samples) > 1 else samples * 2
        q1, median, q3 = statistics.quantiles(points, n=4, method="inclusive")
        return cls(median, q1, q3, tuple(samples))


def interleave(
    cases: Mapping[str, Callable[[], object]], repeats: int = 9, warmup: int = 2, lead: int = 0
) -> dict[str, Timing]:
    """Time every case ``repeats`` times, round-robin, after ``warmup`` rounds that do not count.

    With ``lead``, a case runs so often, untimed, right before each timed repetition: the first run after another
    case's pays for memory that this one gave back in other pieces, which a process that does one thing never does.

    The order changes each round (rotated by one every second round, reversed in between), so that no case
    always follows the same neighbour or always comes first. The garbage collector runs before a repetition
    and not within it, and the result of a repetition is freed after the clock has stopped.

    Raises:
        ValueError: There is no case, ``repeats`` < 1, ``warmup`` < 0 or ``lead`` < 0.
    """
    if not cases:
        raise ValueError(f"expected at least one case to time (got {cases})")
    if repeats < 1 or warmup < 0 or lead < 0:
        raise ValueError(f"expected repeats >= 1, warmup >= 0 and lead >= 0 (got {repeats}, {warmup} and {lead})")
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for count in range(-warmup, repeats):
        for name in _order(list(cases), count):
            for _ in range(lead):
                cases[name]()
            seconds = _time_once(cases[name])
            if count >= 0:
                samples[name].append(seconds)
    return {name: Timing.of(taken) for name, taken in samples.items()}


def _order(names: list[str], count: int) -> list[str]:
    """The order of round ``count``; six rounds of three cases are all six permutations."""
    shift = (count // 2) % len(names)
    rotated = names[shift:] + names[:shift]
    return rotated[::-1] if count % 2 else rotated


def _time_once(case: Callable[[], object]) -> float:
    with _no_collector():
        start = time.perf_counter()
        result = case()
        seconds = time.perf_counter() - start
    del result
    return seconds


@contextmanager
def _no_collector() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def copy_bandwidth(num_bytes: int = 256 * 2**20, repeats: int = 9) -> float:
    """Bytes per second that ``Tensor.copy_`` moves, read and write counted: 2 · num_bytes / median time.

    Both buffers, of ``num_bytes`` each, are touched before the clock starts.
    """
    if num_bytes < 1:
        raise ValueError(f"expected num_bytes >= 1 (got {num_bytes})")
    source = torch.ones(num_bytes, dtype=torch.uint8)
    target = torch.zeros_like(source)
    timing = interleave({"copy": lambda: target.copy_(source)}, repeats)["copy"]
    return 2 * num_bytes / timing.median_seconds


def floor_seconds(num_edges: int, num_nodes: int, width: int, bandwidth: float) -> float:
    """Time of streaming one float32 row per edge in and one per node out: (E + N) · D · 4 / bandwidth.

    It assumes no reuse of rows in the cache, so a kernel on a skewed graph can come in below it.

    Args:
        num_edges: E.
        num_nodes: N.
        width: D, the number of float32 values in a row.
        bandwidth: Bytes per second, from ``copy_bandwidth`` in the same run.
    """
    if not bandwidth > 0:
        raise ValueError(f"expected a bandwidth > 0 in bytes per second (got {bandwidth})")
    return (num_edges + num_nodes) * width * 4 / bandwidth


def row_error(actual: Tensor, expected: Tensor) -> float:
    """Largest |actual - expected|, each relative to the largest |expected| in its row.

    A vector is not compared entry by entry (a dot product may cancel to almost nothing) but relative to its
    root mean square. A row of zeros has to be met exactly. NaN stays NaN, which fails every comparison.
    """
    scale = expected.abs().amax(1, keepdim=True) if expected.dim() == 2 else expected.square().mean().sqrt()
    return float(((actual - expected).abs() / scale.clamp(min=torch.finfo(expected.dtype).tiny)).max())


def peak_rss_anon_bytes(target: Callable[..., object], *args: object) -> int:
    """Peak anonymous resident memory of ``target(*args)`` in a fresh process, minus what its imports took.

    The child is spawned, imports what ``target`` needs and reports its RssAnon as the baseline; then the
    parent samples the child's ``/proc/<pid>/status`` every 2 ms until the child is done. Anonymous memory
    leaves out files mapped from disk. An allocation that lives for less than a sample can be missed.

    Args:
        target: A function that a fresh process can import (defined at the top level of a module).
        args: Its arguments, pickled to the child before the baseline is taken.

    Raises:
        ValueError: ``target`` is a lambda or is defined inside another function.
        RuntimeError: The child raised (the message holds its traceback) or died.
    """
    if "<" in getattr(target, "__qualname__", "<"):
        raise ValueError(f"expected a function defined at the top level of a module (got {target!r})")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, target, args), daemon=True)
    child.start()
    theirs.close()  # so that a dead child shows as the end of the pipe
    try:
        baseline = peak = int(ours.recv())
        ours.send("go")
        while not ours.poll(_SAMPLE_SECONDS):
            peak = max(peak, _rss_anon_bytes(child.pid or 0))
        failure = ours.recv()
        ours.send("exit")  # the child waits for this, so that every sample finds it alive
    except (EOFError, ConnectionError, ProcessLookupError, FileNotFoundError) as error:
        child.join()
        raise RuntimeError(f"expected the measured process to finish (got exit code {child.exitcode})") from error
    child.join()
    if failure:
        raise RuntimeError(f"expected the measured function to return (got an exception)\n{failure}")
    return peak - baseline


def _serve(pipe: Connection, target: Callable[..., object], args: tuple[object, ...]) -> None:
    """Run in the child: baseline, permission, call, outcome; see ``peak_rss_anon_bytes``."""
    gc.collect()
    pipe.send(_rss_anon_bytes(os.getpid()))
    pipe.recv()
    try:
        result = target(*args)
        pipe.send("")
        del result
    except BaseException:  # the parent raises it, whatever it was
        pipe.send(traceback.format_exc())
    pipe.recv()


def _rss_anon_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0  # a process that is exiting has no memory lines any more
