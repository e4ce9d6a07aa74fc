"""Loops over rows of bytes, keys and words: gathering, grouping, hashing. They release the GIL.

A loop serves rows low to high, and returns 0, or 1 as soon as an index leaves its table.
"""

from __future__ import annotations

import numpy as np

from gnnkit.kernels._jit import loop, part
from gnnkit.kernels._moves import copy_row, prefetch_line

ROWS_AHEAD = 8  # rows asked for before they are copied, and of each so many bytes: the processor guesses what follows
NEAR = 1024  # both measured on rows of 400 to 4096 bytes


@part
def ask_for(table, row):
    """Prefetch a row; a wrong number does no harm."""
    for byte in range(0, min(table.shape[1], NEAR), 64):
        prefetch_line(table, row, byte)


@loop
def gather_rows(low, high, table, ids, out):
    """out[k] = table[ids[k]], rows as bytes."""
    for k in range(low, high):
        if k + ROWS_AHEAD < high:
            ask_for(table, ids[k + ROWS_AHEAD])
        j = ids[k]
        if j < 0 or j >= len(table):
            return 1
        copy_row(table, j, out, k)
    return 0


@loop
def gather_cached(low, high, lines, staged, where, out):
    """out[k] = lines[where[k]], or staged[-1 - where[k]] where that is negative; rows as bytes."""
    for k in range(low, high):
        if k + ROWS_AHEAD < high:
            j = where[k + ROWS_AHEAD]
            if j >= 0:
                ask_for(lines, j)
            else:
                ask_for(staged, -1 - j)
        j = where[k]
        if j < -len(staged) or j >= len(lines):
            return 1
        if j >= 0:
            copy_row(lines, j, out, k)
        else:
            copy_row(staged, -1 - j, out, k)
    return 0


@loop
def group_by(keys, indptr, perm):
    """Stable counting sort: perm lists the positions of key 0, then of key 1 …; indptr says where each begins."""
    num_groups = len(indptr) - 1
    indptr[:] = 0
    for e in range(len(keys)):
        k = keys[e]
        if k < 0 or k >= num_groups:
            return 1
        indptr[k + 1] += 1
    for k in range(num_groups):
        indptr[k + 1] += indptr[k]
    for e in range(len(keys)):
        k = keys[e]
        perm[indptr[k]] = e
        indptr[k] += 1
    for k in range(num_groups, 0, -1):  # every pointer has moved to where the next group begins
        indptr[k] = indptr[k - 1]
    indptr[0] = 0
    return 0


HASH_BLOCK = 1 << 15  # words


@loop
def content_hash(low, high, words, key, sums):
    """sums[b] = the two sums of block b; uint64 arithmetic wraps."""
    for block in range(low, high):
        first, second = np.uint64(0), np.uint64(0)
        begin = block * HASH_BLOCK
        part = words[begin : min(begin + HASH_BLOCK, len(words))]
        for k in range(len(part)):
            z = np.uint64(part[k]) + np.uint64(begin + k + 1) * np.uint64(0x9E3779B97F4A7C15) + key
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
            first += z
            second += (z >> np.uint64(32)) * (z & np.uint64(0xFFFFFFFF))
        sums[block, 0] = first
        sums[block, 1] = second
    return 0
