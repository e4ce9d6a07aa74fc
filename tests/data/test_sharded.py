"""Sharded: two processes read each other's rows; what each of them does is in sharded_ranks.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gnnkit.data import InMemory, Sharded
from gnnkit.data._sharded import Shard

SCRIPT = Path(__file__).with_name("sharded_ranks.py")
CASES = SCRIPT.read_text().count("(rank: int, ranks: int) -> None:")


@pytest.mark.slow
def test_two_ranks_read_the_right_rows(tmp_path: Path) -> None:
    command, ranks = [sys.executable, str(SCRIPT)], 2
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(ranks), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        for process in processes:
            said, _ = process.communicate(timeout=300)
            assert process.returncode == 0, said
            assert said.count("done ") == CASES == 5
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_the_shards_of_all_ranks_are_the_table(ranks: int, permuted: bool) -> None:
    table = torch.arange(14.0).view(7, 2)
    row_at = torch.randperm(7, generator=torch.Generator().manual_seed(0)) if permuted else None
    shards = [Shard(InMemory(table), rank, ranks, row_at) for rank in range(ranks)]
    rows = torch.cat([shard.read(torch.arange(shard.shape[0])) for shard in shards])
    assert torch.equal(rows.sort(0).values, table)
    assert max(shard.shape[0] for shard in shards) - min(shard.shape[0] for shard in shards) <= 1
    with pytest.raises(ValueError, match="ids: expected"):
        shards[-1].read(torch.tensor([shards[-1].shape[0]]))


def test_without_a_process_group_it_says_so() -> None:
    with pytest.raises(ValueError, match=r"expected torch.distributed to be initialised.* \(got none\)"):
        Sharded(InMemory(torch.ones(2, 2)))
    with pytest.raises(ValueError, match=r"store: expected a feature store .* \(got list\)"):
        Sharded([1, 2])  # type: ignore[arg-type]
