"""Rows and gradients that the ways of a stage trade, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gnnkit.pipeline._history import HistoricalEmbeddings
from gnnkit.pipeline._part import Exchange
from gnnkit.pipeline._rows import NOTHING, Trade, Wait, nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from gnnkit.pipeline._transport import Transport


def trade(
    transport: Transport,
    exchanges: Sequence[Exchange],
    rank_of: Callable[[int], int],
    history: HistoricalEmbeddings,
    what: str,
) -> Trade:
    """Return how a chunk's rows at one hop, and their gradients, go between the ways.

    Args:
        transport: Carries them.
        exchanges: The chunk's.
        rank_of: The rank of a way in this stage.
        history: The hop's tables.
        what: Names chunk, hop and epoch in errors.
    """

    if not exchanges:
        return NOTHING

    def rows() -> Wait:
        for each in exchanges:
            history.expect(each.low, each.high)
        return send_rows(transport, exchanges, rank_of, history.current, f"rows of {what}", "boundary")

    def gradients() -> Wait:
        dtype = history.current.dtype
        sends = [(rank_of(each.way), history.take_gradients(each.low, each.high, dtype)) for each in exchanges]
        buffers = [(each, torch.empty_like(history.current[: len(each.give)])) for each in exchanges]
        receives = [(rank_of(each.way), buffer) for each, buffer in buffers]
        handle = transport.exchange(sends, receives, f"gradients of {what}", "boundary_gradients")

        def land() -> None:
            handle.wait()
            for each, buffer in buffers:
                history.add_gradients(each.give, buffer)

        return land

    return Trade(rows, gradients, bool(exchanges))


def send_rows(
    transport: Transport,
    exchanges: Sequence[Exchange],
    rank_of: Callable[[int], int],
    table: Tensor,
    what: str,
    kind: str,
) -> Wait:
    """Send a chunk's own rows of a table to the ways that read them, receive its replicas; return what waits."""
    if not exchanges:
        return nothing
    sends = [(rank_of(each.way), table.index_select(0, each.give)) for each in exchanges]
    receives = [(rank_of(each.way), table[each.low : each.high]) for each in exchanges]
    handle = transport.exchange(sends, receives, what, kind)

    def land() -> None:
        handle.wait()

    return land
