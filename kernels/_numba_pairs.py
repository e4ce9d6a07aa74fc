"""CPU backend of `common_neighbors`: where rows meet is found once, and what each set holds is written from that."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels import _loops_pairs
from gnnkit.kernels._arrays import array, empty
from gnnkit.kernels._pair_sets import PairSets, Rows, Sets, pointers
from gnnkit.kernels._threads import edge_bounds, run

WIDTH = 4  # scalar operations an entry
LONG = 64  # entries of a hub, on average, from which on it pays to walk the pairs hub by hub


def common_neighbors(a: Rows, b: Rows, sets: tuple[str, ...]) -> PairSets:
    """See `gnnkit.kernels._torch_pairs.common_neighbors`."""
    meeting = _Meeting(a, b)
    return PairSets(
        meeting.both() if "both" in sets else None,
        meeting.rest(0) if "only_i" in sets else None,
        meeting.rest(1) if "only_j" in sets else None,
    )


def rows_increase(indptr: Tensor, indices: Tensor) -> bool:
    """See `gnnkit.kernels._torch_pairs.rows_increase`."""
    begins, columns = array(indptr), array(indices)
    if begins[0] != 0 or begins[-1] != len(columns):
        return False
    return not run(_loops_pairs.falls, edge_bounds(begins, len(columns), 1), begins, columns)


class _Meeting:
    """The entries at which the rows of each pair meet, by parts of the pairs, and the sets made of them."""

    def __init__(self, a: Rows, b: Rows) -> None:
        self.rows = a, b
        num_pairs = len(a.nodes)
        same = a.indices is b.indices and a.indptr is b.indptr and a.keep is b.keep
        # [P] each: where the rows of i and of j begin and end, and the hub of a pair
        starts_a, ends_a, starts_b, ends_b, hubs = np.empty((5, num_pairs), dtype=np.int64)
        given = [(array(r.indptr.long()), array(r.nodes.long()), r.indices.numel()) for r in (a, b)]
        if _loops_pairs.open_pairs(*given[0], *given[1], same, starts_a, ends_a, starts_b, ends_b, hubs):
            for k, rows in enumerate((a, b)):
                rows.ends(f"pairs[{k}]")
            raise AssertionError("a loop refused pairs that the checks accept")
        masks = [r.keep for r in (a, b)]
        if (masks[0] is None) != (masks[1] is None):  # the loops know masks of both graphs or of none
            masks = [torch.ones_like(r.indices, dtype=torch.bool) if r.keep is None else r.keep for r in (a, b)]
        self.arrays = [
            (array(a.indices), array(masks[0]), starts_a, ends_a),
            (array(b.indices), array(masks[1]), starts_b, ends_b),
        ]
        degrees = ends_a - starts_a, ends_b - starts_b
        work = degrees[0] + degrees[1]
        self.bounds = bounds = _bounds(work)
        # numbers of entries, from 1 on: 32 bits hold them almost always
        number_b = 1 if same else 1 + a.indices.numel()
        kind = np.int32 if number_b + b.indices.numel() < 2**31 else np.int64
        short = np.minimum(*degrees)
        order, walked = np.arange(num_pairs), self.arrays
        self.in_order = int(work.sum() - short.sum()) <= LONG * num_pairs
        if not self.in_order:
            order = hubs.argsort()
            # in the order of the walk, so that it reads them one after the other
            walked = [(columns, mask, starts[order], ends[order]) for columns, mask, starts, ends in self.arrays]
            hubs, short, bounds = hubs[order], short[order], _bounds(work[order])
        room = _pointers(short)
        # room for the hits of each pair and one more, which a loop writes over; what is not written to takes no memory
        self.hits = [np.empty(int(room[-1]) + num_pairs + 1, dtype=kind) for _ in "ab"]
        self.begins, self.counts = np.empty((2, num_pairs), dtype=np.int64)
        size = max(_columns(indices, ends) for indices, _, _, ends in self.arrays)
        tables: list[Any] = []  # no more than threads; each may hold what other parts left

        def meet(low: int, high: int) -> int:
            try:
                table = tables.pop()
            except IndexError:
                table = np.zeros(size, kind)
            args = *walked[0], *walked[1], number_b, table, room, *self.hits, self.begins, self.counts
            status: int = _loops_pairs.meet(low, high, order, hubs, *args)
            tables.append(table)
            return status

        if run(meet, bounds):
            raise ValueError("indices: expected strictly increasing ones within each row (got rows that do not)")

    def both(self) -> Sets:
        """The members of both rows."""
        indptr = pointers(torch.from_numpy(self.counts))
        members, entries = self._room(0, indptr)
        others = empty(entries, len(entries))
        indices, _, starts, _ = self.arrays[0]
        out = indptr.numpy(), members.numpy(), entries.numpy(), others.numpy()
        write = _loops_pairs.write_in_order if self.in_order else _loops_pairs.write_both
        run(write, self.bounds, indices, starts, self.begins, *self.hits, *out)
        return Sets(indptr, members, entries, others)

    def rest(self, end: int) -> Sets:
        """The members of one end's row alone."""
        arrays = self.arrays[end]
        degrees = arrays[3] - arrays[2]
        longest = int(degrees.max(initial=0))
        if arrays[1] is not None:
            run(_loops_pairs.count_kept, self.bounds, *arrays[1:], degrees)
        indptr = pointers(torch.from_numpy(degrees - self.counts))
        members, entries = self._room(end, indptr)
        args = *arrays, self.begins, self.counts, self.hits[end], indptr.numpy(), members.numpy(), entries.numpy()
        kind = np.int32 if len(self.counts) < 2**31 - 1 else np.int64

        def write(low: int, high: int) -> int:
            status: int = _loops_pairs.write_rest(low, high, *args, np.zeros(longest, kind))
            return status

        run(write, self.bounds)
        return Sets(indptr, members, entries, None)

    def _room(self, end: int, indptr: Tensor) -> tuple[Tensor, Tensor]:
        num_members = int(indptr[-1])
        return empty(self.rows[end].indices, num_members), empty(indptr, num_members)


def _pointers(counts: Any) -> Any:
    """``[P]`` counts as ``[P + 1]`` pointers."""
    out = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=out[1:])
    return out


def _bounds(work: Any) -> list[int]:
    """Cut pairs into parts of about equal work."""
    before = _pointers(work)
    return edge_bounds(before, int(before[-1]), WIDTH)


def _columns(indices: Any, ends: Any) -> int:
    """A bound of the columns of rows that are in order: 1 + the largest, or of what stands where each row ends."""
    if not len(indices) or not len(ends):
        return 0
    # reading all in order costs less than reading some here and there
    return int((indices if len(indices) < 16 * len(ends) else indices[np.maximum(ends - 1, 0)]).max()) + 1
