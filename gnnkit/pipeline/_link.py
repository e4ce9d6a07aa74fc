"""A slower link than the machine has, for measurements."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

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


def slow_link(bytes_per_second: float | None, tell: Callable[[str], list[str]], backends: str) -> Link | None:
    """Make this rank's link, None where links are as fast as they are.

    Args:
        bytes_per_second: What this rank was asked for.
        tell: Tells all ranks something and gives what each has said, see `Together.tell`.
        backends: See `host_staged`.

    Raises:
        ValueError: Speeds differ, or they are slowed and ranks are on several hosts or use NCCL.
    """
    said = [each.split(" ", 1) for each in tell(f"{bytes_per_second} {platform.node()}")]
    speeds, hosts = [speed for speed, _ in said], {host for _, host in said}
    if len(set(speeds)) > 1:
        raise ValueError(f"bytes_per_second: expected the same on every rank (got {', '.join(speeds)})")
    if bytes_per_second is None:
        return None
    if len(hosts) > 1:
        raise ValueError(f"bytes_per_second: expected all ranks on one host (got {', '.join(sorted(hosts))})")
    if uses_nccl(backends):
        raise ValueError(f"bytes_per_second: expected the backend gloo (got {backends})")
    return Link(bytes_per_second)
