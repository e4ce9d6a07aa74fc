"""Exact inference: every chunk through one layer before any chunk goes through the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gnnkit.kernels import gather_rows
from gnnkit.pipeline._boundary import Boundary, landed
from gnnkit.pipeline._stage import Stage, by_piece, joined

Fill = Callable[[Tensor, int], Callable[[], None]]


@torch.no_grad()
def stream(
    stage: Stage,
    boundary: Boundary,
    features: Callable[[int], Tensor],
    fill: Fill,
    tables: Mapping[int, Tensor] | None = None,
    epoch: int = -1,
) -> list[Tensor]:
    """Run a stage's layers on its whole part of the graph, without historical rows and without gradients.

    A stage begins when the one before has given all chunks; chunks go on as the last layer makes them.
    Memory: the rows of two layers, [R, D] each.

    Args:
        stage: In the mode that is wanted.
        boundary: The stages before and after.
        features: ``features(chunk)`` gives ``[n, F]`` at the first stage.
        fill: ``fill(table, chunk)`` starts to trade a chunk's rows of a table with other ways, returns what waits.
        tables: Where the rows that neighbours see are written, by hop; None for memory that is given back.
        epoch: Names the messages.

    Returns:
        For each chunk the outputs ``[n, C]`` at the last stage, else the rows that went on.
    """
    part, chunks = stage.part, range(stage.part.num_chunks)
    xs, shared, edges = _begin(stage, boundary, features, epoch)
    for hop in range(stage.low, stage.high):
        table = None if tables is None else tables[hop]
        waits = []
        for chunk in chunks:
            z = stage.seen(hop, chunk, xs[chunk], shared[chunk])
            if table is None:
                table = z.new_empty(part.num_rows, z.shape[1])
            low, high = part.rows(chunk)
            table[low:high] = z
            waits.append(fill(table, chunk))
        for wait in waits:
            wait()
        assert table is not None
        for chunk in chunks:
            xs[chunk], edges[chunk] = _hop(stage, hop, chunk, table, xs[chunk], shared[chunk], edges[chunk])
            if hop == stage.high - 1:
                _send_on(boundary, xs[chunk], shared[chunk], edges[chunk], chunk, epoch)
    boundary.drain()
    return xs if boundary.following is not None else [stage.leave(xs[chunk], chunk) for chunk in chunks]


def _begin(
    stage: Stage, boundary: Boundary, features: Callable[[int], Tensor], epoch: int
) -> tuple[list[Tensor], list[Tensor | None], list[Tensor | None]]:
    chunks = range(stage.part.num_chunks)
    if boundary.previous is None:
        xs = [stage.enter(features(chunk), chunk).to(stage.dtype) for chunk in chunks]
        return xs, [x if stage.shares else None for x in xs], [stage.edge_states(chunk) for chunk in chunks]
    arriving = [boundary.rows(chunk, epoch, "inference") for chunk in chunks]
    given = [landed(each) for each in arriving]
    edges = [each["edges"] if "edges" in each else stage.edge_states(chunk) for chunk, each in enumerate(given)]
    return [each["x"] for each in given], [each.get("shared") for each in given], edges


def _send_on(
    boundary: Boundary, x: Tensor, shared: Tensor | None, edges: Tensor | None, chunk: int, epoch: int
) -> None:
    rows = {"x": x, "shared": shared, "edges": edges}
    boundary.send_rows({n: t for n, t in rows.items() if t is not None}, chunk, epoch, "inference")


def _hop(
    stage: Stage, hop: int, chunk: int, table: Tensor, x: Tensor, shared: Tensor | None, edge_attr: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    pieces = stage.part.pieces[chunk]
    rows = [
        stage.work(hop, chunk, piece, gather_rows(table, piece.sources), *given)
        for piece, given in zip(pieces, by_piece(pieces, x, shared, edge_attr), strict=True)
    ]
    return joined(rows, edge_attr)
