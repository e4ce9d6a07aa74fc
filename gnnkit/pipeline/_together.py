"""Operations that all ranks of a group do together, with the names of those that did not come."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d as c10d

from gnnkit.pipeline._handle import Patience
from gnnkit.pipeline._staging import uses_nccl

_made = itertools.count()  # the same on every rank, for making one is collective


class Together:
    """Sums, barriers and broadcasts in groups of our own.

    torch.distributed says of one that fails that a connection was lost, or nothing. So every rank counts, in the
    store that all ranks met in, the operations it comes to; after a failure the counts say who did not come. It costs a
    request to the store for each operation.

    Args:
        patience: How long a wait lasts.
        name: Names a rank in errors.
    """

    def __init__(self, patience: Patience, name: Callable[[int], str]) -> None:
        self._patience, self._name = patience, name
        self._rank, self._everybody = dist.get_rank(), tuple(range(dist.get_world_size()))
        self._store = c10d.PrefixStore(f"gnnkit_came/{next(_made)}", c10d._get_default_store())
        self._came: dict[str, int] = {}
        backends = dist.get_backend_config()
        self.nccl = uses_nccl(backends)
        self._device = torch.device("cpu" if "cpu:" in backends else f"cuda:{torch.cuda.current_device()}")
        self._groups: dict[tuple[int, ...], Any] = {}
        self._mine: list[Any] = []
        self.everybody = self._groups[self._everybody] = self.new_group(self._everybody)

    def new_group(self, ranks: Sequence[int]) -> Any:
        """Make a group; every rank of the world calls it."""
        # NCCL ends the process after its time-out; ours comes first and says who is missing
        seconds = self._patience.seconds * (2 if self.nccl else 1)
        try:
            self._come("groups")
            group = dist.new_group(list(ranks), timeout=timedelta(seconds=seconds))
        except RuntimeError as error:
            said = self._failed("groups", self._everybody, "the making of groups", f" ({error})")
            raise self._patience.give_up(said) from error
        if self._rank in ranks:
            self._mine.append(group)
        if self.nccl and self._rank in ranks:
            dist.all_reduce(torch.zeros(1, device="cuda"), group=group)  # connects now, while all are here
        return group

    def make(self, ranks: Sequence[int]) -> None:
        """Make the group of these ranks unless there is one; every rank of the world calls it."""
        if tuple(ranks) not in self._groups:
            self._groups[tuple(ranks)] = self.new_group(ranks)

    def sum(self, bucket: Tensor, ranks: Sequence[int], what: str) -> None:
        """Sum in place."""
        self._run(partial(dist.all_reduce, bucket), ranks, f"the sum of {what}", bucket.is_cuda)

    def latest(self, seconds: float, ranks: Sequence[int]) -> float:
        """Give the latest of the ranks' times."""
        found = torch.tensor([seconds], dtype=torch.float64, device=self._device)
        self._run(partial(dist.all_reduce, found, op=dist.ReduceOp.MAX), ranks, "the sum's begin", found.is_cuda)
        return float(found)

    def barrier(self) -> None:
        """Wait until every rank of the world has come."""
        self._run(
            partial(dist.all_reduce, torch.zeros(1, device=self._device)),
            self._everybody,
            "the barrier",
            self._device.type == "cuda",
        )

    def tell(self, said: str) -> list[str]:
        """Tell all ranks something, once; give what each has said."""
        self._store.set(f"said/{self._rank}", said)
        self.barrier()
        return [self._store.get(f"said/{rank}").decode() for rank in self._everybody]

    def broadcast(self, obj: Any, source: int) -> tuple[Any, int]:
        """Give everybody the source's object, pickled; and how many bytes this rank gave."""
        mine = self._rank == source
        data = pickle.dumps(obj) if mine else b""
        size = torch.tensor([len(data)], device=self._device)
        self._broadcast(size, source)
        sent = (
            torch.frombuffer(bytearray(data), dtype=torch.uint8) if mine else torch.empty(int(size), dtype=torch.uint8)
        )
        sent = sent.to(self._device)
        self._broadcast(sent, source)
        return (obj, len(data)) if mine else (pickle.loads(sent.cpu().numpy().tobytes()), 0)

    def close(self) -> None:
        """Leave the groups."""
        while self._mine:
            dist.destroy_process_group(self._mine.pop())
        self._groups.clear()

    def _broadcast(self, tensor: Tensor, source: int) -> None:
        what = f"the broadcast of {self._name(source)}"
        self._run(partial(dist.broadcast, tensor, source), self._everybody, what, tensor.is_cuda)

    def _run(self, act: Callable[..., Any], ranks: Sequence[int], what: str, on_gpu: bool) -> None:
        ranks = tuple(ranks)
        if ranks not in self._groups:
            raise ValueError(f"ranks: expected a group that was made by groups() (got {list(ranks)})")
        key = "-".join(map(str, ranks))
        failed = partial(self._failed, key, ranks, what)
        try:
            self._come(key)
            work = act(group=self._groups[ranks], async_op=True)
        except RuntimeError as error:
            raise self._patience.give_up(failed(f": {error}")) from error
        self._patience.wait(work, on_gpu, failed)

    def _come(self, key: str) -> None:
        self._came[key] = self._came.get(key, 0) + 1
        self._store.set(f"{key}/{self._rank}", str(self._came[key]))

    def _failed(self, key: str, ranks: tuple[int, ...], what: str, how: str) -> str:
        others = [rank for rank in ranks if rank != self._rank]
        try:
            missing = [rank for rank in others if self._count(key, rank) < self._came[key]]
        except RuntimeError:
            return f"one of {self._names(others)} failed in {what}, and the process with the store is gone{how}"
        if not missing:
            return f"one of {self._names(others)} failed in {what}, to which all had come{how}"
        return f"{self._names(missing)} did not come to {what}{how}"

    def _count(self, key: str, rank: int) -> int:
        place = f"{key}/{rank}"
        return int(self._store.get(place)) if self._store.check([place]) else 0

    def _names(self, ranks: Sequence[int]) -> str:
        return ", ".join(self._name(rank) for rank in ranks)
