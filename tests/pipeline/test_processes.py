"""The runner of the tests in several processes: what fails in one of them fails, by its rank."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from processes import run_ranks


def each_in_its_way(rank: int, world_size: int, word: str, folder: Path) -> str:
    (folder / str(rank)).touch()
    if rank == 0:
        while len(list(folder.iterdir())) < world_size:  # the runner waits five seconds after the first failure
            time.sleep(0.01)
        raise LookupError(f"no {word}")
    if rank == 1:
        os._exit(0)
    if rank == 2:
        time.sleep(300)
    return word


def answer(rank: int, world_size: int) -> tuple[int, int]:
    return rank, world_size


@pytest.mark.slow
def test_what_fails_in_a_rank_is_told(tmp_path: Path) -> None:
    assert run_ranks(2, answer) == [(0, 2), (1, 2)]
    with pytest.raises(AssertionError) as told:
        run_ranks(4, each_in_its_way, "thing", tmp_path, group=False)
    said = str(told.value)
    assert said.index("rank 0 failed") < said.index("LookupError: no thing") < said.index("rank 1 failed")
    assert "rank 2 was killed: late" in said
    assert "rank 3" not in said
