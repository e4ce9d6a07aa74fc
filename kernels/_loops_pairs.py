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
from gnnkit.kernels._vector import prefetch_item

SEEK = 64  # what a search costs, in columns laid out or looked up
AHEAD = 16  # pairs; how far ahead their rows are asked for
LINE = 16  # indices of 32 bits in a line of the cache
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


@loop
def falls(low, high, indptr, indices):
    """1 if a row does not lie inside the entries, or its indices are not in [0, 2^31) or do not increase."""
    first = last = indptr[low]
    between = 0  # how often an entry is not above the one before it, which is another row's
    for r in range(low, high):
        begin, end = indptr[r], indptr[r + 1]
        if begin < 0 or end < begin or end > len(indices):
            return 1
        last = end
        if begin < end:
            if indices[begin] < 0 or indices[end - 1] >= 2**31:
                return 1
            if begin > first:
                between += indices[begin] <= indices[begin - 1]
    part = indices[first:last]
    for k in range(1, len(part)):
        between -= part[k] <= part[k - 1]  # all rows at once, many entries at a time
    return int(between != 0)


@part
def lay_out(row, keep, number, table):
    """table[column] = the number of its entry, from ``number`` on, where it counts; 1 if a column lies outside."""
    for k in range(len(row)):
        column = row[k]
        if column < 0 or column >= len(table):
            return 1
        if keep is not None and not keep[k]:
            continue
        table[column] = number + k
    return 0


@part
def look_up(number, degree, table, row, keep, start_hub, start_row, hits_hub, hits_row):
    """The entries in a row, and in the hub that is laid out, of common columns: how many; -1 if one lies outside."""
    used = 0
    for k in range(len(row)):
        column = row[k]
        if column < 0 or column >= len(table):
            return -1
        place = table[column] - number
        found = (place >= 0) & (place < degree)
        if keep is not None:
            found &= keep[k]
        hits_hub[used], hits_row[used] = start_hub + place, start_row + k  # no branch: nobody can guess it
        used += found
    return used


@part
def seek(hub, keep_hub, row, keep, start_hub, start_row, hits_hub, hits_row):
    """As `look_up`, by a binary search in the hub for each column of the row."""
    used = low = 0
    for k in range(len(row)):
        column, count = row[k], len(hub) - low
        while count > 0:
            half = count >> 1
            below = hub[low + half] < column
            low = low + half + 1 if below else low
            count = count - half - 1 if below else half
        if low == len(hub):
            break
        found = hub[low] == column
        if keep is not None:
            found &= keep[k]
        if keep_hub is not None:
            found &= keep_hub[low]
        hits_hub[used], hits_row[used] = start_hub + low, start_row + k
        used += found
    return used


