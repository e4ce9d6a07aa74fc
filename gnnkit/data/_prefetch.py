"""Batches: make batches in threads, ahead of their use, and give them in order."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

_JOIN_SECONDS = 5.0  # how long an iterator that is dropped waits for the batches that its threads are making
_END = object()


class Stages(Protocol):
    """How a batch is made: sampled by any thread, announced and read in the order of batches, finished by the caller.

    Attributes:
        announces: Whether `announce` does anything; without it, batches are read in any order.
        window: How many batches are announced before the one that is read.
    """

    announces: bool
    window: int

    def sample(self, number: int, index: Any) -> Any:
        """Sample batch `number` of the inputs `index`."""
        ...

    def announce(self, sampled: Any) -> None:
        """Say which rows a batch will read."""
        ...

    def read(self, sampled: Any) -> Any:
        """Read a batch's rows."""
        ...

    def finish(self, batch: Any) -> Any:
        """What the caller's thread does."""
        ...

    def describe(self, index: Any) -> str:
        """Name a batch's inputs, for an error."""
        ...

    def cancel(self) -> None:
        """Take back what was announced and will not be read."""
        ...


class Made(NamedTuple):
    """A batch, or why there is none."""

    index: Any
    value: Any = None
    error: BaseException | None = None

    def then(self, step: Any, *arguments: Any) -> Made:
        """Take a step with it, unless there is an error."""
        if self.error is not None:
            return self
        try:
            return self._replace(value=step(*arguments, self.value))
        except BaseException as error:  # what stops a thread is the caller's to see
            return self._replace(value=None, error=error)


