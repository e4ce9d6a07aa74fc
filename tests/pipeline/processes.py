"""Runs a function in several processes of torch.distributed (gloo), for the tests of this folder.

It is a script too: ``python processes.py JOB RANK`` is what one rank does.
"""

from __future__ import annotations

import importlib.util
import inspect
import pickle
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def run_ranks(
    world_size: int,
    target: Callable[..., Any],
    *args: Any,
    seconds: float = 120.0,
    dying: Collection[int] = (),
    group: bool = True,
) -> list[Any]:
    """Call ``target(rank, world_size, *args)`` in processes of their own; give what each returned.

    Args:
        world_size: How many processes.
        target: A function at the top of a file. Its file is loaded anew in each process, with this one's ``sys.path``.
        args: For the target; pickled, as results are.
        seconds: For all of it. Then every process is killed.
        dying: Ranks that may end without a result, which is then None.
        group: Whether the default process group is made and destroyed around the call.

    Raises:
        AssertionError: A rank failed or was too late; with what each such rank said, by rank.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder, "job")
        job.write_bytes(
            pickle.dumps((sys.path, inspect.getfile(target), target.__name__, world_size, args, seconds, group))
        )
        said = [Path(folder, f"said{rank}") for rank in range(world_size)]
        results = [Path(folder, f"result{rank}") for rank in range(world_size)]
        processes = [_start(job, rank, said[rank]) for rank in range(world_size)]
        try:
            late = _wait(processes, time.monotonic() + seconds, dying)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        wrong = [
            f"rank {rank} {'was killed: late' if rank in late else 'failed'}\n{said[rank].read_text(errors='replace')}"
            for rank, process in enumerate(processes)
            if rank not in dying and (rank in late or process.returncode != 0 or not results[rank].exists())
        ]
        assert not wrong, "\n".join(wrong)
        return [pickle.loads(result.read_bytes()) if result.exists() else None for result in results]


def _start(job: Path, rank: int, said: Path) -> subprocess.Popen[bytes]:
    with said.open("wb") as out:
        return subprocess.Popen([sys.executable, __file__, str(job), str(rank)], stdout=out, stderr=subprocess.STDOUT)


def _wait(processes: list[subprocess.Popen[bytes]], end: float, dying: Collection[int]) -> list[int]:
    """Wait for all; where one fails, the others get five seconds to say what they make of it. Return who was late."""
    failed = False
    while time.monotonic() < end:
        codes = [process.poll() for process in processes]
        if None not in codes:
            return []
        if not failed and any(code for rank, code in enumerate(codes) if rank not in dying):
            failed, end = True, min(end, time.monotonic() + 5)
        time.sleep(0.02)
    return [rank for rank, process in enumerate(processes) if process.poll() is None]


def _be(job: Path, rank: int) -> None:
    path, file, name, world_size, args, seconds, group = pickle.loads(job.read_bytes())
    sys.path[:] = path
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    if group:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{job.parent}/meeting",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=seconds),
        )
    result = getattr(module, name)(rank, world_size, *args)
    unfinished = job.with_name(f"unfinished{rank}")
    unfinished.write_bytes(pickle.dumps(result))
    unfinished.rename(job.with_name(f"result{rank}"))
    if group:
        dist.destroy_process_group()


if __name__ == "__main__":
    try:
        _be(Path(sys.argv[1]), int(sys.argv[2]))
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
