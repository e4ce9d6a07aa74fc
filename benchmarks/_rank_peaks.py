"""Peaks of anonymous memory of several processes that work together, case after case."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

from _harness import _SAMPLE_SECONDS, _rss_anon_bytes

# glibc gives freed memory back at once: what is larger than 64 KiB is a mapping of its own, the heap is trimmed
_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_MAX_": "1000000",
}
Run = Callable[..., list[int]]


@contextmanager
def rank_peaks(target: Callable[..., None], world_size: int, *args: object) -> Iterator[Run]:
    """Spawn ``target(pipe, rank, folder, *args)`` for each rank, which calls `serve`; give what runs a case on them.

    It returns, rank by rank, the peak of RssAnon, sampled every 2 ms, less what the rank had when all were warm.

    Raises:
        RuntimeError: A rank raised (the message holds its traceback) or died.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ends = [context.Pipe() for _ in range(world_size)]
        processes = [
            context.Process(target=_start, args=(target, theirs, rank, Path(folder), *args), daemon=True)
            for rank, (_, theirs) in enumerate(ends)
        ]
        with patch.dict(os.environ, _MALLOC):
            for process in processes:
                process.start()
        for _, theirs in ends:
            theirs.close()  # so that a dead rank shows as the end of its pipe
        pipes = [ours for ours, _ in ends]

        def anonymous() -> list[int]:
            return [_rss_anon_bytes(process.pid or 0) for process in processes]

        def run(*case: object) -> list[int]:
            _tell(pipes, case)
            _hear(pipes)
            baselines = peaks = anonymous()
            _tell(pipes, "go")
            while not all(pipe.poll() for pipe in pipes):
                peaks = list(map(max, peaks, anonymous()))
                time.sleep(_SAMPLE_SECONDS)
            _hear(pipes)
            return [peak - baseline for peak, baseline in zip(peaks, baselines, strict=True)]

        try:
            yield run
            _tell(pipes, None)
            for process in processes:
                process.join(60)
        finally:
            for process in processes:
                process.kill()


def serve(pipe: Connection, warm_up: Callable[..., None], full: Callable[..., None]) -> None:
    """Do cases in a rank until told to end: warm up, say so, run when told, say so."""
    while (case := pipe.recv()) is not None:
        warm_up(*case)
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        pipe.send("")
        pipe.recv()
        full(*case)
        pipe.send("")


def _start(target: Callable[..., None], pipe: Connection, *args: object) -> None:
    try:
        target(pipe, *args)
    except BaseException:  # the parent raises it, whatever it was
        pipe.send(traceback.format_exc())
        pipe.recv()  # lives on until the parent has read of it


def _tell(pipes: Sequence[Connection], order: Any) -> None:
    for pipe in pipes:
        pipe.send(order)


def _hear(pipes: Sequence[Connection]) -> None:
    for rank, pipe in enumerate(pipes):
        try:
            failure = pipe.recv()
        except (EOFError, ConnectionError):
            failure = "it died"
        if failure:
            raise RuntimeError(f"rank {rank}: expected it to finish (got an exception)\n{failure}")