class Box:
    """What the threads and the iterator share: it refers to neither, so that a dropped iterator ends its threads."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self.changed = threading.Condition()
        self.sampled: dict[int, Made] = {}
        self.made: dict[int, Made] = {}
        self.total: int | None = None
        self.stopped = False
        self.threads: list[threading.Thread] = []

    def put(self, where: dict[int, Made], number: int, made: Made) -> None:
        """Hand on a batch, unless nobody wants it any more."""
        with self.changed:
            if not self.stopped:
                where[number] = made
            self.changed.notify_all()

    def start(self, target: Any, *arguments: Any) -> None:
        """Start a thread."""
        thread = threading.Thread(target=target, args=(self, *arguments), name="gnnkit-loader", daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End the threads and drop what they have made."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)
        self.sampled.clear()
        self.made.clear()


class Batches:
    """Iterate over batches in order; `prefetch` of them a thread are made ahead, or none, in the caller's thread.

    The inputs of batches are drawn in the caller's thread, the first when the iterator is made. When the iterator ends,
    is closed or is dropped, its threads end with the batches that they are making. An error ends it too: a
    RuntimeError that names the batch, caused by the error itself.

    Args:
        stages: How a batch is made.
        indices: The inputs of each batch.
        length: What ``len`` says.
        threads: How many threads sample.
        prefetch: How many batches a thread are made ahead.
        timeout: How many seconds to wait for a batch of the threads; 0 for any.
    """

    def __init__(
        self,
        stages: Stages,
        indices: Iterator[Any],
        length: Callable[[], int],
        *,
        threads: int,
        prefetch: int,
        timeout: float = 0,
    ) -> None:
        self._stages, self._indices, self._length, self._timeout = stages, indices, length, timeout
        self._sent = self._given = 0
        self._waiting: deque[Made] = deque()
        self._threaded, self._displaced = prefetch > 0, False
        self._pid = os.getpid()
        self._next_index = next(indices, _END)
        self._box = Box()
        self._close = weakref.finalize(self, _close, self._box, stages, self._pid)
        if self._threaded:
            for _ in range(threads):
                self._box.start(_sample_loop, stages)
            if stages.announces:
                self._box.start(_read_loop, stages)
            for _ in range(threads * prefetch + stages.window * stages.announces):
                self._send()

    def __iter__(self) -> Batches:
        return self

    def __len__(self) -> int:
        return self._length()

    def __next__(self) -> Any:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"a loader's iterator: expected to be used by the process that made it, {self._pid}; make another with "
                f"iter(loader) (got process {os.getpid()})"
            )
        if self._displaced:
            raise RuntimeError(
                "a loader's iterator: expected to be the only one, since a store is told what will be read; make "
                "another loader with a store of its own (got another iterator of the loader)"
            )
        if not self._close.alive:
            raise StopIteration
        try:
            made = self._threads_made() if self._threaded else self._make()
            if made is None:
                raise StopIteration
            made = made.then(self._stages.finish)
        except BaseException:
            self.close()
            raise
        number, self._given = self._given, self._given + 1
        if made.error is None:
            return made.value
        self.close()
        if not isinstance(made.error, Exception):  # Ctrl-C, or an exit
            raise made.error
        try:
            where = f"batch {number}, {self._stages.describe(made.index)}"
            raise RuntimeError(f"{where}: {type(made.error).__name__}: {made.error}") from made.error
        finally:
            del made  # the error's frames hold this one

    def close(self) -> None:
        """End the threads; nothing follows."""
        self._close()
        self._waiting.clear()

    def displace(self) -> None:
        """Make way for another iterator: who goes on with this one is told, unless nothing was left to give."""
        self._displaced = self._close.alive and not (self._next_index is _END and self._given == self._sent)
        self.close()

    def _threads_made(self) -> Made | None:
        """The next batch of the threads, which get another to make."""
        if self._given == self._sent:
            return None
        box = self._box
        with box.changed:
            if not box.changed.wait_for(lambda: self._given in box.made or box.stopped, self._timeout or None):
                raise RuntimeError(f"batch {self._given}: expected within {self._timeout} s (got none)")
            if box.stopped:  # closed by another thread meanwhile
                return None
            made = box.made.pop(self._given)
        self._send()
        return made

    def _send(self) -> None:
        """Give the threads another batch to make, if there is one."""
        if self._next_index is _END:
            return
        index, self._next_index = self._next_index, next(self._indices, _END)
        with self._box.changed:
            self._sent += 1
            if self._next_index is _END:
                self._box.total = self._sent
                self._box.changed.notify_all()
        self._box.tasks.put((self._sent - 1, index))

    def _make(self) -> Made | None:
        """The next batch, made now; those announced before it is read wait."""
        stages = self._stages
        ahead = stages.window if stages.announces else 0
        while len(self._waiting) <= ahead and self._next_index is not _END:
            index, self._next_index = self._next_index, next(self._indices, _END)
            made = Made(index, index).then(stages.sample, self._sent)
            self._waiting.append(_announced(stages, made) if stages.announces else made)
            self._sent += 1
        return self._waiting.popleft().then(stages.read) if self._waiting else None


def _announced(stages: Stages, made: Made) -> Made:
    def announce(sampled: Any) -> Any:
        stages.announce(sampled)
        return sampled

    return made.then(announce)


def _sample_loop(box: Box, stages: Stages) -> None:
    """A thread that samples, and reads where the order does not matter."""
    while (task := box.tasks.get()) is not None and not box.stopped:
        number, index = task
        made = Made(index, index).then(stages.sample, number)
        if stages.announces:
            box.put(box.sampled, number, made)
        else:
            box.put(box.made, number, made.then(stages.read))
        del task, index, made  # while it waits it holds no batch


def _read_loop(box: Box, stages: Stages) -> None:
    """The thread that announces batches in order, and reads each once the window before it is announced."""
    waiting: deque[Made] = deque()
    announced = read = 0
    while True:
        with box.changed:
            while not (box.stopped or announced in box.sampled or announced == box.total):
                box.changed.wait()
            if box.stopped:
                return
            ended = announced == box.total
            made = None if ended else box.sampled.pop(announced)
        if made is not None:
            waiting.append(_announced(stages, made))
            announced += 1
        while waiting and (ended or len(waiting) > stages.window) and not box.stopped:
            box.put(box.made, read, waiting.popleft().then(stages.read))
            read += 1
        del made
        if ended:
            return


def _close(box: Box, stages: Stages, pid: int) -> None:
    """End an iterator."""
    if os.getpid() == pid:  # a fork has no threads of its parent, but maybe its locks
        box.stop()
        stages.cancel()
