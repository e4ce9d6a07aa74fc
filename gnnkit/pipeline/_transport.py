"""Messages between the ranks of a pipeline, over torch.distributed: counted, asynchronous, with names in errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gnnkit.pipeline._handle import Arrival as Arrival
from gnnkit.pipeline._handle import Handle as Handle
from gnnkit.pipeline._handle import Patience
from gnnkit.pipeline._handle import PeerError as PeerError
from gnnkit.pipeline._link import sleep_until, slow_link
from gnnkit.pipeline._mail import Mail
from gnnkit.pipeline._staging import host_staged, to_host
from gnnkit.pipeline._together import Together

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
    """Carries tensors between the ranks of torch.distributed's default group, which the caller has made.

    Messages between two ranks in one direction are matched in the order in which they are posted, the same on both
    sides. A message without elements is not sent, on both sides. Receives should be posted early: over gloo a send
    is complete only when its receive has been posted. Without a default group it is the transport of one process.

    Making one, `groups`, `barrier` and `broadcast_object` are collective: every rank does them, in the same order.

    ``sent_bytes`` counts what this rank has sent, by kind: the bytes of tensors; of sums the bytes summed, of
    broadcasts those of the pickled object at their source.

    Args:
        timeout_seconds: How long a wait lasts before the peer is given up.
        bytes_per_second: Makes each rank's link out seem as slow as that, for measurements, on one host and with gloo:
            messages pass it one after the other, a sum over n ranks as 2 (n - 1) / n of its bytes, broadcasts and
            barriers in no time. The same on every rank; None for as fast as links are.
        describe: Says in words which rank it is, for errors: ``1 -> "stage 1, way 0"``.

    Raises:
        ValueError: An argument is wrong, ranks say different speeds, or slowed ones are on several hosts or use NCCL.
        PeerError: A rank does not make one.

    Example:
        >>> import tempfile, torch
        >>> import torch.distributed as dist
        >>> from gnnkit.pipeline import Transport
        >>> meeting = f"file://{tempfile.mkdtemp()}/ranks"
        >>> dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
        >>> transport = Transport(timeout_seconds=60)
        >>> transport.broadcast_object("all alone", source=0), transport.sent_bytes["activations"]
        ('all alone', 0)
        >>> transport.close()
        >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 600.0,
        bytes_per_second: float | None = None,
        describe: Callable[[int], str] = str,
    ) -> None:
        for setting, value in (("timeout_seconds", timeout_seconds), ("bytes_per_second", bytes_per_second)):
            if value is not None and not value > 0:
                raise ValueError(f"{setting}: expected a positive number (got {value})")
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.sent_bytes = dict.fromkeys(KINDS, 0)
        if self.world_size == 1:
            return
        patience, self._backends = Patience(timeout_seconds), dist.get_backend_config()
        if "cpu:" not in self._backends:  # sizes, losses and votes are on the CPU
            raise ValueError(f'backend: expected one for the CPU too, "cpu:gloo,cuda:nccl" (got {self._backends!r})')

        def name(rank: int) -> str:
            said = describe(rank)
            return f"rank {rank}" if said == str(rank) else f"rank {rank} ({said})"

        # groups of our own: messages of the rest of the program cannot be taken for ours
        self._together = Together(patience, name)
        self._link = slow_link(bytes_per_second, self._together.tell, self._backends)
        self._mail = Mail(patience, name, self._together, self._link)

    def send(self, tensor: Tensor, to: int, what: str, kind: str) -> Handle:
        """Start to send a tensor, which must not change until the handle's `wait` is over.

        Args:
            tensor: Of any shape; one that is not contiguous is copied.
            to: A rank.
            what: Names the message in errors, say ``"chunk 4 of epoch 7"``.
            kind: What it is counted as, the same on both sides.

        Raises:
            ValueError: The kind or the rank is wrong.
            PeerError: The connection to the peer is lost.
        """
        self._check(kind, [to])
        handle = self._mail.post([(to, tensor)], [], what, kind)
        self.sent_bytes[kind] += tensor.nbytes
        return handle

    def receive(self, out: Tensor, source: int, what: str, kind: str) -> Arrival:
        """Start to receive into a contiguous tensor, maybe a slice of a table; the handle's `wait` gives it.

        Args:
            out: Of the size and dtype that is sent.
            source: A rank.
            what: See `send`.
            kind: See `send`.

        Raises:
            ValueError: The kind, the rank or the tensor is wrong.
            PeerError: The connection to the peer is lost.
        """
        self._check(kind, [source])
        return Arrival(self._mail.post([], [(source, out)], what, kind).wait, out)

    def exchange(
        self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]], what: str, kind: str
    ) -> Handle:
        """Start to send to several ranks, ``(rank, tensor)``, and to receive from several; `wait` completes all.

        See `send` and `receive`, whose messages with the same ranks are numbered together with these.
        """
        self._check(kind, [rank for rank, _ in (*sends, *receives)])
        if not sends and not receives:
            return Handle(lambda: None)
        handle = self._mail.post(sends, receives, what, kind, batch=True)
        self.sent_bytes[kind] += sum(tensor.nbytes for _, tensor in sends)
        return handle

    def groups(self, ranks: Sequence[Sequence[int]]) -> None:
        """Make the groups of `all_reduce`: every rank of the world calls it with the same lists of ranks."""
        for each in ranks:
            if len(each) > 1:
                self._together.make(each)

    def all_reduce(self, tensors: Sequence[Tensor], ranks: Sequence[int], kind: str) -> None:
        """Sum in place over the ranks of a group, all tensors of one dtype as one message.

        Args:
            tensors: The same shapes and dtypes on each of the ranks.
            ranks: The world or a list that was given to `groups`, with this rank in it. One rank alone does nothing.
            kind: See `send`.

        Raises:
            ValueError: The kind is wrong or there is no such group.
            PeerError: A rank did not come.
        """
        self._check(kind, [])
        if self.rank not in ranks or not set(ranks) <= set(range(self.world_size)):
            said = f"ranks: expected some of {self.world_size}, {self.rank} among them"
            raise ValueError(f"{said} (got {list(ranks)})")
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors if len(ranks) > 1 else ():
            by_dtype.setdefault(tensor.dtype, []).append(tensor.detach())
        for same in by_dtype.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            bucket = to_host(flat) if host_staged(flat.device, self._backends) else flat
            begin = None if self._link is None else self._together.latest(self._link.free, ranks)
            self._together.sum(bucket, ranks, kind)
            self.sent_bytes[kind] += bucket.nbytes
            if self._link is not None:
                sleep_until(self._link.through(2 * bucket.nbytes * (len(ranks) - 1) / len(ranks), begin))
            parts = torch.split(bucket, [tensor.numel() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def barrier(self) -> None:
        """Wait until every rank has come here.

        Raises:
            PeerError: One did not.
        """
        if self.world_size > 1:
            self._together.barrier()

    def broadcast_object(self, obj: Any, source: int) -> Any:
        """Give every rank the source's object, which is pickled.

        Raises:
            PeerError: A rank did not come.
        """
        if self.world_size == 1:
            return obj
        obj, num_bytes = self._together.broadcast(obj, source)
        self.sent_bytes["control"] += num_bytes
        return obj

    def close(self) -> None:
        """Wait for what is under way, unless a peer has failed already, and leave the groups of torch.distributed."""
        if self.world_size > 1 and self._mail.close():
            self._together.close()

    def _check(self, kind: str, ranks: Sequence[int]) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)} (got {kind!r})")
        for rank in ranks:
            if not 0 <= rank < self.world_size or rank == self.rank:
                raise ValueError(f"rank: expected another of {self.world_size} ranks than {self.rank} (got {rank})")
