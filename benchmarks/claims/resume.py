"""Claim: a benchmark killed with SIGKILL continues to the very numbers of an unbroken run.

A 10-seed run is killed at three random moments, one of them in the middle of writing a checkpoint. The
same call then continues it. The control continues without restoring the random generators.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gnnkit.bench import RunRecord, find_runs, recipe, run_benchmark

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, write

DATASET, MODEL, SEEDS = "digits", "gcn", 10
COMPARED = ("seed", "test", "valid", "train", "best_epoch", "epochs_run")


def main() -> int:
    """Run unbroken, run with kills, run the control; compare; write the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", type=Path, help="internal: run the benchmark into this folder")
    parser.add_argument("--die-in-save", type=int, default=0, help="internal: SIGKILL inside that checkpoint write")
    parser.add_argument("--forget-rng", action="store_true", help="internal: do not restore the random generators")
    parser.add_argument("--moments", type=int, default=0, help="seed of the random moments; 0 draws one")
    args = parser.parse_args()
    if args.child:
        _child(args.child, args.die_in_save, args.forget_rng)
        return 0
    moments = args.moments or random.SystemRandom().randrange(1, 10**6)
    with tempfile.TemporaryDirectory() as scratch:
        unbroken = _finish(Path(scratch) / "unbroken")
        killed, kills = _with_kills(Path(scratch) / "killed", moments)
        control, _ = _with_kills(Path(scratch) / "control", moments, "--forget-rng")
        records = {"unbroken": unbroken, "killed": killed, "control": control}
        rows = [_row(name, record) for name, record in records.items()]
    interval = recipe(DATASET, MODEL).train.checkpoint_every
    executed, bound = rows[1]["epochs_executed"], rows[0]["epochs_executed"] + kills * interval
    equal = _table(unbroken) == _table(killed)
    detected = _table(unbroken) != _table(control)
    claim = Claim(
        name="resume",
        statement=f"gnnkit bench {DATASET} --model {MODEL}, {SEEDS} seeds, SIGKILL at {kills} random moments "
        "(one inside a checkpoint write), then the same call: results against an unbroken run's",
        command="python benchmarks/claims/resume.py",
        result=f"{'equal' if equal else 'DIFFERENT'} digit for digit; {executed} epochs executed (bound {bound})",
        rows=rows,
        passed=equal and detected and rows[0]["epochs_executed"] <= executed <= bound,
        control=f"without restoring the random generators the results differ: {'yes' if detected else 'NO'} "
        f"(moments drawn with seed {moments})",
    )
    write(claim)
    return 0 if claim.passed else 1


def _with_kills(out: Path, moments: int, *flags: str) -> tuple[RunRecord, int]:
    """Kill twice after a random number of epochs and once inside a random checkpoint write, then finish."""
    draw = random.Random(moments)
    total = SEEDS * recipe(DATASET, MODEL).train.max_epochs
    _spawn(out, *flags, "--die-in-save", str(draw.randrange(2, 20))).wait()
    for part in (2, 3):
        after = draw.randrange(total * (part - 1) // 4, total * part // 4)
        process = _spawn(out, *flags)
        while _executed(out) < after:
            assert process.poll() is None, "the run ended before the moment of its kill"
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    return _finish(out, *flags), 3


def _finish(out: Path, *flags: str) -> RunRecord:
    assert _spawn(out, *flags).wait() == 0, "the last call failed"
    (record,) = find_runs([out])
    return record


def _spawn(out: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--child", str(out), *flags])


def _executed(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/seed-*.epochs.jsonl"))


def _child(out: Path, die_in_save: int, forget_rng: bool) -> None:
    import torch

    saves = 0
    save = torch.save

    def dying_save(state: Any, file: Any) -> None:
        nonlocal saves
        saves += 1
        if saves != die_in_save:
            save(state, file)
            return
        buffer = io.BytesIO()
        save(state, buffer)
        file.write(buffer.getvalue()[: buffer.tell() // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def nothing(state: Any) -> None:
        pass

    with patch("torch.save", dying_save):
        if forget_rng:
            with patch("gnnkit.train._loop._restore_rng", nothing):
                run_benchmark(DATASET, MODEL, seeds=range(SEEDS), device="cpu", out=out)
        else:
            run_benchmark(DATASET, MODEL, seeds=range(SEEDS), device="cpu", out=out)


def _table(record: RunRecord) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in COMPARED) for row in record.results]


def _row(name: str, record: RunRecord) -> dict[str, Any]:
    mean = sum(row["test"] for row in record.results) / len(record.results)
    return {
        "run": name,
        "seeds": len(record.results),
        "test_mean": repr(mean),
        "epochs_run": sum(row["epochs_run"] for row in record.results),
        "epochs_executed": record.epochs_executed(),
    }


if __name__ == "__main__":
    sys.exit(main())
