"""A slower link than the machine has, for measurements."""

from __future__ import annotations

import platform
import time
from typing import Any

import torch.distributed as dist

from gnnkit.pipeline._staging import uses_nccl


class Link:
    """This rank's way out: messages pass one after the other, each for its bytes / speed.

    A message that is handed over at t is through at ``max(t, when the one before is through) + bytes / speed``. It
    travels at once, with that time beside it, and whoever waits for it, at either end, waits until then. So the link
    costs no thread and no sleep of the sender, and needs one clock: all ranks on one host.

    Args:
        bytes_per_second: The speed.
    """

    def __init__(self, bytes_per_second: float) -> None:
        self._speed, self._free = bytes_per_second, 0.0

    def through(self, num_bytes: float, begin: float | None = None) -> float:
        """Hand over a message; give the time of `time.monotonic` at which it is through."""
        begin = max(time.monotonic(), self._free) if begin is None else begin
        self._free = begin + num_bytes / self._speed
        return self._free

    @property
    def free(self) -> float:
        """When the next message can begin."""
        return max(time.monotonic(), self._free)


def sleep_until(moment: float) -> None:
    """Sleep until a time of `time.monotonic`."""
    if (seconds := moment - time.monotonic()) > 0:
        time.sleep(seconds)


def slow_link(bytes_per_second: float | None, world_size: int, group: Any) -> Link | None:
    """Make this rank's link, None where links are as fast as they are; every rank of the group calls it.

    Raises:
        ValueError: Speeds differ, or they are slowed and ranks are on several hosts or use NCCL.
    """
    found: list[Any] = [None] * world_size
    dist.all_gather_object(found, (platform.node(), bytes_per_second), group=group)
    hosts, speeds = ({each[place] for each in found} for place in (0, 1))
    if len(speeds) > 1:
        raise ValueError(f"bytes_per_second: expected the same on every rank (got {[each[1] for each in found]})")
    if bytes_per_second is None:
        return None
    if len(hosts) > 1:
        raise ValueError(f"bytes_per_second: expected all ranks on one host (got {', '.join(sorted(hosts))})")
    if uses_nccl(backends := dist.get_backend_config()):
        raise ValueError(f"bytes_per_second: expected the backend gloo (got {backends})")
    return Link(bytes_per_second)
