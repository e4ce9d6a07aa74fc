"""Claim: with Numba's cache warm, the first call of ``spmm``, forward and backward, costs little more than the second.

Every measurement is a fresh process on one empty folder for Numba's cache: the first finds it empty and compiles, the
others read what it left. Half of these have imported torch alone, half PyG as well. What is imported once a process is
timed by itself, each in a column: the packages, and Numba's registries of everything that it can compile, with parts
of SciPy, which Numba imports at the first call of any loop and here is asked to import before. Then ``spmm``, a
weighted sum in float32 on a graph of three nodes, and the gradients of the rows and the weights are asked for twice.
What the first call takes beyond the second is judged: compiling or reading the cache, and all else that is done once.
A column has the same with the imports of Numba, which are no part of what is judged: a script pays them once.

After it come the other kernels of the common set, those of ``gnnkit doctor --warm``. What all first calls of a process
take beyond the second ones is in the table, and for the first process is the time that compiling the set takes.

Control: the process that compiles misses the threshold. A process that imported torch alone has to end without
``torch._dynamo``, a second of imports that registering the operations in another way would bring into the first call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

THRESHOLD_S = 0.2
RUNS = 5
BESIDE = {"torch": (), "torch, PyG": ("torch_geometric.nn",)}  # what a script has imported before


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def child(beside: str) -> dict[str, Any]:
    """Measure this process, which has to be fresh."""
    row: dict[str, Any] = {}
    for module in ("torch", *BESIDE[beside], "gnnkit.kernels", "numba"):
        row[f"import {module} [s]"] = seconds(partial(import_module, module))
    from numba.core.registry import cpu_target

    row["Numba's registries [s]"] = seconds(cpu_target.target_context.refresh)
    import torch

    from gnnkit import kernels

    indptr, indices = torch.tensor([0, 2, 3, 4]), torch.tensor([0, 1, 1, 2], dtype=torch.int32)
    x, values = torch.ones(3, 8, requires_grad=True), torch.ones(4, requires_grad=True)

    def spmm() -> None:
        torch.autograd.grad(kernels.spmm(indptr, indices, x, values).sum(), (x, values))

    first, second = seconds(spmm), seconds(spmm)
    from gnnkit.bench._warm import counts, total, warm

    others, again = total(list(warm())), total(list(warm()))
    row |= {"first spmm [s]": first, "second spmm [s]": second, "first adds [s]": first - second}
    row["with Numba's imports [s]"] = first - second + row["import numba [s]"] + row["Numba's registries [s]"]
    row["whole set adds [s]"] = first - second + others.seconds - again.seconds
    row["compiled"], row["from cache"] = counts()
    row["torch._dynamo"] = int("torch._dynamo" in sys.modules)
    return row


def measure(cache: str, beside: str) -> dict[str, Any]:
    """Measure a fresh process that keeps its compiled loops in a folder."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, __file__, "--child", beside]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def judge(cold: dict[str, Any], warm: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The claim of a cold process and of the warm ones beside each of `BESIDE`: its result, rows and verdict."""
    middle = {name: {key: median(row[key] for row in rows) for key in rows[0]} for name, rows in warm.items()}
    adds = {name: row["first adds [s]"] for name, row in middle.items()}
    imports = middle["torch"]["with Numba's imports [s]"]
    by_compiling = cold["first adds [s]"]
    every = [row for rows in warm.values() for row in rows]
    states_hold = cold["from cache"] == 0 < cold["compiled"] and not any(row["compiled"] for row in every)
    compiler = sum(row["torch._dynamo"] for row in warm["torch"])
    return {
        "result": (
            f"with a warm cache the first spmm adds {adds['torch']:.3f} s ({adds['torch, PyG']:.3f} s where PyG is "
            f"imported), {imports:.2f} s with Numba's imports; compiling the whole common set takes "
            f"{cold['whole set adds [s]']:.0f} s once"
        ),
        "rows": [
            {"cache": "cold", "beside": "torch"} | cold,
            *({"cache": "warm", "beside": name} | row for name, rows in warm.items() for row in rows),
            *({"cache": "warm, median", "beside": name} | row for name, row in middle.items()),
        ],
        "passed": max(adds.values()) < THRESHOLD_S <= by_compiling and states_hold and compiler == 0,
        "control": (
            f"in the cold process the first spmm adds {by_compiling:.1f} s, and {cold['compiled']} loops are compiled; "
            f"warm processes compile {sum(row['compiled'] for row in every)}; torch._dynamo is in {compiler} of "
            f"{len(warm['torch'])} processes with torch alone"
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure one cold process and the warm ones, judge, write the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="processes with a warm cache, of each kind")
    parser.add_argument("--child", choices=BESIDE, help="internal: measure this process")
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(child(options.child)))
        return 0
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from _rows import Claim, show, write  # which imports torch: not for the child

    with tempfile.TemporaryDirectory() as cache:
        cold = measure(cache, "torch")
        warm = {beside: [measure(cache, beside) for _ in range(options.runs)] for beside in BESIDE}
    claim = Claim(
        name="first_call",
        statement=(
            f"What the first spmm of a process, forward and backward, takes beyond the second, imports done: median "
            f"of {options.runs} processes with a warm Numba cache, with and without PyG, on a graph of 3 nodes; "
            f"threshold {THRESHOLD_S} s"
        ),
        command="python benchmarks/claims/first_call.py",
        **judge(cold, warm),
    )
    (write if options.runs == RUNS else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
