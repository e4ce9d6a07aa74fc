"""What one rank of test_checkpoint.py does; run as ``python checkpoint_ranks.py RANK FOLDER``."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from gnnkit.pipeline import Checkpoints

spec = importlib.util.spec_from_file_location("steps", Path(__file__).with_name("test_checkpoint.py"))
assert spec is not None
assert spec.loader is not None
test_checkpoint = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_checkpoint)


def main(rank: int, folder: Path) -> None:
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    runs, facts = folder / "runs", {}
    trainer = test_checkpoint.Steps(seed=rank)
    one = Checkpoints(runs, trainer)
    one.restore()
    torch.manual_seed(rank)
    trainer.train_epoch()
    trainer.train_epoch()
    one.save({"of": rank})

    other = test_checkpoint.Steps(seed=7)
    facts["notes"] = Checkpoints(runs, other).restore()
    assert test_checkpoint.equal(other.state(), trainer.state())
    facts["epoch"], facts["weight"] = other.epoch, other.weight.tolist()

    if rank == 1:  # a disk that is full where rank 1 writes
        trainer.history["0.0"] = torch.empty(3, device="meta")
    try:
        one.save()
    except OSError as error:
        facts["full"] = str(error)
    dist.barrier()
    shard = runs / "checkpoint-000001" / "__1_0.distcp"
    if rank == 1:
        test_checkpoint.flip(shard)
    dist.barrier()
    try:
        Checkpoints(runs, other).restore()
    except ValueError as error:
        facts["refused"] = str(error)
    facts["after"] = test_checkpoint.names(runs)
    print(json.dumps(facts))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