@part
def cut(values, low, high):
    """A piece of a vector, whose indices are then known not to be negative; None of None."""
    return None if values is None else values[low:high]


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
    number_b,
    table,
    room,
    hits_a,
    hits_b,
    begins,
    counts,
):
    """Where the rows low … high - 1 meet: the entries of both, hits begins[p] … of counts[p] for pair p = order[k].

    Rows and hubs come in this order, pair after pair. ``number_b`` is the number of b's entry 0, and room[k] says where
    there is room for the hits of the pair at k and those after it, and one more. Returns 1 if a column lies outside the
    table.
    """
    used, k = room[low] + low, low
    while k < high:
        degree, company, last = 0, 0, k
        while last < high and hubs[last] == hubs[k]:
            width_a, width_b = ends_a[last] - starts_a[last], ends_b[last] - starts_b[last]
            degree = max(width_a, width_b)
            company += min(width_a, width_b)
            last += 1
        laid = degree + company < SEEK * company
        fresh = laid
        for q in range(k, last):
            later = min(q + AHEAD, high - 1)
            for line in range(2):
                prefetch_item(indices_a, starts_a[later] + LINE * line)
                prefetch_item(indices_b, starts_b[later] + LINE * line)
            row_a, row_b = indices_a[starts_a[q] : ends_a[q]], indices_b[starts_b[q] : ends_b[q]]
            mask_a, mask_b = cut(keep_a, starts_a[q], ends_a[q]), cut(keep_b, starts_b[q], ends_b[q])
            flip = len(row_b) > len(row_a)
            long, mask_long = (row_b, mask_b) if flip else (row_a, mask_a)
            short, mask = (row_a, mask_a) if flip else (row_b, mask_b)
            out_a, out_b = hits_a[used:], hits_b[used:]
            out_long, out = (out_b, out_a) if flip else (out_a, out_b)
            start_long, start = (starts_b[q], starts_a[q]) if flip else (starts_a[q], starts_b[q])
            number = number_b + start_long if flip else 1 + start_long
            if fresh:
                if lay_out(long, mask_long, number, table):
                    return 1
                fresh = False
            if laid:
                found = look_up(number, degree, table, short, mask, start_long, start, out_long, out)
                if found < 0:
                    return 1
            else:
                found = seek(long, mask_long, short, mask, start_long, start, out_long, out)
            begins[order[q]], counts[order[q]] = used, found
            used += found
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
def write_both(low, high, indices, starts_a, begins, hits_a, hits_b, pointers, members, entries, other_entries):
    """The members of both rows of pairs low … high - 1."""
    for p in range(low, high):
        m, hit, later = pointers[p], begins[p], min(p + AHEAD, high - 1)
        prefetch_item(hits_a, begins[later])
        prefetch_item(hits_b, begins[later])
        prefetch_item(indices, starts_a[later])
        for k in range(pointers[p + 1] - m):
            members[m + k] = indices[hits_a[hit + k]]
            entries[m + k] = hits_a[hit + k]
            other_entries[m + k] = hits_b[hit + k]
    return 0


@loop
def write_in_order(low, high, indices, starts_a, begins, hits_a, hits_b, pointers, members, entries, other_entries):
    """As `write_both`, where the hits of pairs low … high - 1 stand one after the other."""
    first = begins[low] - pointers[low]
    for m in range(pointers[low], pointers[high]):
        members[m] = indices[hits_a[first + m]]
        entries[m] = hits_a[first + m]
        other_entries[m] = hits_b[first + m]
    return 0


@part
def copy(row, first, members, entries):
    """A run of a row, whose entries begin at ``first``."""
    for k in range(len(row)):
        members[k] = row[k]
        entries[k] = first + k


@loop
def write_rest(low, high, indices, keep, starts, ends, begins, counts, hits, pointers, members, entries, marks):
    """What row p has and the other row of the pair has not: all that count but the hits, in order.

    ``marks`` has room for the longest row; no pair has been marked in it.
    """
    for p in range(low, high):
        start, count, later = starts[p], counts[p], min(p + AHEAD, high - 1)
        prefetch_item(hits, begins[later])
        prefetch_item(indices, starts[later])
        row, mask, found = indices[start : ends[p]], cut(keep, start, ends[p]), hits[begins[p] : begins[p] + count]
        out, out_entries = members[pointers[p] : pointers[p + 1]], entries[pointers[p] : pointers[p + 1]]
        if keep is None and len(row) >= RUNS * count:
            begin = m = 0
            for h in range(count + 1):
                stop = found[h] - start if h < count else len(row)
                copy(row[begin:stop], start + begin, out[m:], out_entries[m:])
                m += stop - begin
                begin = stop + 1
        else:
            for h in range(count):
                marks[found[h] - start] = p + 1
            m = 0
            for k in range(len(row)):
                if m == len(out):
                    break
                out[m] = row[k]
                out_entries[m] = start + k
                counted = marks[k] != p + 1
                if keep is not None:
                    counted &= mask[k]
                m += counted  # no branch: nobody can guess it
    return 0
