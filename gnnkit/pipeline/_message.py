"""One tensor on its way from a rank to another: what is moved, by which tag, and what is done when it is there."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gnnkit.pipeline._link import Link, sleep_until
from gnnkit.pipeline._staging import host_buffer, to_host


@dataclass(frozen=True)
class Message:
    """What this rank does for a tensor to be sent or received.

    Attributes:
        act: ``torch.distributed.isend`` or ``irecv``.
        peer: The other rank.
        parts: What is moved: the tensor or its copy in host memory, after the time at which a slow link is through.
        number: Of the messages from the one rank to the other.
        kind: What it is counted as.
        deed: What the peer has to do, for errors.
        out: Where a received copy in host memory belongs.
    """

    act: Callable[..., Any]
    peer: int
    parts: list[Tensor]
    number: int
    kind: str
    deed: str
    out: Tensor | None = field(default=None)

    def tag(self, part: Tensor) -> int:
        """Make a part's tag. What differs in number, kind, dtype or size does not meet.

        gloo writes a shorter message into a part of the tensor and ends the process for a longer one.
        """
        place = len(self.parts) if part is self.parts[-1] else 0
        about = f"{self.number} {place} {self.kind} {part.dtype} {part.numel()}"
        return zlib.crc32(about.encode()) & 0x7FFFFFFF

    @property
    def polls(self) -> bool:
        """Whether its works are NCCL's, see `Patience.wait`."""
        return self.parts[-1].is_cuda

    def rises(self, rank: int) -> bool:
        """Whether it goes from a lower rank to a higher one; ``rank`` is this one."""
        return (self.peer > rank) == (self.act is dist.isend)

    def land(self) -> None:
        """Do what is left when all parts have been moved."""
        if self.out is not None:
            self.out.copy_(self.parts[-1], non_blocking=True)
        if len(self.parts) == 2:
            sleep_until(float(self.parts[0]))


def outgoing(tensor: Tensor, to: int, what: str, kind: str, number: int, staged: bool, link: Link | None) -> Message:
    """Make the message that sends a tensor."""
    tensor = tensor.detach().contiguous()
    parts = [to_host(tensor) if staged else tensor]
    if link is not None:
        parts.insert(0, torch.tensor([link.through(tensor.nbytes)], dtype=torch.float64))
    return Message(dist.isend, to, parts, number, kind, f"take {what} ({kind})")


def incoming(out: Tensor, source: int, what: str, kind: str, number: int, staged: bool, timed: bool) -> Message:
    """Make the message that receives into a tensor."""
    parts = [host_buffer(out) if staged else out]
    if timed:
        parts.insert(0, torch.empty(1, dtype=torch.float64))
    return Message(dist.irecv, source, parts, number, kind, f"send {what} ({kind})", out if staged else None)
