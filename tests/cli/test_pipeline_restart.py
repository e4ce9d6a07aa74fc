"""torchrun restarts a pipeline whose processes are killed or hang, and it ends with the weights of an unbroken run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell

from gnnkit.bench import find_runs

WORDS = [
    *("--dataset", "karate", "--model", "gcnii", "--layers", "4", "--hidden", "8", "--device", "cpu"),
    *("--epochs", "25", "--checkpoint-every", "5", "--chunks", "3", "--set", "plan.partitioner=builtin"),
]
HERE = Path(__file__).parent


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_ranks_that_are_killed_or_hang_cost_epochs_and_no_digit(gnnkit_: Shell, folder: Path) -> None:
    gnnkit_("pipeline", *WORDS, "--stages", "2", "--out", "unbroken")
    done = torchrun("--max-restarts", "5", str(HERE / "restart_ranks.py"), *WORDS, "--out", "broken")
    assert done.returncode == 0, done.stderr[-3000:]
    ((unbroken,), (broken,)) = (find_runs([folder / name]) for name in ("unbroken", "broken"))
    (one,), (other,) = unbroken.results, broken.results
    assert other["processes"] == 2
    same = ("weights_sha256", "test", "valid", "best_epoch", "epochs_run")
    assert [other[name] for name in same] == [one[name] for name in same]
    # rank 1 is killed while the checkpoint of epoch 10 is written, then rank 0 hangs after epoch 13
    assert [row["epoch"] for row in broken.history(0)] == list(range(1, 26))
    assert not list(broken.folder.glob("*.checkpoints"))
    told = [line for line in done.stderr.splitlines() if line.startswith("gnnkit: ")]
    assert told, done.stderr[-3000:]
    # who waited for the killed rank says so, unless torchrun, which has seen the kill, ends it before
    assert all("gnnkit: rank 0: rank 1 (stage 1, way 0) did not" in line for line in told[:-1])
    assert "gnnkit: rank 1: rank 0 (stage 0, way 0) did not" in told[-1]
    assert "within 10 s" in told[-1]
    assert 25 + 5 + 3 <= broken.epochs_executed() <= 25 + 5 * 2  # two accidents
    assert "seed 0: continued after epoch 10" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "code"), [("86400", 0), ("10", 1)])
def test_who_prepares_the_dataset_has_time_of_its_own(seconds: str, code: int, folder: Path) -> None:
    limits = ("--set", "process.timeout_seconds=10", "--set", f"process.prepare_seconds={seconds}")
    done = torchrun(str(HERE / "prepare_ranks.py"), *WORDS, *limits)
    assert done.returncode == code, done.stderr[-3000:]
    assert ("gnnkit: rank 1: rank 0 (stage 0, way 0) did not" in done.stderr) == bool(code), done.stderr[-3000:]
    assert bool(list(folder.glob("runs/*/results.jsonl"))) == (not code)
