"""Posting messages between two ranks, and waiting for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch.distributed as dist
from torch import Tensor

from gnnkit.pipeline._handle import Handle, Patience
from gnnkit.pipeline._link import Link
from gnnkit.pipeline._message import Message, incoming, outgoing
from gnnkit.pipeline._staging import host_staged
from gnnkit.pipeline._together import Together


class Mail:
    """Messages of this rank to and from others, numbered by peer and direction.

    Args:
        patience: How long a wait lasts.
        name: Names a rank in errors.
        together: Makes the groups that carry messages.
        link: Says when messages are through where links are slowed, on all ranks; None where they are not.
    """

    def __init__(self, patience: Patience, name: Callable[[int], str], together: Together, link: Link | None) -> None:
        self._patience, self._name, self._link = patience, name, link
        self._rank, self._backends = dist.get_rank(), dist.get_backend_config()
        self._numbers: dict[tuple[str, int], int] = {}
        self._pending: set[Handle] = set()  # their tensors live until they are sent, even if nobody waits
        self._up = self._down = self._across = together.everybody
        if together.nccl:
            # NCCL knows no tags, and messages of a group wait for each other: what goes up, down and across must not
            world = range(dist.get_world_size())
            self._up, self._down, self._across = (together.new_group(world) for _ in range(3))

    def post(
        self,
        sends: Sequence[tuple[int, Tensor]],
        receives: Sequence[tuple[int, Tensor]],
        what: str,
        kind: str,
        batch: bool = False,
    ) -> Handle:
        """Start all of them; `wait` of the handle completes all. In a batch none waits until another has begun."""
        for _, out in receives:
            if not out.is_contiguous() or out.requires_grad:
                how = f"strides {list(out.stride())}, requires_grad={out.requires_grad}"
                raise ValueError(f"out: expected a contiguous tensor that requires no gradient (got {how})")
        messages: list[Message] = []
        for to, tensor in sends:
            if tensor.numel():
                staged = host_staged(tensor.device, self._backends)
                messages.append(outgoing(tensor, to, what, kind, self._number("to", to), staged, self._link))
        for source, out in receives:
            if out.numel():
                staged, timed = host_staged(out.device, self._backends), self._link is not None
                messages.append(incoming(out, source, what, kind, self._number("from", source), staged, timed))
        works = self._start_batch(messages) if batch and self._across is not self._up else self._start(messages)

        def finish() -> None:
            self._pending.discard(handle)
            for message, work in works:
                self._patience.wait(work, message.polls, partial(self._failed, message))
            for message in messages:
                message.land()

        handle = Handle(finish)
        if messages:
            self._pending.add(handle)
        return handle

    def close(self) -> bool:
        """Wait for what is under way unless a peer has failed; return whether none has."""
        while self._pending and not self._patience.over:
            next(iter(self._pending)).wait()
        return not self._patience.over

    def _start(self, messages: Sequence[Message]) -> list[tuple[Message, Any]]:
        works = []
        for message in messages:
            group = self._up if message.rises(self._rank) else self._down
            for part in message.parts:
                try:
                    work = message.act(part, message.peer, group=group, tag=message.tag(part))
                except RuntimeError as error:
                    raise self._patience.give_up(self._failed(message, f": {error}")) from error
                works.append((message, work))
        return works

    def _start_batch(self, messages: Sequence[Message]) -> list[tuple[Message, Any]]:
        ops = [
            (message, dist.P2POp(message.act, part, message.peer, self._across, message.tag(part)))
            for message in messages
            for part in message.parts
        ]
        if not ops:
            return []
        try:
            works = dist.batch_isend_irecv([op for _, op in ops])
        except RuntimeError as error:
            raise self._patience.give_up(self._failed(messages[0], f": {error}")) from error
        # NCCL gives one work for all
        return [(message, works[place % len(works)]) for place, (message, _) in enumerate(ops)]

    def _number(self, direction: str, peer: int) -> int:
        number = self._numbers[direction, peer] = self._numbers.get((direction, peer), 0) + 1
        return number

    def _failed(self, message: Message, how: str) -> str:
        return f"{self._name(message.peer)} did not {message.deed}{how}"
