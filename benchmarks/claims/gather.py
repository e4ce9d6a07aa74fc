"""Claim: rows by id, as fast as torch.index_select into a buffer on the CPU, and in the fewest requests on a GPU.

CPU: rows of 100 to 1024 floats from a table of 1 GB into a buffer of 40 MB, random ids and ids that follow a power law,
on one thread and on all cores; fresh outputs beside it. Requests: the emulator runs the kernel's source and counts the
lines of 128 bytes that each warp asks for, beside the cost model and the published figures (Min et al., PVLDB 14(11),
2021, whose table it is). GPU, where there is one: rows read from pinned memory, beside a copy of pinned memory, and
beside a gather on the CPU that is then copied.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit.data import InMemory, Pinned
from gnnkit.data._transfer_cost import mean_requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "emulator"))
from _harness import interleave
from _rows import Claim, write
from lines import lines_per_row
from machine import missing

WIDTHS = (100, 128, 300, 602, 1024)
TABLE_BYTES, BATCH_BYTES = 1_000_000_000, 40_000_000
LEAST = 1.0  # of index_select's speed, into a buffer, random ids
# mean requests a row, 4 bytes a lane: naive, aligned
PUBLISHED = {64: (2, 2), 100: (6.63, 4.00), 128: (4, 4), 300: (18.1, 10.3), 602: (36.6, 19.8), 1024: (32, 32)}
OF_THE_LINK, OVER_THE_CPU = 0.85, 1.65  # of the bandwidth of a pinned copy; over a gather on the CPU and a copy


def main() -> int:
    """Measure what this machine has, compare, run the controls, write the row."""
    cores = len(os.sched_getaffinity(0))
    rows = [row for threads in dict.fromkeys((1, cores)) for row in on_cpu(threads)]
    torch.set_num_threads(cores)
    requests = None if missing() else [request_row(found) for found in lines_per_row(PUBLISHED)]
    on_gpu = [on_gpu_of(width) for width in WIDTHS] if torch.cuda.is_available() else []
    random = [row for row in rows if row["ids"] == "random"]
    slowest = min(row["speed_over_index_select"] for row in random)
    fresh = min(row["fresh_over_index_select_out"] for row in random)
    passed = {
        "cpu": slowest >= LEAST,
        "requests": requests is not None and all(row["equal"] for row in requests),
        "gpu": all(row["of_pinned_copy"] >= OF_THE_LINK and row["over_cpu_gather"] >= OVER_THE_CPU for row in on_gpu),
    }
    controls = {
        f"gathers into fresh memory reach {fresh:.2f} of the threshold's peer": fresh < LEAST,
        "requests without the shift differ from the aligned figures": requests is not None
        and any(row["naive"] != row["aligned"] and not is_published(row["width"], row["naive"], 1) for row in requests),
    }
    d100 = next((row for row in requests or [] if row["width"] == 100), None)
    counted = (
        f"{d100['naive'] + 1e-9:.2f} requests a row of 100 floats, {d100['aligned']:.2f} aligned" if d100 else "NO g++"
    )
    least_gpu = min((row["of_pinned_copy"] for row in on_gpu), default=0.0)
    gpu = f"GPU: {least_gpu:.0%} of a pinned copy's bandwidth at least" if on_gpu else "no GPU: not measured"
    best = max(row["speed_over_index_select"] for row in random)
    skewed = min(row["speed_over_index_select"] for row in rows if row["ids"] != "random")
    claim = Claim(
        name="gather",
        statement=f"gather_rows beside torch.index_select(out=), rows of {', '.join(map(str, WIDTHS))} floats, "
        f"random ids (threshold {LEAST}) and power-law ids, 1 and {cores} threads; emulated requests a row beside the "
        "published ones",
        command="python benchmarks/claims/gather.py",
        result=f"{slowest:.2f} to {best:.2f} times its speed on random ids, {skewed:.2f} at least on power-law ids; "
        f"{counted}; {gpu}",
        rows=[*rows, *(requests or []), *on_gpu],
        passed=all(passed.values()) and all(controls.values()),
        control="; ".join(f"{what}: {'yes' if held else 'NO'}" for what, held in controls.items()),
    )
    write(claim)
    return 0 if claim.passed else 1


def ids_of(kind: str, num_rows: int, count: int) -> Tensor:
    """``count`` ids: uniform, or the fourth power of uniform numbers over a random order, so few rows take most."""
    draw = torch.Generator().manual_seed(0)
    if kind == "random":
        return torch.randint(num_rows, (count,), generator=draw)
    place = (num_rows * torch.rand(count, generator=draw, dtype=torch.float64) ** 4).long()
    return torch.randperm(num_rows, generator=draw)[place]


def on_cpu(threads: int) -> list[dict[str, Any]]:
    """Measure every width and kind of ids."""
    torch.set_num_threads(threads)
    case = f"CPU, {threads} thread{'s' * (threads > 1)}"
    return [{"case": case, **row} for width in WIDTHS for row in of_width(width)]


def of_width(width: int) -> list[dict[str, Any]]:
    """Measure one table, with both kinds of ids."""
    table = table_of(width)
    return [{"width": width, "ids": kind, **rates(table, kind)} for kind in ("random", "power law")]


def table_of(width: int) -> Tensor:
    """Rows that differ."""
    return torch.arange(TABLE_BYTES // (4 * width) * width, dtype=torch.float32).view(-1, width)


def rates(table: Tensor, kind: str) -> dict[str, float]:
    """GB written a second by each contender, once their results are equal."""
    store, ids = InMemory(table), ids_of(kind, len(table), BATCH_BYTES // table[0].nbytes)
    short, out, expected = ids.int(), torch.empty(len(ids), table.shape[1]), table.index_select(0, ids)
    assert torch.equal(store.read(ids, out), expected)
    assert torch.equal(store.read(short), expected)
    gc.freeze()  # what imports and compilers made need not be looked through before every repetition
    took = seconds(
        {
            "index_select": lambda: torch.index_select(table, 0, ids, out=out),
            "ours": lambda: store.read(ids, out),
            "ours_int32": lambda: store.read(short, out),
            "fresh_index_select": lambda: table.index_select(0, ids),
            "fresh_ours": lambda: store.read(ids),
        }
    )
    return {
        **{f"{name}_GB_per_s": out.nbytes / time / 1e9 for name, time in took.items()},
        "speed_over_index_select": took["index_select"] / took["ours"],
        "fresh_over_index_select_out": took["index_select"] / took["fresh_ours"],
    }


def seconds(cases: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each."""
    return {name: timing.median_seconds for name, timing in interleave(cases, repeats=31).items()}


