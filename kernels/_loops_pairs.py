"""Loops over pairs of rows of a CSR: where they meet, and what only one of them has. They release the GIL.

Rows are ``(indices, keep, starts, ends)``, as `gnnkit.kernels._pair_sets.Rows`. There are two ways to where two meet:

- lay row i out: ``table[column]`` = its entry, plus one, and look every column of row j up. What other rows left in the
  table does no harm and is never cleared: an entry tells which row it is of. Pairs that follow each other with the same
  i find its row laid out, which is how a hub's is read once.
- seek: a binary search in the longer row for each column of the shorter one, where degrees differ much.
"""

from __future__ import annotations

from gnnkit.kernels._jit import loop, part

SEEK = 2  # what a step of a search costs, in look-ups


@part
def seek_cost(a, b):
    """What it costs to seek the columns of a row in another, in look-ups."""
    small, large, steps = min(a, b), max(a, b), 1
    while large > 1:
        large >>= 1
        steps += 1
    return SEEK * small * steps


@part
def seek(short, keep_short, low, end, long, keep_long, first, last, hits_short, hits_long, used):
    """The entries low … end - 1 of a row whose columns lie among entries first … last - 1 of a longer one."""
    for entry in range(low, end):
        column = short[entry]
        place, count = first, last - first
        while count > 0:
            half = count >> 1
            below = long[place + half] < column
            place = place + half + 1 if below else place
            count = count - half - 1 if below else half
        first = place  # columns increase
        if place == last:
            break
        found = long[place] == column
        if keep_short is not None:
            found &= keep_short[entry]
        if keep_long is not None:
            found &= keep_long[place]
        hits_short[used], hits_long[used] = entry, place
        used += found
    return used


@part
def lay_out(indices, keep, low, end, table):
    """table[column] = entry + 1 for the entries that count; 1 if a column lies outside."""
    for entry in range(low, end):
        column = indices[entry]
        if column < 0 or column >= len(table):
            return 1
        if keep is not None and not keep[entry]:
            continue
        table[column] = entry + 1
    return 0


@part
def look_up(low, end, table, indices, keep, first, last, hits, hits_row, used):
    """The entries first … last - 1 of a row whose columns are laid out for low … end - 1; -1 where one lies outside."""
    for entry in range(first, last):
        column = indices[entry]
        if column < 0 or column >= len(table):
            return -1
        laid = table[column]
        found = (laid > low) & (laid <= end)
        if keep is not None:
            found &= keep[entry]
        hits[used], hits_row[used] = laid - 1, entry
        used += found
    return used


@loop
def meet(
    low,
    high,
    indices_a,
    keep_a,
    starts_a,
    ends_a,
    indices_b,
    keep_b,
    starts_b,
    ends_b,
    table,
    hits_a,
    hits_b,
    ends,
):
    """Where the rows of pairs low … high - 1 meet: entries in both, pair after pair; ends[p] = how many up to pair p.

    The hits have room for one more than there can be. Returns 1 if a column lies outside the table.
    """
    used, p = 0, low
    while p < high:
        begin, end = starts_a[p], ends_a[p]
        degree = end - begin
        by_table, by_search, last = degree, 0, p
        while last < high and starts_a[last] == begin and ends_a[last] == end:
            width = ends_b[last] - starts_b[last]
            by_search += seek_cost(degree, width)
            by_table += width
            last += 1
        laid = by_table < by_search
        if laid and lay_out(indices_a, keep_a, begin, end, table):
            return 1
        for q in range(p, last):
            first, stop = starts_b[q], ends_b[q]
            if laid and stop - first <= seek_cost(degree, stop - first):
                used = look_up(begin, end, table, indices_b, keep_b, first, stop, hits_a, hits_b, used)
                if used < 0:
                    return 1
            elif degree <= stop - first:
                used = seek(indices_a, keep_a, begin, end, indices_b, keep_b, first, stop, hits_a, hits_b, used)
            else:
                used = seek(indices_b, keep_b, first, stop, indices_a, keep_a, begin, end, hits_b, hits_a, used)
            ends[q] = used
        p = last
    return 0


@loop
def count_kept(low, high, keep, starts, ends, counts):
    """counts[p] = how many entries of row p count."""
    for p in range(low, high):
        count = 0
        for entry in range(starts[p], ends[p]):
            count += keep[entry]
        counts[p] = count
    return 0


@loop
def write_both(low, high, indices, hits_a, hits_b, pointers, members, entries, other_entries):
    """The members of both rows of pairs low … high - 1, whose hits these are."""
    base = pointers[low]
    for m in range(pointers[high] - base):
        members[base + m] = indices[hits_a[m]]
        entries[base + m] = hits_a[m]
        other_entries[base + m] = hits_b[m]
    return 0


@loop
def write_rest(low, high, indices, keep, starts, stops, hits, ends, pointers, members, entries):
    """What row p has and the other row of the pair has not: all that count but the hits, in order."""
    hit = 0
    for p in range(low, high):
        m, entry = pointers[p], starts[p]
        while True:
            more = hit < ends[p]
            stop = hits[hit] if more else stops[p]
            for k in range(entry, stop):
                if keep is not None and not keep[k]:
                    continue
                members[m] = indices[k]
                entries[m] = k
                m += 1
            if not more:
                break
            entry = stop + 1
            hit += 1
    return 0
