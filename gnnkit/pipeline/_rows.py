"""Where a hop's rows leave and enter autograd: publish, arrive, gather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnkit.pipeline._history import HistoricalEmbeddings

Wait = Callable[[], None]


@dataclass(frozen=True)
class Trade:
    """How a chunk's rows, and later their gradients, go to the ways that read them; each call starts it and returns
    what waits for its end.

    Attributes:
        rows: Sends own rows of the current table, receives replicas into it.
        gradients: Sends gradients of replicas, receives those of own rows and adds them.
        waits: Whether there is anything to trade.
    """

    rows: Callable[[], Wait]
    gradients: Callable[[], Wait]
    waits: bool


def nothing() -> None:
    """Wait for nothing."""


NOTHING = Trade(lambda: nothing, lambda: nothing, False)


class Flight:
    """What is under way of one chunk at one hop: the wait that ends it."""

    def __init__(self, trade: Trade) -> None:
        self.trade = trade
        self.wait: Wait = nothing

    def land(self) -> None:
        """Wait for what was started last, once."""
        wait, self.wait = self.wait, nothing
        wait()


class _Publish(torch.autograd.Function):
    """z -> token: neighbours may read a chunk's rows from here on; backward gives what they did to them."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, history: HistoricalEmbeddings, low: int, flight: Flight, replay: bool) -> Tensor:
        ctx.history, ctx.low, ctx.high, ctx.flight, ctx.dtype = history, low, low + len(z), flight, z.dtype
        if not replay:
            history.publish(low, z.detach())
            flight.wait = flight.trade.rows()
        return z.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        ctx.flight.land()
        return ctx.history.take_gradients(ctx.low, ctx.high, ctx.dtype), None, None, None, None


class _Arrive(torch.autograd.Function):
    """token -> token: the chunk's replicas are there from here on; backward starts the way home of their gradients."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, flight: Flight) -> Tensor:
        ctx.flight = flight
        flight.land()
        return token.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.flight.wait = ctx.flight.trade.gradients()
        return gradients[0], None


class _Gather(torch.autograd.Function):
    """token -> rows ``[n, D']`` by ids; backward adds to the gradients of those rows."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, history: HistoricalEmbeddings, ids: Tensor, rows: Tensor) -> Tensor:
        ctx.history, ctx.rows = history, rows
        return history.read(ids)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.history.add_gradients(ctx.rows, gradients[0])
        return gradients[0].new_zeros(()), None, None, None


class _Tie(torch.autograd.Function):
    """(a, token) -> a: walks back through a token that nothing else reads."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, token: Tensor) -> Tensor:
        return a.view_as(a)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], gradients[0].new_zeros(())


publish: Callable[[Tensor, HistoricalEmbeddings, int, Flight, bool], Tensor] = _Publish.apply
arrive: Callable[[Tensor, Flight], Tensor] = _Arrive.apply
gather: Callable[[Tensor, HistoricalEmbeddings, Tensor, Tensor], Tensor] = _Gather.apply
tie: Callable[[Tensor, Tensor], Tensor] = _Tie.apply
