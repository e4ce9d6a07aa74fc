"""Cached: the right rows under any interleaving, and counts that are those of the store behind and of the replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnnkit import Adjacency
from gnnkit.data import Cached, FeatureStore, InMemory, hit_ratio
from gnnkit.data._cache_memory import Memory
from gnnkit.data._policies import POLICIES, SCORED, WINDOWED

ROWS = 23


class Counting:
    """A store in memory that counts what is read from it, and fails when told to."""

    def __init__(self, table: Tensor) -> None:
        self.inner = InMemory(table)
        self.rows = self.calls = 0
        self.fails = False

    @property
    def shape(self) -> torch.Size:
        return self.inner.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        if self.fails:
            if out is not None and out.numel():
                out.fill_(99)  # half-written memory must not be served later
            raise OSError("the disk is gone")
        assert len(ids) == len(ids.unique()), "a row was read twice by one call"
        assert len(ids), "a read of nothing"
        self.rows, self.calls = self.rows + len(ids), self.calls + 1
        return self.inner.read(ids, out)


def table(*row: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(-100, 100, (ROWS, *row), generator=torch.Generator().manual_seed(1)).to(dtype)


def scores(policy: str) -> Tensor | None:
    return torch.arange(ROWS) % 5 if policy in SCORED else None


def make(policy: str, capacity: int, victim: int = 0, **options: Any) -> tuple[Cached, Counting, Tensor]:
    rows = table(2)
    behind = Counting(rows)
    victim = victim if policy in WINDOWED and options.get("window", 8) else 0
    cached = Cached(
        behind, policy, 8 * capacity, scores=scores(policy), victim_bytes=8 * min(victim, capacity), **options
    )
    return cached, behind, rows


batches = st.lists(st.lists(st.integers(0, ROWS - 1), max_size=9), min_size=1, max_size=25)
shapes = st.tuples(st.integers(0, ROWS + 2), st.integers(0, 9), st.integers(0, 6), st.sampled_from([0, 1, 7, 100]))


# ------------------------------------------------------------------ the rows are right, always


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=50)
@given(trace=batches, shape=shapes, seed=st.integers(0, 2**32))
def test_rows_are_those_of_the_store_behind_under_any_interleaving(
    policy: str, trace: list[list[int]], shape: tuple[int, int, int, int], seed: int
) -> None:
    capacity, victim, window, outstanding = shape
    cached, behind, rows = make(policy, capacity, victim, window=window, outstanding=outstanding)
    draw = np.random.default_rng(seed)
    waiting: list[Tensor] = []
    pending = [torch.tensor(batch, dtype=torch.int64) for batch in trace]
    while pending or waiting:
        act = draw.choice(["announce", "read", "fail", "forget"], p=[0.4, 0.45, 0.1, 0.05])
        if act == "announce" and pending:
            waiting.append(pending.pop(0))
            cached.announce(waiting[-1])
        elif act == "forget":
            cached.forget()
            pending, waiting = waiting + pending, []
        elif act in ("read", "fail"):
            ids = waiting[0] if waiting else pending[0]
            behind.fails = act == "fail"
            try:
                assert torch.equal(cached.read(ids), rows[ids])
            except OSError:
                continue
            finally:
                behind.fails = False
            del (waiting or pending)[0]
    stats = cached.stats()
    assert (stats.storage_reads, stats.storage_calls) == (behind.rows, behind.calls)
    assert stats.reads - stats.hits - stats.victim_hits <= stats.storage_reads


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=50)
@given(trace=batches, shape=shapes, ahead=st.integers(0, 9))
def test_counts_are_those_of_the_replay(
    policy: str, trace: list[list[int]], shape: tuple[int, int, int, int], ahead: int
) -> None:
    capacity, victim, window, outstanding = shape
    cached, behind, rows = make(policy, capacity, victim, window=window, outstanding=outstanding)
    ids = [torch.tensor(batch, dtype=torch.int32) for batch in trace]
    told = 0
    for step, batch in enumerate(ids):
        while told < len(ids) and told <= step + max(window, ahead):  # a loader further ahead changes nothing
            cached.announce(ids[told])
            told += 1
        assert torch.equal(cached.read(batch), rows[batch])
    stats = cached.stats()
    victim = min(victim, capacity) if policy in WINDOWED and window else 0
    options = {"num_rows": ROWS, "window": window, "victim": victim, "scores": scores(policy)}
    assert stats.hit_ratio == hit_ratio(ids, policy, capacity, **options)  # type: ignore[arg-type]
    assert stats.reads == sum(len(batch.unique()) for batch in ids)
    assert stats.reads == stats.hits + stats.victim_hits + stats.storage_reads  # all that was read early was used
    assert stats.storage_reads == behind.rows
    assert stats.bytes == {
        "cache": 8 * stats.hits,
        "victim": 8 * stats.victim_hits,
        "storage": 8 * stats.storage_reads,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool])
@pytest.mark.parametrize("row", [(), (1,), (2, 3), (0,)])
def test_any_row_and_dtype(row: tuple[int, ...], dtype: torch.dtype) -> None:
    rows = table(*row, dtype=dtype)
    cached = Cached(InMemory(rows), "lru", 4 * max(rows[0].numel(), 1) * dtype.itemsize)
    assert isinstance(cached, FeatureStore)
    assert (cached.shape, cached.dtype) == (rows.shape, dtype)
    for ids in ([0, 1, 2, 1], [], [2, 3, 9], [3, 3]):
        index = torch.tensor(ids, dtype=torch.int64)
        assert torch.equal(cached.read(index), rows[index])
        out = rows.new_zeros((len(ids), *row))
        assert cached.read(index, out) is out
        assert torch.equal(out, rows[index])


def test_more_room_than_rows_takes_no_memory() -> None:
    for options in ({}, {"victim_bytes": 1 << 49}):
        cached = Cached(InMemory(table(2)), "lookahead", 1 << 50, window=2, **options)
        for ids in ([0, 1, 1], [5], [1, 0]):
            assert torch.equal(cached.read(torch.tensor(ids)), table(2)[ids])
        assert cached.stats().hits == 2


def test_a_table_without_rows() -> None:
    cached = Cached(InMemory(torch.empty(0, 3)), "lookahead", 100)
    nothing = torch.empty(0, dtype=torch.int64)
    cached.announce(nothing)
    assert cached.read(nothing).shape == (0, 3)


# ------------------------------------------------------------------ the victim buffer


def test_the_victim_buffer_serves_a_row_that_left_with_a_known_reuse() -> None:
    cached, behind, rows = make("lookahead", 3, victim=2, window=2)  # one line, one place for each of two batches
    ids = [torch.tensor(batch) for batch in ([0, 1], [1], [0])]
    for batch in ids:
        cached.announce(batch)
    for batch in ids:
        assert torch.equal(cached.read(batch), rows[batch])
    stats = cached.stats()
    # after the first batch the line holds row 1, wanted sooner; row 0 waits in the queue of the third batch
    assert (stats.hits, stats.victim_hits, stats.storage_reads, behind.rows) == (1, 1, 2, 2)


def test_a_full_queue_drops_the_row() -> None:
    cached, behind, rows = make("lookahead", 2, victim=2, window=2)  # no line
    ids = [torch.tensor(batch, dtype=torch.int64) for batch in ([0, 1, 2], [], [0, 1, 2])]
    for batch in ids:
        cached.announce(batch)
    for batch in ids:
        assert torch.equal(cached.read(batch), rows[batch])
    assert (cached.stats().victim_hits, behind.rows) == (1, 5)


@pytest.mark.parametrize("where", ["places", "move", "bring_back"])
@pytest.mark.parametrize("at", range(4))
def test_rows_are_right_after_an_interruption(where: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cached, _, rows = make("lookahead", 6, victim=4, window=2)
    ids = [torch.tensor(batch) for batch in ([0, 1, 2, 3], [1, 4, 5], [0, 2, 3, 6], [1, 0, 4], [5, 2], [3, 1])]
    for batch in ids:
        cached.announce(batch)
    original, calls = getattr(Memory, where), iter(range(100))

    def interrupted(memory: Memory, *arguments: Any) -> Any:
        if next(calls) == at:
            raise KeyboardInterrupt
        return original(memory, *arguments)

    monkeypatch.setattr(Memory, where, interrupted)
    left, stopped = list(ids), 0
    while left:
        try:
            assert torch.equal(cached.read(left[0]), rows[left[0]])
        except KeyboardInterrupt:
            stopped += 1
        left = left[len(left) - len(cached._announced) :]  # it stopped before the batch counts as read, or after
    assert stopped == 1


# ------------------------------------------------------------------ reads of many rows


def test_one_read_brings_the_misses_of_several_batches() -> None:
    ids = [torch.arange(start, start + 4) for start in range(0, 20, 4)]
    calls = {}
    for outstanding in (0, 8, 100):
        cached, behind, rows = make("lookahead", 2, window=4, outstanding=outstanding)
        for batch in ids:
            cached.announce(batch)
        for batch in ids:
            assert torch.equal(cached.read(batch), rows[batch])
        assert behind.rows == 20
        calls[outstanding] = behind.calls
    assert calls == {0: 5, 8: 3, 100: 1}


def test_nothing_is_read_early_that_nobody_announced() -> None:
    cached, behind, _ = make("lookahead", 2, window=4, outstanding=100)
    cached.read(torch.tensor([3, 4]))
    assert behind.rows == 2


# ------------------------------------------------------------------ scores from a graph


def test_degree_and_pagerank_take_the_graph() -> None:
    star = torch.stack([torch.zeros(ROWS - 1, dtype=torch.int64), torch.arange(1, ROWS)])
    adj = Adjacency.from_edge_index(star, num_nodes=ROWS)
    for policy in ("degree", "pagerank", "hybrid"):
        cached = Cached(InMemory(table(2)), policy, 8, adj=adj)
        for ids in ([0, 3], [4], [0]):
            cached.read(torch.tensor(ids))
        assert cached.stats().hits == 1, policy  # node 0 stays


def test_its_repr_says_how_much_fits() -> None:
    cached, *_ = make("lookahead", 9, victim=4, window=2)
    assert repr(cached).endswith("'lookahead': 5 lines, 4 in the victim buffer)")
