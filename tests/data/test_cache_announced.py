"""Cached: batches that are announced: dropped, changed, by another thread, at any moment."""

from __future__ import annotations

from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gnnkit.data import Cached, InMemory
from gnnkit.data._policies_rows import Found

ROWS = 23
TABLE = torch.randint(-100, 100, (ROWS, 2), generator=torch.Generator().manual_seed(1)).float()


def make(policy: str, capacity: int, victim: int = 0, **options: Any) -> Cached:
    scores = torch.arange(ROWS) % 5 if policy == "hybrid" else None
    return Cached(InMemory(TABLE), policy, 8 * capacity, scores=scores, victim_bytes=8 * victim, **options)


def test_a_read_of_other_ids_than_announced_is_refused_and_changes_nothing() -> None:
    cached = make("lookahead", 4)
    cached.announce(torch.tensor([1, 2]))
    for wrong in ([2, 1], [1], [1, 2, 3]):
        with pytest.raises(
            ValueError, match=r"ids: expected the 2 ids of the oldest announced batch, .* \(got \d others"
        ):
            cached.read(torch.tensor(wrong))
    assert cached.stats().storage_reads == 0
    assert torch.equal(cached.read(torch.tensor([1, 2])), TABLE[1:3])


def test_forget_lets_another_epoch_begin() -> None:
    cached = make("lookahead", 4, window=3)
    for batch in ([1, 2], [3], [4]):
        cached.announce(torch.tensor(batch))
    cached.read(torch.tensor([1, 2]))
    cached.forget()
    assert torch.equal(cached.read(torch.tensor([2, 9])), TABLE[[2, 9]])
    assert (cached.stats().hits, cached.stats().storage_reads) == (1, 3)  # what lay in the cache still does


def test_announced_ids_are_copied() -> None:
    cached = make("lru", 4)
    ids = torch.tensor([1, 2])
    cached.announce(ids)
    ids.fill_(5)  # the loader's buffer is used again
    assert torch.equal(cached.read(torch.tensor([1, 2])), TABLE[1:3])


def test_announced_while_others_are_read() -> None:
    """A sampling thread announces ahead of the thread that reads."""
    rng = np.random.default_rng(0)
    ids = [torch.from_numpy(rng.integers(0, ROWS, 8)) for _ in range(200)]
    cached = make("hybrid", 7, victim=3, window=3)
    ready: Queue[Tensor] = Queue(maxsize=5)

    def sample() -> None:
        for batch in ids:
            cached.announce(batch)
            ready.put(batch)

    thread = Thread(target=sample)
    thread.start()
    for _ in ids:
        batch = ready.get(timeout=60)
        assert torch.equal(cached.read(batch), TABLE[batch])
    thread.join(60)
    stats = cached.stats()
    assert stats.reads == stats.hits + stats.victim_hits + stats.storage_reads


def test_what_is_announced_during_an_unannounced_read_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = make("lookahead", 4)
    look = cached._residents.look

    def late(ids: Any = None) -> Found:
        if ids is not None:  # the other thread's moment: this read has seen that nothing is announced
            cached.announce(torch.tensor([3, 4]))
        return look(ids)

    monkeypatch.setattr(cached._residents, "look", late)
    assert torch.equal(cached.read(torch.tensor([1, 2])), TABLE[[1, 2]])
    with pytest.raises(ValueError, match="the 2 ids of the oldest announced batch"):
        cached.read(torch.tensor([5, 6]))
    cached.announce(torch.tensor([5, 6, 7]))
    for ids in ([3, 4], [5, 6, 7]):
        assert torch.equal(cached.read(torch.tensor(ids)), TABLE[ids])


def test_what_is_forgotten_while_it_is_announced_is_forgotten_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = make("lookahead", 4)
    announce, threads = cached._residents.window.announce, [Thread(target=cached.forget)]

    def interrupted(distinct: Any) -> None:
        threads[0].start()
        threads[0].join(0.2)  # it has to wait for the rest
        announce(distinct)

    monkeypatch.setattr(cached._residents.window, "announce", interrupted)
    cached.announce(torch.tensor([3, 4]))
    threads[0].join(60)
    assert torch.equal(cached.read(torch.tensor([1, 2])), TABLE[[1, 2]])


@pytest.mark.parametrize("moment", ["admit", "advance"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_rows_are_right_where_the_window_was_interrupted(
    moment: str, before: bool, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the window went on and before the batch counts as read, or half-way through letting a batch in."""
    cached = make("lookahead", 6, victim=4, window=2)
    batches = [torch.tensor(ids) for ids in ([0, 1, 2, 3], [1, 4, 5], [0, 2, 3, 6], [1, 0, 4], [5, 2], [3, 1])]
    for batch in batches:
        cached.announce(batch)
    window, calls = cached._residents.window, iter(range(100))
    original = getattr(window, moment)

    def interrupted() -> Any:
        if next(calls) != at:
            return original()
        if moment == "admit":
            window._open.append((0, window._announced[0] if before else np.array([7])))
        elif not before:
            original()
        raise KeyboardInterrupt

    monkeypatch.setattr(window, moment, interrupted)
    stopped = 0
    while cached._announced:
        batch = batches[len(batches) - len(cached._announced)]
        try:
            assert torch.equal(cached.read(batch), TABLE[batch])
        except KeyboardInterrupt:
            stopped += 1
    assert stopped == 1
