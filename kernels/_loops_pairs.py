"""Loops over pairs of rows of CSRs: where they meet, and what only one of them has. They release the GIL.

The longer row of a pair is its hub. There are two ways to where the two meet:

- lay the hub out: ``table[column]`` = the number of its entry, and look every column of the shorter row up. Pairs are
  walked in an order that has those of one hub side by side, so a hub is read once, and a pair costs its other row. What
  earlier hubs left in the table does no harm and is never cleared: its number tells which row an entry is of. Numbers
  begin at 1, and those of a second graph behind the first one's.
- seek: a binary search in the hub for each column of the shorter row, where a hub has little company.
"""

from __future__ import annotations

from gnnkit.kernels._jit import loop, part

SEEK = 24  # what a search costs, in columns laid out or looked up
RUNS = 16  # entries between two hits from which on they are copied run by run


@loop
def open_pairs(indptr_a, nodes_a, num_a, indptr_b, nodes_b, num_b, same, starts_a, ends_a, starts_b, ends_b, hubs):
    """Where the rows of each pair begin and end, and the number of its hub; 1 if they lie outside the entries."""
    rows_a, rows_b = len(indptr_a) - 1, len(indptr_b) - 1
    for p in range(len(hubs)):
        i, j = nodes_a[p], nodes_b[p]
        if i < 0 or i >= rows_a or j < 0 or j >= rows_b:
            return 1
        low_a, high_a, low_b, high_b = indptr_a[i], indptr_a[i + 1], indptr_b[j], indptr_b[j + 1]
        if low_a < 0 or high_a < low_a or high_a > num_a or low_b < 0 or high_b < low_b or high_b > num_b:
            return 1
        starts_a[p], ends_a[p], starts_b[p], ends_b[p] = low_a, high_a, low_b, high_b
        hubs[p] = i if high_a - low_a >= high_b - low_b else j + (0 if same else rows_a)
    return 0


@part
def lay_out(indices, keep, low, end, base, table):
    """table[column] = entry + base for the entries that count; 1 if a column lies outside."""
    for entry in range(low, end):
        column = indices[entry]
        if column < 0 or column >= len(table):
            return 1
        if keep is not None and not keep[entry]:
            continue
        table[column] = entry + base
    return 0


@part
def look_up(low, end, base, table, indices, keep, first, last, hits, hits_row, used):
    """The entries first … last - 1 of a row whose columns are laid out for low … end - 1; -1 where one lies outside."""
    for entry in range(first, last):
        column = indices[entry]
        if column < 0 or column >= len(table):
            return -1
        laid = table[column]
        found = (laid >= low + base) & (laid < end + base)
        if keep is not None:
            found &= keep[entry]
        hits[used], hits_row[used] = laid - base, entry  # no branch: nobody can guess it
        used += found
    return used


@part
def seek(low, end, long, keep_long, indices, keep, first, last, hits, hits_row, used):
    """The entries first … last - 1 of a row whose columns a binary search finds among entries low … end - 1."""
    for entry in range(first, last):
        column = indices[entry]
        count = end - low
        while count > 0:
            half = count >> 1
            below = long[low + half] < column
            low = low + half + 1 if below else low
            count = count - half - 1 if below else half
        if low == end:
            break
        found = long[low] == column
        if keep is not None:
            found &= keep[entry]
        if keep_long is not None:
            found &= keep_long[low]
        hits[used], hits_row[used] = low, entry
        used += found
    return used


@loop
def meet(
    low,
    high,
    order,
    hubs,
    indices_a,
    keep_a,
    starts_a,
    ends_a,
    indices_b,
    keep_b,
    starts_b,
    ends_b,
    base_b,
    table,
    hits_a,
    hits_b,
    counts,
):
    """The entries at which the rows of pairs order[low … high - 1] meet, pair after pair; counts[p] = how many.

    ``base_b`` is the number of b's entry 0; hits have room for one more than there can be. Returns 1 if a column lies
    outside the table.
    """
    used, k = 0, low
    while k < high:
        hub = hubs[order[k]]
        degree, company, last = 0, 0, k
        while last < high and hubs[order[last]] == hub:
            p = order[last]
            width_a, width_b = ends_a[p] - starts_a[p], ends_b[p] - starts_b[p]
            degree = max(width_a, width_b)
            company += min(width_a, width_b)
            last += 1
        laid = degree + company < SEEK * company
        fresh = laid
        for place in range(k, last):
            p, before = order[place], used
            flip = ends_b[p] - starts_b[p] > ends_a[p] - starts_a[p]
            long, keep_long = (indices_b, keep_b) if flip else (indices_a, keep_a)
            short, keep_short = (indices_a, keep_a) if flip else (indices_b, keep_b)
            hits_long, hits_short = (hits_b, hits_a) if flip else (hits_a, hits_b)
            begin, end = (starts_b[p], ends_b[p]) if flip else (starts_a[p], ends_a[p])
            first, stop = (starts_a[p], ends_a[p]) if flip else (starts_b[p], ends_b[p])
            base = base_b if flip else 1
            if fresh:
                if lay_out(long, keep_long, begin, end, base, table):
                    return 1
                fresh = False
            if laid:
                used = look_up(begin, end, base, table, short, keep_short, first, stop, hits_long, hits_short, used)
                if used < 0:
                    return 1
            else:
                used = seek(begin, end, long, keep_long, short, keep_short, first, stop, hits_long, hits_short, used)
            counts[p] = used - before
        k = last
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
def write_both(low, high, order, indices, hits_a, hits_b, pointers, members, entries, other_entries):
    """The members of both rows of pairs order[low … high - 1], whose hits these are."""
    hit = 0
    for place in range(low, high):
        p = order[place]
        for m in range(pointers[p], pointers[p + 1]):
            members[m] = indices[hits_a[hit]]
            entries[m] = hits_a[hit]
            other_entries[m] = hits_b[hit]
            hit += 1
    return 0


@loop
def write_rest(low, high, order, indices, keep, starts, ends, hits, counts, pointers, members, entries, marks):
    """What row p has and the other row of the pair has not: all that count but the hits, in order.

    ``marks`` has room for the longest row; no pair has been marked in it.
    """
    hit = 0
    for place in range(low, high):
        p = order[place]
        begin, m, most, after = starts[p], pointers[p], pointers[p + 1], hit + counts[p]
        if keep is None and ends[p] - begin >= RUNS * (counts[p] + 1):
            for h in range(hit, after + 1):
                stop = hits[h] if h < after else ends[p]
                for k in range(stop - begin):
                    members[m + k] = indices[begin + k]
                    entries[m + k] = begin + k
                m += stop - begin
                begin = stop + 1
        else:
            for h in range(hit, after):
                marks[hits[h] - begin] = p + 1
            entry = begin
            while m < most:  # no branch for each entry: nobody can guess it
                members[m] = indices[entry]
                entries[m] = entry
                counted = marks[entry - begin] != p + 1
                if keep is not None:
                    counted &= keep[entry]
                m += counted
                entry += 1
        hit = after
    return 0
