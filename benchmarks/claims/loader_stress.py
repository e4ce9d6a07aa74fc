"""Claim: a loader's threads leave nothing behind, whatever ends them, and an error names its batch.

One `NeighborLoader` with two sampling threads goes through 10,000 batches; iterators are abandoned half-way 100 times;
errors are thrown inside the sampler, the feature store and the transform, 50 times each; a child process in the middle
of its batches gets SIGINT, as by Ctrl-C, with threads and without. After each of them the process has the threads, open
files and pinned memory that it had before, and its resident memory does not grow: at most 8 MiB over 8,000 batches.
Threads are the system's (/proc/self/task), so those of OpenMP count too.

Control: the same check over 10 iterators whose closing is broken on purpose has to report what they leave.
"""

from __future__ import annotations

import argparse
import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data import NeighborLoader, NeighborSampler
from gnnkit.data._prefetch import Box
from gnnkit.datasets.synthetic import power_law

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, show, write

DEFAULTS = {"batches": 10_000, "abandoned": 100, "errors": 50, "interrupts": 2}
NUM_NODES, NUM_EDGES, WIDTH = 20_000, 200_000, 64
BATCH, FANOUTS = 32, [10, 5]
WARM_UP, RSS_LIMIT_MB = 500, 8.0
INTERRUPT_SECONDS = 10.0


def graph() -> Data:
    """A power law, with a row of floats a node."""
    draw = torch.Generator().manual_seed(0)
    return Data(edge_index=power_law(NUM_NODES, NUM_EDGES), x=torch.randn(NUM_NODES, WIDTH, generator=draw))


class Store:
    """Rows in memory, or an error at a batch that begins with a certain node."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.fails_at = -1

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        if int(ids[0]) == self.fails_at:
            raise OSError("no such row")
        return torch.index_select(self.rows, 0, ids, out=out)


class Sampler(NeighborSampler):
    """Ours, or an error likewise."""

    fails_at = -1

    def sample_from_nodes(self, inputs: Any, key: int | None = None) -> Any:
        if int(inputs.node[0]) == self.fails_at:
            raise OSError("no such node")
        return super().sample_from_nodes(inputs, key=key)


class Transform:
    """Nothing, or an error likewise."""

    fails_at = -1

    def __call__(self, batch: Data) -> Data:
        if int(batch.input_id[0]) == self.fails_at:
            raise OSError("no such batch")
        return batch


def make_loader() -> tuple[NeighborLoader, dict[str, Any]]:
    """A loader, and what may fail in it."""
    data = graph()
    parts: dict[str, Any] = {"sampler": Sampler(data, FANOUTS), "store": Store(data.x), "transform": Transform()}
    bare = Data(edge_index=data.edge_index, num_nodes=NUM_NODES)
    loader = NeighborLoader(
        bare,
        FANOUTS,
        batch_size=BATCH,
        neighbor_sampler=parts["sampler"],
        features=parts["store"],
        transform=parts["transform"],
        num_workers=2,
    )
    return loader, parts


# ------------------------------------------------------------------ what a process holds


def held() -> dict[str, int]:
    """The threads, open files and pinned kB of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "threads": sum(1 for _ in Path("/proc/self/task").iterdir()),
        "files": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "pinned_kb": int(status["VmPin"].split()[0]) + int(status["VmLck"].split()[0]),
    }


def settled(before: dict[str, int]) -> dict[str, int]:
    """What is held, once it is what was held before, or after a second: the system ends a thread after Python does."""
    begin = time.perf_counter()
    while (now := held()) != before and time.perf_counter() - begin < 1:
        time.sleep(0.001)
    return now


def rss_mb() -> float:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def left_by(case: str, act: Callable[[], tuple[int, int]]) -> dict[str, Any]:
    """Run a case, which returns how often it did what and how often that went well; say what it left behind."""
    gc.collect()
    gc.disable()  # what is left is what no collector has to find
    before, memory, begin = held(), rss_mb(), time.perf_counter()
    times, good = act()
    after = settled(before)
    row: dict[str, Any] = {"case": case, "times": times, "as_expected": good}
    row |= {f"{name}_left": after[name] - before[name] for name in before}
    row |= {"rss_grown_mb": round(rss_mb() - memory, 1), "seconds": round(time.perf_counter() - begin, 1)}
    gc.enable()
    return row


