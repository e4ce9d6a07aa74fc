"""The runner of the tests in several processes: what fails in one of them fails, by its rank."""

from __future__ import annotations

import os
import time

import pytest
from processes import run_ranks


def each_in_its_way(rank: int, world_size: int, word: str) -> str:
    if rank == 0:
        raise LookupError(f"no {word}")
    if rank == 1:
        os._exit(0)
    if rank == 2:
        time.sleep(60)
    return word


def answer(rank: int, world_size: int) -> tuple[int, int]:
    return rank, world_size


@pytest.mark.slow
def test_what_fails_in_a_rank_is_told() -> None:
    assert run_ranks(2, answer) == [(0, 2), (1, 2)]
    with pytest.raises(AssertionError) as told:
        run_ranks(4, each_in_its_way, "thing", group=False)
    said = str(told.value)
    assert said.index("rank 0 failed") < said.index("LookupError: no thing") < said.index("rank 1 failed")
    assert "rank 2 was killed: late" in said
    assert "rank 3" not in said
