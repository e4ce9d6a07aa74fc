"""Pieces of loops: rows in tiles that stay in registers, what every loop checks, and what it asks for ahead."""

from __future__ import annotations

from typing import Any

from gnnkit.kernels._jit import part
from gnnkit.kernels._vector import prefetch_tile, write, zeros

AHEAD = 24  # edges; measured on rows of 256 to 1024 bytes
WIDEST = 128  # columns: half of the registers of AVX-512, all of those of AVX2


@part
def bad_pointers(low, high, indptr, num_edges):
    """Whether rows low to high point outside the entries."""
    bad = False
    for i in range(low, high):
        bad |= indptr[i] < 0 or indptr[i + 1] < indptr[i] or indptr[i + 1] > num_edges
    return bad


@part
def bad_rows(low, high, indptr, indices, num_cols):
    """Whether rows low to high point outside the entries, or their entries outside the columns."""
    if bad_pointers(low, high, indptr, len(indices)):
        return True
    bad = 0
    for e in range(indptr[low], indptr[high]):
        j = indices[e]
        bad |= (j < 0) | (j >= num_cols)
    return bad != 0


@part
def prefetch(like, table, indices, e, column):
    """Ask for a tile of the row of the edge ``AHEAD`` edges on: rows scatter, and the processor cannot guess them."""
    if e + AHEAD < len(indices):
        prefetch_tile(like, table, indices[e + AHEAD], column)


@part
def prefetch_row(table, indices, e):
    """Ask for all of that row, or its first 256 columns."""
    like = zeros(table, 16)
    for column in range(0, min(table.shape[1], 256), 16):
        prefetch(like, table, indices, e, column)


def over_tiles(step: Any) -> Any:
    """Make ``tiles(out, row, low, high, *state)``: ``out[row, low:high]`` a tile of columns at a time, wide ones first.

    Each is ``step(zeros, column, count, *state)``; ``count`` is None where the tile fits.
    """

    @part
    def tiles(out, row, low, high, *state):
        column = low
        while column + WIDEST <= high:
            write(step(zeros(out, WIDEST), column, None, *state), out, row, column, None)
            column += WIDEST
        while column + 64 <= high:
            write(step(zeros(out, 64), column, None, *state), out, row, column, None)
            column += 64
        while column + 16 <= high:
            write(step(zeros(out, 16), column, None, *state), out, row, column, None)
            column += 16
        if column < high:
            write(step(zeros(out, 16), column, high - column, *state), out, row, column, high - column)

    return tiles