def holds(row: dict[str, Any]) -> bool:
    """Whether all went as expected and nothing is left."""
    left = [value for name, value in row.items() if name.endswith("_left")]
    return row["as_expected"] == row["times"] and not any(left) and row["rss_grown_mb"] <= RSS_LIMIT_MB


# ------------------------------------------------------------------ cases


def through(loader: NeighborLoader, count: int) -> tuple[int, int]:
    """Go through that many batches, epoch after epoch."""
    done = 0
    while done < count:
        for batch in loader:
            done += 1
            assert len(batch.x) == len(batch.n_id)
            if done == count:
                break
        del batch
    return count, done


def abandon(loader: NeighborLoader, times: int) -> tuple[int, int]:
    """Leave epochs half-way; each has ended its threads when the next begins."""
    before, good = held(), 0
    for _ in range(times):
        for step, _batch in enumerate(loader):
            if step == len(loader) // 20:
                break
        del _batch
        good += settled(before) == before
    return times, good


def fail(loader: NeighborLoader, part: Any, times: int) -> tuple[int, int]:
    """Fail in batches further and further on; the message has to name the batch, the cause to be the error."""
    good = 0
    for number in range(times):
        part.fails_at = number * BATCH
        try:
            for _batch in loader:
                pass
        except RuntimeError as error:
            named = str(error).startswith(f"batch {number}, input nodes [{number * BATCH}, ")
            good += named and isinstance(error.__cause__, OSError)
    part.fails_at = -1
    return times, good


CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may have been born deaf to it
sys.path.insert(0, {folder!r})
import loader_stress
loader, _ = loader_stress.make_loader()
loader.prefetch = {prefetch}
while True:
    for batch in loader:
        print("batch", flush=True)
"""


def interrupt(prefetch: int) -> tuple[int, int]:
    """Send SIGINT to a process that goes through batches: it has to end by it, soon, and with its usual message."""
    code = CHILD.format(folder=str(Path(__file__).resolve().parent), prefetch=prefetch)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        begin = time.perf_counter()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    soon = time.perf_counter() - begin < INTERRUPT_SECONDS
    last = errors.decode().rstrip().splitlines()[-1:]
    return 1, int(process.returncode in (-signal.SIGINT, 130) and soon and last == ["KeyboardInterrupt"])


def main(arguments: list[str] | None = None) -> int:
    """Run every case, judge, write the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = vars(parser.parse_args(arguments))
    loader, parts = make_loader()
    warm_up = min(WARM_UP, options["batches"])
    through(loader, warm_up + options["batches"] // 5)  # the pools of memory have their size by then
    rows = [left_by("batches", lambda: through(loader, options["batches"] * 4 // 5))]
    rows.append(left_by("abandoned half-way", lambda: abandon(loader, options["abandoned"])))
    for name, part in parts.items():
        rows.append(left_by(f"error in the {name}", lambda part=part: fail(loader, part, options["errors"])))
    rows += [
        left_by(f"Ctrl-C, prefetch {prefetch}", lambda p=prefetch: interrupt(p))
        for prefetch in (0, 2)[: options["interrupts"]]
    ]
    left: list[Box] = []
    with patch.object(Box, "stop", lambda box: left.append(box)):
        control = left_by("control: closing broken", lambda: abandon(loader, min(10, options["abandoned"])))
    for box in left:
        box.stop()
    caught = not holds(control)
    good = sum(map(holds, rows))
    claim = Claim(
        name="loader_stress",
        statement=(
            f"NeighborLoader with 2 sampling threads, fan-out {'-'.join(map(str, FANOUTS))}, batches of {BATCH}, "
            f"power-law graph with {NUM_NODES:,} nodes and {NUM_EDGES:,} edges: {options['batches']:,} batches, "
            f"{options['abandoned']} iterators abandoned, {options['errors']} errors in each of sampler, store and "
            f"transform, Ctrl-C; threads, files, pinned and resident memory before and after"
        ),
        command="python benchmarks/claims/loader_stress.py",
        result=f"{good} of {len(rows)} leave nothing, every error names its batch",
        rows=[*rows, control],
        passed=good == len(rows) and caught,
        control=f"{control['threads_left']} threads of iterators that do not close {'' if caught else 'not '}caught",
    )
    (write if options == DEFAULTS else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
