"""Loops that read rows of a file by the C library's pread. They release the GIL, so many threads may wait for the disk.

A loop serves rows low to high, and returns 0, or 1 as soon as the file does not give what it should. Memory is passed
by address, and whoever calls keeps it.
"""

from __future__ import annotations

from gnnkit.kernels._jit import c_function, loop, part

pread = c_function("pread", "intp(int32, intp, intp, int64)")
memcpy = c_function("memcpy", "intp(intp, intp, intp)")


@loop
def read_rows(low, high, fd, begin, row_bytes, ids, out):
    """out[k] = row ids[k], the rows standing one after the other from ``begin``."""
    for k in range(low, high):
        place, target = begin + ids[k] * row_bytes, out + k * row_bytes
        got = 0
        while got < row_bytes:
            count = pread(fd, target + got, row_bytes - got, place + got)
            if count <= 0:
                return 1
            got += count
    return 0


@part
def first_page(k, ids, begin, row_bytes, page):
    return (begin + ids[k] * row_bytes) // page


@part
def last_page(k, ids, begin, row_bytes, page):
    return (begin + (ids[k] + 1) * row_bytes - 1) // page


@loop
def read_pages(low, high, fd, begin, row_bytes, page, ids, order, out, buffer, room):
    """out[order[k]] = row ids[k], by whole pages, each read once; ids ascend.

    ``buffer`` has room for so many pages, at least those of a row, and begins where a page may. Rows that share a page
    with the part's last row belong to the part, and those that share one with the part before do not.
    """
    rows = begin, row_bytes, page
    while 0 < low < high and first_page(low, ids, *rows) <= last_page(low - 1, ids, *rows):
        low += 1
    while low < high < len(ids) and first_page(high, ids, *rows) <= last_page(high - 1, ids, *rows):
        high += 1
    base = kept = -1  # the first and the last page in the buffer
    got = 0  # bytes in it
    k = low
    while k < high:
        first, last = first_page(k, ids, *rows), last_page(k, ids, *rows)
        stop = k + 1  # one read serves the rows to here: their pages follow each other and have room
        while stop < high and first_page(stop, ids, *rows) <= last + 1 and last_page(stop, ids, *rows) < first + room:
            last = last_page(stop, ids, *rows)
            stop += 1
        if first == kept:  # where the room ended within a page
            got = min(got - (kept - base) * page, page)
            if kept > base:
                memcpy(buffer, buffer + (kept - base) * page, page)
        else:
            got = 0
        base, kept = first, last
        while got < (last - first + 1) * page:
            count = pread(fd, buffer + got, (last - first + 1) * page - got, first * page + got)
            if count <= 0:  # the file's last page need not be whole
                break
            got += count
        if got < begin + (ids[stop - 1] + 1) * row_bytes - first * page:
            return 1
        for i in range(k, stop):
            memcpy(out + order[i] * row_bytes, buffer + (begin + ids[i] * row_bytes - first * page), row_bytes)
        k = stop
    return 0
