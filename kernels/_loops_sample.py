"""Loops that draw entries of rows and number nodes: serial, for a batch belongs to one thread. They release the GIL.

The bits are those of `gnnkit.kernels._torch_sample`: numbers modulo 2^64, and float64 operations that are never fused
(`exact_loop`). A loop returns 0, or 1 as soon as something is out of bounds.
"""

from __future__ import annotations

import numpy as np

from gnnkit.kernels._jit import exact_loop, loop, part
from gnnkit.kernels._vector import prefetch_item

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
AHEAD = 32  # ids; how far ahead their numbers are asked for
ROWS = 64  # rows drawn side by side, in vectors
FEW = 32  # draws of a row; up to here each is compared with those before it, from there on a table finds them


@part
def mix(z):
    """The finaliser of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@part
def stream_of(key, row):
    return mix(key + np.uint64(row + 1) * GOLDEN)


@part
def below(stream, draw, n):
    """The number in [0, n) of a draw; n < 2^31."""
    bits, n = mix(stream + np.uint64(draw + 1) * GOLDEN), np.uint64(n)
    low = ((bits & np.uint64(0xFFFFFFFF)) * n) >> np.uint64(32)
    return np.int64(((bits >> np.uint64(32)) * n + low) >> np.uint64(32))


@part
def unit(stream, draw):
    """The float64 in [0, 1) of a draw."""
    return np.float64(np.int64(mix(stream + np.uint64(draw + 1) * GOLDEN) >> np.uint64(11))) * 2.0**-53


@loop
def count_picks(starts, ends, num_entries, fanout, replace, indptr):
    """indptr[k + 1] - indptr[k] = how many entries row k gives."""
    bad = False
    total, most = 0, fanout if fanout >= 0 else 1 << 31
    indptr[0] = 0
    for k in range(len(starts)):
        degree = ends[k] - starts[k]
        bad |= (starts[k] < 0) | (degree < 0) | (ends[k] > num_entries) | (degree >= 1 << 31)
        total += most * (degree > 0) if replace else min(degree, most)
        indptr[k + 1] = total
    return 1 if bad else 0


@part
def draw_few(low, high, starts, ends, fanout, key, replace, places, streams):
    """places[j, i] = where in row low + i draw j falls, or j if the row is taken whole.

    Rows lie side by side, so that the inner loops are made of vectors and choose without branches, which would be as
    random as the draws. The last rows of ``places`` are for what is the same for all draws, and for what is taken.
    """
    degrees, whole, taken = places[FEW], places[FEW + 1], places[FEW + 2]
    for i in range(high - low):
        degrees[i] = ends[low + i] - starts[low + i]
        whole[i] = (degrees[i] <= fanout) & (not replace)
        streams[i] = stream_of(key, low + i)
    for j in range(fanout):
        place, held_back = places[j], 0 if replace else fanout - j - 1
        for i in range(high - low):
            place[i] = below(streams[i], j, degrees[i] - held_back)
            taken[i] = 0
        for before in range(0, 0 if replace else j, 4):  # four at a time: to look at one twice does no harm
            a, b = places[before], places[min(before + 1, j - 1)]
            c, d = places[min(before + 2, j - 1)], places[min(before + 3, j - 1)]
            for i in range(high - low):
                x = place[i]
                taken[i] |= (a[i] == x) | (b[i] == x) | (c[i] == x) | (d[i] == x)
        for i in range(high - low):
            x = place[i] + taken[i] * (degrees[i] - held_back - 1 - place[i])
            place[i] = x + whole[i] * (j - x)


@part
def floyd_many(stream, start, degree, first, last, entries, slots):
    """The row's draws, found again by hash.

    A slot holds a position in ``entries``; one below ``first`` is of an earlier row and counts as free, so nothing is
    cleared. The table has at least twice as many slots as a row has draws.
    """
    mask = len(slots) - 1
    for m in range(first, last):
        top = degree - last + m
        entry = start + below(stream, m - first, top + 1)
        slot = np.int64(mix(np.uint64(entry))) & mask
        while slots[slot] >= first and entries[slots[slot]] != entry:
            slot = (slot + 1) & mask
        if slots[slot] >= first:
            entry = start + top  # never drawn before: all draws so far were below it
            slot = np.int64(mix(np.uint64(entry))) & mask
            while slots[slot] >= first:
                slot = (slot + 1) & mask
        slots[slot] = m
        entries[m] = entry


@part
def draw_rows(low, high, starts, ends, fanout, key, replace, indptr, indices, scratch, entries):
    """The entries of rows low to high, at most ``ROWS``; their neighbours are asked for.

    Up to ``FEW`` draws a row gives ``fanout`` numbers, however many count, and the next row writes over the others:
    ``entries`` has room for as many at its end. So no loop ends where nobody can guess it.
    """
    slots, places, streams = scratch
    if 0 <= fanout <= FEW:
        draw_few(low, high, starts, ends, fanout, key, replace, places, streams)
        for k in range(low, high):
            start, first = starts[k], indptr[k]
            for j in range(fanout):
                entries[first + j] = start + places[j, k - low]
    else:
        for k in range(low, high):
            start, degree, first, last = starts[k], ends[k] - starts[k], indptr[k], indptr[k + 1]
            if replace:
                stream = stream_of(key, k)
                for m in range(first, last):
                    entries[m] = start + below(stream, m - first, degree)
            elif last - first < degree:
                floyd_many(stream_of(key, k), start, degree, first, last, entries, slots)
            else:
                for m in range(first, last):
                    entries[m] = start + m - first
    for m in range(indptr[low], indptr[high]):
        prefetch_item(indices, entries[m])


@loop
def pick_uniform(starts, ends, fanout, key, replace, indptr, indices, scratch, entries, neighbors):
    """The entries of each row, and the neighbours of a block of rows while those of the next one come."""
    num_rows = len(starts)
    for low in range(0, num_rows + ROWS, ROWS):
        if low < num_rows:
            high = min(low + ROWS, num_rows)
            draw_rows(low, high, starts, ends, fanout, key, replace, indptr, indices, scratch, entries)
        for m in range(indptr[max(low - ROWS, 0)], indptr[min(low, num_rows)]):
            neighbors[m] = indices[entries[m]]
    return 0


@part
def first_above(sums, start, end, value):
    """The first entry whose sum exceeds a value; the last where none does."""
    low, high = start, end - 1
    while low < high:
        middle = (low + high) >> 1
        if sums[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


@exact_loop
def pick_weighted(starts, ends, key, replace, indptr, indices, sums, taken, entries, neighbors):
    """As `pick_uniform`, with weights; ``taken`` has room for the entries of a row that were drawn, in order."""
    for k in range(len(starts)):
        start, end, first, last = starts[k], ends[k], indptr[k], indptr[k + 1]
        if last - first == end - start and not replace:
            for m in range(first, last):
                entries[m] = start + m - first
        elif last > first:
            stream, left = stream_of(key, k), sums[end - 1]
            for m in range(first, last):
                value = unit(stream, m - first) * left
                if replace:
                    entries[m] = first_above(sums, start, end, value)
                    continue
                count = m - first
                for i in range(count):  # move on by what was taken before the point
                    entry = taken[i]
                    before = sums[entry - 1] if entry > start else 0.0
                    if value < before:
                        break
                    value += sums[entry] - before
                entry = first_above(sums, start, end, value)
                place = 0  # among those taken
                while place < count and taken[place] < entry:
                    place += 1
                while place < count and taken[place] == entry:  # by rounding: the next that is left
                    entry += 1
                    place += 1
                    if entry == end:
                        entry, place = start, 0
                for i in range(count, place, -1):
                    taken[i] = taken[i - 1]
                taken[place] = entry
                left -= sums[entry] - (sums[entry - 1] if entry > start else 0.0)
                entries[m] = entry
        for m in range(first, last):
            neighbors[m] = indices[entries[m]]
    return 0


@loop
def relabel(local, count, ids, labels, new, found):
    """labels[k] = local[ids[k]], numbers from ``count`` on for those that have none; found[0] = how many those are."""
    known, num_new, bad = count, 0, 0
    size = len(local)
    for k in range(len(ids)):
        if k + AHEAD < len(ids):
            prefetch_item(local, ids[k + AHEAD])
        j = ids[k]
        if j < 0 or j >= size:
            bad = 1
            break
        label = local[j]
        if label >= known:
            bad = 1
            break
        if label < 0:
            label = known
            local[j] = known
            new[num_new] = j
            num_new += 1
            known += 1
        labels[k] = label
    if bad:
        for k in range(num_new):
            local[new[k]] = -1
        num_new = 0
    found[0] = num_new
    return bad
