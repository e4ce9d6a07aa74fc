"""What a message that is under way is held by, and the error when it does not arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch import Tensor


class PeerError(RuntimeError):
    """Another rank did not do its part: it hangs, or its process is gone; the message names it."""


class Handle:
    """A message under way; `wait` ends when it is complete.

    Args:
        finish: Waits for it and gives what `wait` gives; called once.
    """

    def __init__(self, finish: Callable[[], Tensor | None]) -> None:
        self._finish: Callable[[], Tensor | None] | None = finish
        self._result: Tensor | None = None
        self._error: Exception | None = None

    def wait(self) -> Tensor | None:
        """Wait until the message is complete: the received tensor, or None. Waiting again gives the same.

        Raises:
            PeerError: The peer did not do its part in time, or the connection to it is lost.
        """
        if self._finish is not None:
            finish, self._finish = self._finish, None
            try:
                self._result = finish()
            except Exception as error:
                self._error = error
        if self._error is not None:
            raise self._error
        return self._result


def wait_for(work: Any, timeout_seconds: float, who: str, deed: str) -> None:
    """Wait for a work of torch.distributed; where it fails, say that ``who`` did not do ``deed``."""
    start = time.monotonic()
    try:
        work.wait(timedelta(seconds=timeout_seconds))
    except RuntimeError as error:
        raise failure(error, time.monotonic() - start, timeout_seconds, who, deed) from error


def failure(error: RuntimeError, seconds: float, timeout_seconds: float, who: str, deed: str) -> PeerError:
    """Tell a peer that is silent from one that is gone: after a lost connection nobody waits until the time is out."""
    if seconds >= timeout_seconds:
        return PeerError(f"{who} did not {deed} within {timeout_seconds:g} s: it hangs, or is slower than that")
    return PeerError(f"{who} did not {deed}: the connection was lost after {seconds:.1f} s (got {error})")
