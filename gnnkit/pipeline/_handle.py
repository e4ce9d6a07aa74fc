"""A message that is under way, and the error when it does not arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch import Tensor

_POLL_SECONDS = 0.0002


class PeerError(RuntimeError):
    """Another rank did not do its part: it hangs, or its process has ended. The message names it."""


class Handle:
    """A message under way; `wait` ends when it is complete.

    Args:
        finish: Waits for it; called once.
    """

    def __init__(self, finish: Callable[[], object]) -> None:
        self._finish: Callable[[], object] | None = finish
        self._error: BaseException | None = None

    def wait(self) -> Tensor | None:
        """Wait until the message is complete. Waiting again gives the same.

        Raises:
            PeerError: The peer did not do its part in time, or the connection to it is lost.
        """
        if self._finish is not None:
            finish, self._finish = self._finish, None
            try:
                finish()
            except BaseException as error:  # Ctrl-C too: it is not complete
                self._error = error
        if self._error is not None:
            raise self._error
        return None


class Arrival(Handle):
    """A tensor under way to this rank.

    Args:
        finish: See `Handle`.
        out: The tensor that `wait` gives.
    """

    def __init__(self, finish: Callable[[], object], out: Tensor) -> None:
        super().__init__(finish)
        self._out = out

    def wait(self) -> Tensor:
        """See `Handle.wait`; gives the received tensor."""
        super().wait()
        return self._out


class Patience:
    """Waits for works of torch.distributed, for so long, and says of one that fails what a peer did not do."""

    def __init__(self, timeout_seconds: float) -> None:
        self.seconds = timeout_seconds
        self.over = False  # a peer has failed

    def give_up(self, said: str) -> PeerError:
        """Make the error, after which nothing is waited for that nobody asks for."""
        self.over = True
        return PeerError(said)

    def wait(self, work: Any, polls: bool, failed: Callable[[str], str]) -> None:
        """Wait for a work, without spending processor time.

        Args:
            work: What ``isend`` and the like give.
            polls: Whether to ask it again and again: NCCL's ``wait`` blocks the GPU's stream and not the process, and
                its own time-outs end the process.
            failed: ``failed(how)`` says who did not do what; ``how`` is how it went on.
        """
        start = time.monotonic()
        try:
            while polls and not work.is_completed():
                if time.monotonic() - start > self.seconds:
                    raise self.give_up(failed(self._silence()))
                time.sleep(_POLL_SECONDS)
            work.wait(timedelta(seconds=self.seconds))
        except PeerError:
            raise
        except RuntimeError as error:
            seconds = time.monotonic() - start
            # who is silent lets the time pass; a connection that was lost ends a wait at once
            silent = seconds >= 0.99 * self.seconds
            how = self._silence() if silent else f": a connection was lost after {seconds:.1f} s ({error})"
            raise self.give_up(failed(how)) from error

    def _silence(self) -> str:
        return f" within {self.seconds:g} s, and its connection is open: it hangs or is slower than that"
