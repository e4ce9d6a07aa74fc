"""What one rank of test_sharded.py does; run as ``python sharded_ranks.py RANK RANKS MEETING``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from gnnkit.data import Cached, FeatureStore, InMemory, Sharded

ROWS = 37


class Counting:
    """A table in memory that remembers which rows were read, and fails when told to."""

    def __init__(self, table: Tensor) -> None:
        self.table, self.fails = InMemory(table), False
        self.read_rows: list[int] = []
        self.shape, self.dtype = table.shape, table.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        if self.fails:
            raise OSError("the disk is gone")
        self.read_rows += ids.tolist()
        return self.table.read(ids, out)


def refused(kind: type[Exception], said: str) -> AbstractContextManager[object]:
    return pytest.raises(kind, match=re.escape(said))


def everybody(values: list[int]) -> list[int]:
    found: list[list[int]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, values)
    return [value for each in found for value in each]


def any_ids_and_rows(rank: int, ranks: int) -> None:
    draw = torch.Generator().manual_seed(rank)
    for seed in (None, 3):
        for row, dtype in (
            *(((2,), torch.float32), ((), torch.int64), ((2, 3), torch.float16), ((1,), torch.bool)),
            ((0,), torch.float32),
        ):
            table = torch.arange(ROWS * torch.Size(row).numel()).view(ROWS, *row).to(dtype)
            store = Sharded(InMemory(table), seed=seed)
            assert isinstance(store, FeatureStore)
            for count in (0, 5 * rank, 7, 60 * (ranks - 1 - rank)):  # uneven, also nothing at all
                ids = torch.randint(ROWS, (count,), generator=draw, dtype=torch.int32 if rank else torch.int64)
                assert torch.equal(store.read(ids), table[ids.long()])
                out = torch.zeros(count, *row, dtype=dtype)
                assert store.read(ids, out) is out
                assert torch.equal(out, table[ids.long()])


def one_rank_reads_what_both_want(rank: int, ranks: int) -> None:
    table = torch.arange(2.0 * ROWS).view(ROWS, 2)
    for seed in (None, 1):
        disk = Counting(table)
        store = Sharded(disk, cache=lambda shard: Cached(shard, "lru", 8 * ROWS), seed=seed)
        ids = torch.tensor([[1, 2, 3, 3, 30], [3, 2, 9, 30, 30]][min(rank, 1)])
        assert torch.equal(store.read(ids), table[ids])
        assert (store.owner(torch.tensor(disk.read_rows)) == rank).all()
        assert sorted(everybody(disk.read_rows)) == [1, 2, 3, 9, 30]  # each once, by one rank
        assert torch.equal(store.read(ids), table[ids])
        assert len(everybody(disk.read_rows)) == 5  # now from the caches
        hits = everybody([store.local.stats().hits])
        assert sum(hits) == 5


def look_ahead(rank: int, ranks: int) -> None:
    table = torch.arange(2.0 * ROWS).view(ROWS, 2)
    disk = Counting(table)
    store = Sharded(disk, cache=lambda shard: Cached(shard, "lookahead", 8, window=3))  # one line a rank
    batches = [torch.tensor(ids) for ids in ([0, 1], [2, 3], [4, 5], [0, 1])]
    for ids in batches:
        store.announce(ids)
    for ids in batches:
        assert torch.equal(store.read(ids), table[ids])
    assert len(disk.read_rows) == 3  # each rank reads every second row, and kept the one of the first batch
    store.announce(batches[0])
    with refused(ValueError, "the 2 ids of the oldest announced batch"):
        store.read(batches[1])
    assert torch.equal(store.read(batches[1]), table[batches[1]])  # forgotten: nothing is announced


def whatever_one_rank_does_wrong_both_hear(rank: int, ranks: int) -> None:
    table = torch.arange(2.0 * ROWS).view(ROWS, 2)
    disk = Counting(table)
    store = Sharded(disk, cache=lambda shard: Cached(shard, "lookahead", 80))
    good, bad = torch.tensor([1, 2]), torch.tensor([1, ROWS])

    def together(act: Callable[[], object], kind: type[Exception], said: str) -> None:
        mine = rank == ranks - 1
        with refused(kind if mine else RuntimeError, said if mine else f"rank {ranks - 1} could not"):
            act()
        assert torch.equal(store.read(good), table[good])

    for act in (store.read, store.announce):
        together(lambda act=act: act(bad if rank == ranks - 1 else good), ValueError, f"(got {ROWS}")
    disk.fails = rank == ranks - 1
    fresh = torch.arange(4, 12)
    with refused(OSError if disk.fails else RuntimeError, "gone" if disk.fails else "could not"):
        store.read(fresh)
    disk.fails = False
    assert torch.equal(store.read(fresh), table[fresh])
    out = torch.empty(3 if rank == ranks - 1 else 2, 2)
    together(lambda: store.read(good, out), ValueError, "out: expected")
    if ranks > 1:
        with refused(RuntimeError, "expected all ranks to announce, or all to read"):
            (store.announce if rank else store.read)(good)
        assert torch.equal(store.read(good), table[good])


def owners_share_what_degree_gathers(rank: int, ranks: int) -> None:
    ids = torch.arange(0, 1000, ranks)  # the rows that are read: every second one, as where ids go with degree
    table = InMemory(torch.zeros(1000, 1))
    assert torch.bincount(Sharded(table).owner(ids), minlength=ranks).tolist() == [len(ids)] + [0] * (ranks - 1)
    shares = torch.bincount(Sharded(table, seed=0).owner(ids), minlength=ranks) / len(ids)
    assert (shares - 1 / ranks).abs().max() < 0.07, shares  # three standard deviations of 500 draws
    assert torch.equal(Sharded(table, seed=0).owner(ids), Sharded(table, seed=0).owner(ids.int()))
    everyone = torch.bincount(Sharded(table, seed=0).owner(torch.arange(1000)))
    assert everyone.tolist() == [1000 // ranks] * ranks


if __name__ == "__main__":
    rank, ranks, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    for case in (
        any_ids_and_rows,
        one_rank_reads_what_both_want,
        look_ahead,
        whatever_one_rank_does_wrong_both_hear,
        owners_share_what_degree_gathers,
    ):
        case(rank, ranks)
        print("done", case.__name__, flush=True)
    dist.destroy_process_group()
