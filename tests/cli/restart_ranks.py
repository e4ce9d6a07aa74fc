"""``gnnkit pipeline`` under torchrun, which in the first attempts does not survive; the words are the command's."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gnnkit import cli
from gnnkit.pipeline import PipelineTrainer
from gnnkit.pipeline import _checkpoint_files as files

ATTEMPT, RANK = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
HUNG = Path("hung")
real_write, real_epoch = files.write_tensors, PipelineTrainer.train_epoch
writes = 0


def dying_write(folder: Path, tensors: dict[str, Any], alone: bool) -> None:
    """The second time, leave half of a shard."""
    global writes
    writes += 1
    real_write(folder, tensors, alone)
    if writes == 2:
        shard = next(folder.glob(f"__{RANK}_*"))
        os.truncate(shard, shard.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)


def hanging_epoch(self: PipelineTrainer) -> float:
    if self.epoch == 13:
        HUNG.touch()
        time.sleep(600)
    return real_epoch(self)


words = sys.argv[1:]
if (ATTEMPT, RANK) == (0, 1):
    files.write_tensors = dying_write
elif ATTEMPT > 0 and not HUNG.exists():  # a machine that is busy may time out before
    words += ["--set", "process.timeout_seconds=10"]
    if RANK == 0:
        PipelineTrainer.train_epoch = hanging_epoch  # type: ignore[method-assign]
cli.main(["pipeline", *words])
