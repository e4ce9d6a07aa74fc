"""Claim: a pipeline whose processes are killed with SIGKILL ends with the very weights of an unbroken run.

``torchrun --max-restarts 5 -m gnnkit.pipeline`` trains 200 epochs; at five random moments a random rank is killed, and
torchrun restarts all. Compared are the SHA-256 of all final weights, the scores, and how many epochs were executed. The
control goes on from checkpoints without their historical rows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gnnkit.bench import RunRecord, find_runs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, show, write

KILLS, EPOCHS, INTERVAL = 5, 200, 10
SAME = ("weights_sha256", "test", "valid", "train", "best_epoch", "epochs_run")
CASES = {"2 ranks, pipeline": (2, ()), "4 ranks, hybrid": (4, ("--mode", "hybrid", "--stages", "2"))}
WORDS = ("--dataset", "digits", "--model", "gcnii", "--layers", "8", "--hidden", "16", "--device", "cpu")
TRAINED = ("--checkpoint-every", str(INTERVAL), "--set", "train.lr=0.01", "--set", "plan.partitioner=builtin")


def main() -> int:
    """Run each case unbroken and with kills, run the control; compare; write the row."""
    if sys.argv[1:2] == ["--child"]:  # the command, without historical rows
        _without_history(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=0, help="seed of the random moments and ranks; 0 draws one")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="fewer for a trial, which writes no row")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    args = parser.parse_args()
    moments = args.moments or random.SystemRandom().randrange(1, 10**6)
    draw, rows = random.Random(moments), []
    with tempfile.TemporaryDirectory() as scratch:
        for case in args.cases:
            unbroken = _run(case, Path(scratch) / f"{case} unbroken", args.epochs, 0, draw)
            killed = _run(case, Path(scratch) / f"{case} killed", args.epochs, KILLS, draw)
            rows += [_row(f"{case}, unbroken", unbroken, 0, unbroken), _row(f"{case}, killed", killed, KILLS, unbroken)]
        control = _run(case, Path(scratch) / "control", args.epochs, 1, draw, control=True)
        rows.append(_row(f"{case}, control", control, 1, unbroken))
    bound = args.epochs + KILLS * INTERVAL
    equal, control_row = all(row["equal"] for row in rows[:-1]), rows[-1]
    detected = not control_row["equal"] and control_row["epochs_run"] == args.epochs
    executed = [row["epochs_executed"] for row in rows if row["kills"] == KILLS]
    claim = Claim(
        name="pipeline_restart",
        statement=f"GCNII of 8 layers on digits, {args.epochs} epochs under torchrun --max-restarts {KILLS}: a random "
        f"rank killed at {KILLS} random moments, a checkpoint every {INTERVAL} epochs, against an unbroken run",
        command="python benchmarks/claims/pipeline_restart.py",
        result=f"{'equal' if equal else 'DIFFERENT'} weights bit for bit; {' and '.join(map(str, executed))} epochs "
        f"executed (bound {bound}) in {' and '.join(args.cases)}",
        rows=rows,
        passed=equal and detected and all(args.epochs <= count <= bound for count in executed),
        control=f"without the checkpoints' historical rows the weights differ: {'yes' if detected else 'NO'} "
        f"(moments drawn with seed {moments})",
    )
    if (args.epochs, args.cases) == (EPOCHS, list(CASES)):
        write(claim)
    else:
        show(claim)
    return 0 if claim.passed else 1


def _run(case: str, out: Path, epochs: int, kills: int, draw: random.Random, control: bool = False) -> RunRecord:
    """Train, and kill after random numbers of epochs, counted over all attempts; the control after a checkpoint."""
    ranks, more = CASES[case]
    what = [__file__, "--child"] if control else ["-m", "gnnkit.pipeline"]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--max-restarts", str(KILLS)]
    words = [*WORDS, *TRAINED, *more, "--epochs", str(epochs), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, *launcher, *what, *words], env=environment)
    for after in sorted(draw.sample(range(INTERVAL + 2 if control else 1, epochs - 1), kills)):
        while _executed(out) < after:
            assert process.poll() is None, "the run ended before the moment of its kill"
            time.sleep(0.005)
        os.kill(_worker(process.pid, draw.randrange(ranks)), signal.SIGKILL)
    assert process.wait() == 0, "torchrun gave up"
    (record,) = find_runs([out])
    return record


def _worker(launcher: int, rank: int) -> int:
    """The process of a rank, once it is there; after a kill torchrun needs a moment to start it."""
    while True:
        for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                alive = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            except OSError:  # it has just ended
                continue
            if alive and f"RANK={rank}".encode() in environment:
                return int(pid)
        time.sleep(0.005)


def _executed(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/seed-*.epochs.jsonl"))


def _without_history(words: list[str]) -> None:
    from gnnkit import cli
    from gnnkit.pipeline import PipelineTrainer

    real = PipelineTrainer.load_state

    def load_state(self: PipelineTrainer, state: dict[str, Any]) -> None:
        real(self, {**state, "history": {name: rows.zero_() for name, rows in state["history"].items()}})

    PipelineTrainer.load_state = load_state  # type: ignore[method-assign]
    cli.main(["pipeline", *words])


def _row(name: str, record: RunRecord, kills: int, unbroken: RunRecord) -> dict[str, Any]:
    (result,), (reference,) = record.results, unbroken.results
    return {
        "run": name,
        "kills": kills,
        "test": repr(result["test"]),
        "epochs_run": result["epochs_run"],
        "epochs_executed": record.epochs_executed(),
        "weights_sha256": result["weights_sha256"][:16],
        "equal": all(result[name] == reference[name] for name in SAME),
    }


if __name__ == "__main__":
    sys.exit(main())
