"""Messages between the ranks of a pipeline, over torch.distributed: counted, asynchronous, and with names in errors."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gnnkit.pipeline._arrivals import Arrivals
from gnnkit.pipeline._handle import Handle as Handle
from gnnkit.pipeline._handle import PeerError as PeerError
from gnnkit.pipeline._handle import failure, wait_for
from gnnkit.pipeline._staging import host_buffer, host_staged, to_host

KINDS = (
    "activations",
    "gradients",
    "boundary",
    "boundary_gradients",
    "parameters",
    "inference",
    "control",
)


class Transport:
    """Tensors between the ranks of torch.distributed's default group.

    Construction is collective: every rank makes one. Messages between two ranks in one direction are matched in the
    order in which they are posted, the same on both sides; messages without elements are not sent, on both sides.

    Args:
        timeout_seconds: How long a wait lasts before the peer is given up.
        describe: Says in words which rank it is, for errors: ``1 -> "stage 1, way 0"``.

    Raises:
        ValueError: An argument is wrong.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 600.0,
        describe: Callable[[int], str] = str,
    ) -> None:
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds: expected a positive number (got {timeout_seconds})")
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.sent_bytes = dict.fromkeys(KINDS, 0)
        self._timeout_seconds, self._describe = timeout_seconds, describe
        self._posted: dict[tuple[str, int], int] = {}  # messages to and from each rank
        self._pending: dict[int, Handle] = {}  # keeps tensors of messages that nobody waits for
        self._groups: dict[tuple[int, ...], Any] = {}
        if self.world_size > 1:
            self._backends = dist.get_backend_config()
            everybody = range(self.world_size)
            self._arrivals = Arrivals(self.rank)
            # groups of our own: other messages of the program cannot be mixed up with ours
            self._all = self._groups[tuple(everybody)] = self._new_group(everybody)
            # NCCL matches by order alone: what goes up, goes down and goes across must not wait for each other
            nccl = "nccl" in self._backends
            self._up, self._down, self._across = (self._new_group(everybody) if nccl else self._all for _ in range(3))

    def send(self, tensor: Tensor, to: int, what: str, kind: str) -> Handle:
        """Send asynchronously; the tensor must not change until the handle's `wait` is over."""
        return self.exchange([(to, tensor)], [], what, kind)

    def receive(self, out: Tensor, source: int, what: str, kind: str) -> Handle:
        """Receive asynchronously into a contiguous tensor, which `wait` gives back."""
        received = self.exchange([], [(source, out)], what, kind)

        def finish() -> Tensor:
            received.wait()
            return out

        return Handle(finish)

    def exchange(
        self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]], what: str, kind: str
    ) -> Handle:
        """Send to several ranks and receive from several, as one batch; `wait` completes all."""
        self._check_kind(kind)
        finishes = [self._post_send(tensor.detach(), to, what, kind) for to, tensor in sends if tensor.numel()]
        finishes += [self._post_receive(out, source, what, kind) for source, out in receives if out.numel()]
        key = self._next_key()

        def finish() -> None:
            self._pending.pop(key)
            for each in finishes:
                each()

        self._pending[key] = handle = Handle(finish)
        return handle

    def groups(self, ranks: Sequence[Sequence[int]]) -> None:
        """Make the groups of `all_reduce`: every rank calls it with the same lists."""
        for each in ranks:
            if tuple(each) not in self._groups and len(each) > 1:
                self._groups[tuple(each)] = self._new_group(each)

    def all_reduce(self, tensors: Sequence[Tensor], ranks: Sequence[int], kind: str) -> None:
        """Sum in place over the ranks of a group made by `groups`; one message for all tensors of one dtype."""
        self._check_kind(kind)
        if len(ranks) == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for same in by_dtype.values():
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in same])
            staged = host_staged(flat.device, self._backends)
            bucket = to_host(flat) if staged else flat
            act = partial(dist.all_reduce, bucket, async_op=True)
            self._collect(act, ranks, f"sum {kind}")
            self.sent_bytes[kind] += bucket.nbytes
            parts = torch.split(bucket, [tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.detach().copy_(part.view_as(tensor))

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        if self.world_size > 1:
            self._collect(partial(dist.barrier, async_op=True), range(self.world_size), "barrier")

    def broadcast_object(self, obj: Any, source: int) -> Any:
        """Give every rank the source's object; it is pickled."""
        if self.world_size == 1:
            return obj
        mine = self.rank == source
        data = torch.frombuffer(bytearray(pickle.dumps(obj if mine else None)), dtype=torch.uint8)
        size = torch.tensor([len(data)])
        everybody = range(self.world_size)
        self._collect(partial(dist.broadcast, size, source, async_op=True), everybody, "broadcast")
        data = data if mine else torch.empty(int(size), dtype=torch.uint8)
        self._collect(partial(dist.broadcast, data, source, async_op=True), everybody, "broadcast")
        self.sent_bytes["control"] += len(data) if mine else 0
        return obj if mine else pickle.loads(data.numpy().tobytes())

    def close(self) -> None:
        """Wait for all messages that are under way."""
        for handle in list(self._pending.values()):
            handle.wait()

    # ---------------------------------------------------------------- one message

    def _post_send(self, tensor: Tensor, to: int, what: str, kind: str) -> Callable[[], object]:
        tensor = tensor.contiguous()
        tag = self._tag("send", to, tensor, kind)
        host = to_host(tensor) if host_staged(tensor.device, self._backends) else tensor
        who, deed = self._name(to), f"take {what} ({kind})"
        work = self._post(lambda: dist.isend(host, to, group=self._lane(self.rank, to), tag=tag), who, deed)
        self.sent_bytes[kind] += tensor.nbytes

        def finish(keep: Tensor = host) -> None:
            wait_for(work, self._timeout_seconds, who, deed)

        return finish

    def _post_receive(self, out: Tensor, source: int, what: str, kind: str) -> Callable[[], object]:
        if not out.is_contiguous() or out.requires_grad:
            raise ValueError("out: expected a contiguous tensor that requires no gradient (got another)")
        tag = self._tag("receive", source, out, kind)
        host = host_buffer(out) if host_staged(out.device, self._backends) else out
        who, deed = self._name(source), f"send {what} ({kind})"
        work = self._post(lambda: dist.irecv(host, source, group=self._lane(source, self.rank), tag=tag), who, deed)

        def finish() -> None:
            wait_for(work, self._timeout_seconds, who, deed)
            if host is not out:
                out.copy_(host, non_blocking=True)

        return finish

    def _post(self, act: Callable[[], Any], who: str, deed: str) -> Any:
        try:
            return act()
        except RuntimeError as error:
            raise failure(error, 0.0, self._timeout_seconds, who, deed) from error

    def _tag(self, direction: str, peer: int, tensor: Tensor, kind: str) -> int:
        """Number messages of a pair; kind and size are in it too, so that what does not fit is not taken for it."""
        if not 0 <= peer < self.world_size or peer == self.rank:
            raise ValueError(f"rank: expected another of {self.world_size} ranks than {self.rank} (got {peer})")
        number = self._posted[direction, peer] = self._posted.get((direction, peer), 0) + 1
        return zlib.crc32(f"{number} {kind} {tensor.dtype} {tensor.numel()}".encode()) & 0x7FFFFFFF

    def _lane(self, source: int, to: int) -> Any:
        return self._up if source < to else self._down

    # ---------------------------------------------------------------- all together

    def _collect(self, act: Callable[..., Any], ranks: Sequence[int], deed: str) -> None:
        ranks = tuple(ranks)
        if ranks not in self._groups:
            raise ValueError(f"ranks: expected those of a group made by groups() (got {list(ranks)})")
        self._arrivals.come(ranks)
        try:
            work = self._post(lambda: act(group=self._groups[ranks]), "a rank", deed)
            wait_for(work, self._timeout_seconds, "a rank", deed)
        except PeerError as error:
            missing = self._arrivals.missing(ranks)
            names = " and ".join(self._name(rank) for rank in missing or ranks if rank != self.rank)
            raise PeerError(f"{names} did not come to: {deed} ({error})") from error

    def _new_group(self, ranks: Sequence[int]) -> Any:
        return dist.new_group(list(ranks), timeout=timedelta(seconds=self._timeout_seconds))

    def _name(self, rank: int) -> str:
        said = self._describe(rank)
        return f"rank {rank}" if said == str(rank) else f"rank {rank} ({said})"

    def _check_kind(self, kind: str) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)} (got {kind!r})")

    def _next_key(self) -> int:
        self._key = getattr(self, "_key", 0) + 1
        return self._key
