"""Sharded: one cache of several processes, each holding the rows that it owns, so that no row is held twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gnnkit.data._store import FeatureStore, check_ids, output
from gnnkit.kernels import _check

_ANNOUNCE, _ASK, _ANSWER = range(3)  # what a rank is about to do


@dataclass(frozen=True)
class _Request:
    """What this rank wants of whom, and what of this rank's rows is wanted by whom."""

    ids: Tensor  # [K]
    order: Tensor  # [K] the ids by owner
    asked: list[int]  # ids for each owner
    serves: list[int]  # keys for each rank
    keys: Tensor  # distinct keys that anybody wants of this rank
    each: Tensor  # [sum(serves)] for each wanted row its place among them


class Shard:
    """A rank's rows of a table, by key: row ``key`` is the table's row at position ``key * ranks + rank``."""

    def __init__(self, store: FeatureStore, rank: int, ranks: int, row_at: Tensor | None) -> None:
        self._store, self._rank, self._ranks, self._row_at = store, rank, ranks, row_at

    @property
    def shape(self) -> torch.Size:
        """``[ceil((N - rank) / ranks), D, …]``."""
        num_rows, *row = self._store.shape
        return torch.Size([(num_rows - self._rank + self._ranks - 1) // self._ranks, *row])

    @property
    def dtype(self) -> torch.dtype:
        """Of the table."""
        return self._store.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `FeatureStore.read`; ids are keys."""
        check_ids(ids, self.shape[0])
        position = ids.long() * self._ranks + self._rank
        return self._store.read(position if self._row_at is None else self._row_at.to(ids.device)[position].long(), out)


class Sharded:
    """A feature store over the processes of a group: each reads and caches its own rows, and serves the others.

    ``owner(v) = v mod ranks``, ``key(v) = v // ranks`` (LSM-GNN, arXiv 2407.15264). A read sends every owner the ids
    that are its own, the owner reads each row once even if several ranks want it in the same step, and the rows come
    back to their places. So a row is read from storage and held by one process only.

    It is collective: all ranks call `announce`, `read` and `forget` in the same order, as often as each other; a rank
    that has nothing to read reads no ids. What goes wrong on one rank (a wrong id, a disk) is raised there, and on the
    others as a RuntimeError that names the rank; what was announced is then forgotten everywhere. Rows travel by
    ``all_to_all``: through host memory with gloo, between GPUs with nccl.

    Differs from LSM-GNN, whose ranks are GPUs of one process group with peer-to-peer copies by their own kernels.

    Cost: a read sends 8 bytes an id and the bytes of its rows, each way once, and three small messages.

    Args:
        store: This rank's view of the whole table, say a file that every rank has opened.
        group: Of torch.distributed; None for all ranks.
        cache: Makes the store that this rank reads its shard through; None for no cache. It sees keys, not ids.
        seed: Owners of rows by their number in a random order of this seed, alike on all ranks; for tables whose order
            has to do with degree. None for their number in the table. The order takes 8 bytes a row (16 from 2^31 on).

    Raises:
        ValueError: There is no process group, or another argument is wrong.

    Example:
        >>> import tempfile, torch
        >>> import torch.distributed as dist
        >>> from gnnkit.data import Cached, InMemory, Sharded
        >>> meeting = f"file://{tempfile.mkdtemp()}/ranks"
        >>> dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
        >>> table = torch.arange(10.0).view(5, 2)
        >>> store = Sharded(InMemory(table), cache=lambda shard: Cached(shard, "lru", capacity_bytes=16))
        >>> torch.equal(store.read(torch.tensor([4, 0])), table[[4, 0]]), store.local.stats().storage_reads
        (True, 2)
        >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        store: FeatureStore,
        group: dist.ProcessGroup | None = None,
        *,
        cache: Callable[[FeatureStore], FeatureStore] | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(store, FeatureStore):
            raise ValueError(
                f"store: expected a feature store with read, shape and dtype (got {_check.describe(store)})"
            )
        if not dist.is_available() or not dist.is_initialized():
            raise ValueError("group: expected torch.distributed to be initialised, by torchrun for example (got none)")
        self._store, self._group = store, group
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        self._place: Tensor | None = None  # [N] the number that decides the owner of each row
        row_at = None
        if seed is not None:
            if not isinstance(seed, int) or abs(seed) >= 2**63:
                raise ValueError(f"seed: expected a whole number of 64 bits, or None (got {seed!r})")
            dtype = torch.int32 if store.shape[0] < 2**31 else torch.int64
            draw = torch.Generator().manual_seed(seed)
            row_at = torch.randperm(store.shape[0], generator=draw).to(dtype)
            self._place = torch.empty_like(row_at)
            self._place[row_at.long()] = torch.arange(len(row_at), dtype=dtype)
        shard = Shard(store, self.rank, self.ranks, row_at)
        self.local: Any = shard if cache is None else cache(shard)
        self._announced: deque[_Request] = deque()

    @property
    def shape(self) -> torch.Size:
        """Of the whole table."""
        return self._store.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the table."""
        return self._store.dtype

    def owner(self, ids: Tensor) -> Tensor:
        """Return which rank reads and holds each row: ``[K]`` int64."""
        check_ids(ids, self.shape[0])
        return self._numbers(ids) % self.ranks

    def announce(self, ids: Tensor) -> None:
        """Say which ids this rank reads next; collective, and passed on to the cache."""
        request = self._exchange(ids, _ANNOUNCE)
        if hasattr(self.local, "announce"):
            self.local.announce(request.keys)
        self._announced.append(request)

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the rows of ``ids``; collective. Consumes the oldest announced batch, if there is one.

        Raises:
            ValueError: As `FeatureStore.read`; ids that are not those of the oldest announced batch.
            RuntimeError: Another rank failed, or did something else.
        """
        request = self._announced.popleft() if self._announced else self._exchange(ids, _ASK)
        rows, failure = None, None
        try:
            if not isinstance(ids, Tensor) or not torch.equal(ids.to(request.ids), request.ids):
                expected = f"the {len(request.ids)} ids of the oldest announced batch, in their order"
                raise ValueError(f"ids: expected {expected} (got {_check.describe(ids)})")
            out = output(self, ids, out)
            rows = self.local.read(request.keys)
        except Exception as error:
            failure = error
        self._meet(_ANSWER, failure, [0] * self.ranks)
        assert out is not None
        assert rows is not None
        sent = _as_bytes(rows.index_select(0, request.each))
        received = sent.new_empty((len(request.ids), *sent.shape[1:]))
        dist.all_to_all_single(received, sent, request.asked, request.serves, group=self._group)
        if received.numel():  # bytes of rows without numbers cannot be viewed as another dtype
            out.index_copy_(0, request.order.to(out.device), received.to(out.device).view(self.dtype).view(out.shape))
        return out

    def forget(self) -> None:
        """Drop what was announced and not read; every rank has to."""
        self._announced.clear()
        if hasattr(self.local, "forget"):
            self.local.forget()

    def _exchange(self, ids: Tensor, action: int) -> _Request:
        """Tell the owners what this rank wants, and learn what is wanted of it."""
        counts, failure, order = [0] * self.ranks, None, None
        try:
            check_ids(ids, self.shape[0])
            number = self._numbers(ids.to(self._meeting_device(ids)))  # [K]
            order = torch.argsort(number % self.ranks, stable=True)
            counts = torch.bincount(number % self.ranks, minlength=self.ranks).tolist()
        except Exception as error:
            failure = error
        serves = self._meet(action, failure, counts)
        assert order is not None
        wanted = number.new_empty(sum(serves))
        dist.all_to_all_single(wanted, number[order] // self.ranks, serves, counts, group=self._group)
        keys, each = torch.unique(wanted, return_inverse=True)
        return _Request(ids.clone(), order, counts, serves, keys, each)

    def _meet(self, action: int, failure: Exception | None, counts: list[int]) -> list[int]:
        """Learn how much every rank wants of this one; raise on all ranks if one failed or does something else."""
        device = self._meeting_device(None)
        mine = torch.tensor([action, int(failure is not None), *counts], device=device)
        all_of_them = [torch.empty_like(mine) for _ in range(self.ranks)]
        dist.all_gather(all_of_them, mine, group=self._group)
        table: list[list[int]] = [each.tolist() for each in all_of_them]
        failed = [rank for rank, (_, bad, *_) in enumerate(table) if bad]
        if failed or len({row[0] for row in table}) > 1:
            self.forget()
            if failure is not None:
                raise failure
            if failed:
                raise RuntimeError(f"rank {failed[0]} could not announce or read: its own error says why")
            doing = ", ".join(("announces", "reads unannounced", "reads announced")[row[0]] for row in table)
            raise RuntimeError(f"expected all ranks to announce, or all to read (got, rank by rank: {doing})")
        return [row[2 + self.rank] for row in table]

    def _numbers(self, ids: Tensor) -> Tensor:
        """The numbers that decide owner and key: the ids, or their places in the random order."""
        return ids.long() if self._place is None else self._place.to(ids.device)[ids.long()].long()

    def _meeting_device(self, ids: Tensor | None) -> torch.device:
        """Where messages lie: on the CPU with gloo, on the GPU with nccl."""
        if dist.get_backend(self._group) == "gloo":
            return torch.device("cpu")
        return ids.device if ids is not None else torch.device("cuda", torch.cuda.current_device())

    def __repr__(self) -> str:
        return f"Sharded(rank {self.rank} of {self.ranks}: {self.local!r})"


def _as_bytes(rows: Tensor) -> Tensor:
    """``[K, …]`` of any dtype as ``[K, bytes]``."""
    return rows.reshape(len(rows), rows.shape[1:].numel()).contiguous().view(torch.uint8)
