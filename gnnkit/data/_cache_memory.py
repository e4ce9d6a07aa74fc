"""The memory of a cache: lines and staging on its device, the victim buffer in host memory, and what moves between."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.data._policies import Ints
from gnnkit.data._policies_rows import Found, Moves
from gnnkit.data._victim import Victims
from gnnkit.kernels import gather_cached


class Memory:
    """Where the rows of a cache lie; it knows places, not ids.

    The staging buffer begins with room for one victim queue, which is brought back before its batch, on a stream of its
    own; after it come the rows just read from storage. On the CPU the storage writes there itself, on a GPU it writes
    into pinned memory that is then sent.
    """

    def __init__(
        self, num_lines: int, row: torch.Size, dtype: torch.dtype, device: torch.device, queues: Victims
    ) -> None:
        self.device, self._queues = device, queues
        cuda = device.type == "cuda"
        self.lines = torch.empty((num_lines, *row), dtype=dtype, device=device)
        self.staged = torch.empty((queues.depth, *row), dtype=dtype, device=device)
        self._host = torch.empty((0, *row), dtype=dtype, pin_memory=cuda) if cuda else None
        self._victims = torch.empty((queues.num_rows, *row), dtype=dtype, pin_memory=cuda)
        self._side: Any = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self._sent: Any = None  # the event after which the pinned memory may be written again
        self._back_for = -1  # the step whose queue lies in the staging buffer

    def for_storage(self, count: int) -> Tensor:
        """Return host memory ``[count, …]`` for rows from storage; on a GPU `send` then brings them to the device."""
        depth, row = self._queues.depth, self.lines.shape[1:]
        if len(self.staged) < depth + count:
            grown = torch.empty((depth + count, *row), dtype=self.lines.dtype, device=self.device)
            self._wait()
            grown[:depth] = self.staged[:depth]
            self.staged = grown
        if self._host is None:
            return self.staged[depth : depth + count]
        if self._sent is not None:
            self._sent.synchronize()
        if len(self._host) < count:
            self._host = torch.empty((count, *row), dtype=self.lines.dtype, pin_memory=True)
        return self._host[:count]

    def send(self, count: int) -> None:
        """Send what the storage wrote; on the CPU it lies there already."""
        if self._host is not None:
            depth = self._queues.depth
            self.staged[depth : depth + count].copy_(self._host[:count], non_blocking=True)
            self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent.record(torch.cuda.current_stream(self.device))

    def places(self, found: Found) -> Ints:
        """For each distinct row of a batch its place as `gnnkit.kernels.gather_cached` takes it: ``[U]``."""
        if self._back_for != found.step:
            self.bring_back(found.step)
        self._wait()
        where = np.where(found.waiting >= 0, -1 - found.waiting, found.line)
        where[found.missing] = -1 - self._queues.depth - np.arange(len(found.missing))
        return where

    def move(self, moves: Moves, where: Ints) -> None:
        """Park rows that leave in the victim buffer, then write rows that stay into their lines."""
        if len(moves.parked.places):
            leaving = np.concatenate([moves.park_lines, where[moves.park_rows]])[moves.parked.chosen]
            rows = gather_cached(self.lines, self.staged, self._index(leaving))
            places = moves.parked.places
            runs = np.flatnonzero(np.diff(places, prepend=-2) != 1)  # side by side within a queue: one copy each
            for begin, end in zip(runs, [*runs[1:], len(places)], strict=True):
                first = int(places[begin])
                self._victims[first : first + int(end - begin)].copy_(rows[begin:end], non_blocking=True)
        if len(moves.load):
            rows = self.staged.index_select(0, self._index(-1 - where[moves.load]))
            self.lines.index_copy_(0, self._index(moves.lines), rows)

    def bring_back(self, step: int) -> None:
        """Copy the queue of a step into the staging buffer, on a GPU beside whatever else runs."""
        ids, first = self._queues.queue(step)
        self._back_for = -1
        if len(ids):
            beside: AbstractContextManager[Any] = nullcontext()
            if self._side is not None:  # what parked these rows, and what reads the buffer, come first
                self._side.wait_stream(torch.cuda.current_stream(self.device))
                beside = torch.cuda.stream(self._side)
            with beside:
                self.staged[: len(ids)].copy_(self._victims[first : first + len(ids)], non_blocking=True)
        self._back_for = step

    def _wait(self) -> None:
        if self._side is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._side)

    def _index(self, places: Ints) -> Tensor:
        return torch.from_numpy(places).to(self.device)