def request_row(found: dict[str, float]) -> dict[str, Any]:
    """Emulated requests of one width beside the model's and the published ones."""
    width = int(found["width"])
    model = [mean_requests(4 * width, aligned) for aligned in (False, True)]
    kinds = found["naive"], found["aligned"]
    published = all(is_published(width, value, kind) for kind, value in enumerate(kinds))
    return {
        "case": "requests a row",
        "width": width,
        "naive": found["naive"],
        "aligned": found["aligned"],
        "ours": found["ours"],
        "published_naive": PUBLISHED[width][0],
        "published_aligned": PUBLISHED[width][1],
        "equal": published and list(kinds) == model and found["ours"] == found["aligned"],
    }


def is_published(width: int, value: float, kind: int) -> bool:
    """Whether a count rounds (half up) to the published figure, naive or aligned."""
    digits = 1 if width in (300, 602) else 2
    return round(value + 1e-9, digits) == PUBLISHED[width][kind]


def on_gpu_of(width: int) -> dict[str, Any]:
    """Zero copy beside a copy of pinned memory, and beside a gather on the CPU with a pinned buffer and a copy."""
    table = table_of(width)
    ids = ids_of("random", len(table), 4 * BATCH_BYTES // (4 * width)).unique()  # a batch's ids are distinct
    memory, there = InMemory(table), ids.cuda()
    staged, out = torch.empty(len(ids), width).pin_memory(), torch.empty(len(ids), width, device="cuda")

    def synchronised(call: Callable[[], object]) -> Callable[[], None]:
        def timed() -> None:
            call()
            torch.cuda.synchronize()

        return timed

    with Pinned(table) as store:
        assert torch.equal(store.read(there).cpu(), table[ids])
        took = seconds(
            {
                "zero_copy": synchronised(lambda: store.read(there, out)),
                "pinned_copy": synchronised(lambda: out.copy_(staged, non_blocking=True)),
                "cpu_gather_then_copy": synchronised(lambda: out.copy_(memory.read(ids, staged), non_blocking=True)),
            }
        )
    return {
        "case": torch.cuda.get_device_name(),
        "width": width,
        "ids": "random, distinct",
        **{f"{name}_GB_per_s": out.nbytes / time / 1e9 for name, time in took.items()},
        "of_pinned_copy": took["pinned_copy"] / took["zero_copy"],
        "over_cpu_gather": took["cpu_gather_then_copy"] / took["zero_copy"],
    }


if __name__ == "__main__":
    sys.exit(main())
