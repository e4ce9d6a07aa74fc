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


def common_neighbors(a: Rows, b: Rows, sets: tuple[str, ...]) -> PairSets:
    """See `gnnkit.kernels._torch_pairs.common_neighbors`."""
    meeting = _Meeting(a, b)
    return PairSets(
        meeting.both() if "both" in sets else None,
        meeting.rest(0) if "only_i" in sets else None,
        meeting.rest(1) if "only_j" in sets else None,
    )


class _Meeting:
    """The entries at which the rows of each pair meet, by parts of the pairs, and the sets made of them."""

    def __init__(self, a: Rows, b: Rows) -> None:
        self.rows = a, b
        self.arrays = tuple((array(r.indices), array(r.keep), array(r.starts), array(r.ends)) for r in self.rows)
        degrees = [r.ends - r.starts for r in self.rows]
        work = pointers(degrees[0] + degrees[1])
        self.bounds = edge_bounds(work.numpy(), int(work[-1]), WIDTH)
        room = pointers(torch.minimum(*degrees)).tolist() if len(self.bounds) > 2 else None
        # an entry and one more: 32 bits hold it almost always
        kind = np.int32 if max(len(r.indices) for r in self.rows) < 2**31 - 1 else np.int64
        size = max(_columns(r) for r in self.rows)
        self.ends = torch.empty(len(work) - 1, dtype=torch.int64)  # [P]: the hits of its part up to a pair
        self.hits: dict[int, tuple[Any, Any]] = {}  # by the first pair of a part
        tables: list[Any] = []  # no more than threads; each may hold what rows of other parts left

        def meet(low: int, high: int) -> int:
            most = 1 + (room[high] - room[low] if room else int(torch.minimum(*degrees).sum()))
            self.hits[low] = np.empty(most, kind), np.empty(most, kind)  # what is not written to takes no memory
            try:
                table = tables.pop()
            except IndexError:
                table = np.zeros(size, kind)
            status: int = _loops_pairs.meet(
                low, high, *self.arrays[0], *self.arrays[1], table, *self.hits[low], self.ends.numpy()
            )
            tables.append(table)
            return status

        if run(meet, self.bounds):
            raise ValueError("indices: expected strictly increasing ones within each row (got rows that do not)")

    def both(self) -> Sets:
        """The members of both rows."""
        indptr = pointers(self._num_hits())
        members, entries = self._room(0, indptr)
        others = empty(entries, len(entries))
        out = indptr.numpy(), members.numpy(), entries.numpy(), others.numpy()

        def write(low: int, high: int) -> int:
            status: int = _loops_pairs.write_both(low, high, self.arrays[0][0], *self.hits[low], *out)
            return status

        run(write, self.bounds)
        return Sets(indptr, members, entries, others)

    def rest(self, end: int) -> Sets:
        """The members of one end's row alone."""
        rows, arrays = self.rows[end], self.arrays[end]
        counts = rows.ends - rows.starts
        if rows.keep is not None:
            run(_loops_pairs.count_kept, self.bounds, *arrays[1:], counts.numpy())
        indptr = pointers(counts - self._num_hits())
        members, entries = self._room(end, indptr)
        out = indptr.numpy(), members.numpy(), entries.numpy()

        def write(low: int, high: int) -> int:
            hits, ends = self.hits[low][end], self.ends.numpy()
            status: int = _loops_pairs.write_rest(low, high, *arrays, hits, ends, *out)
            return status

        run(write, self.bounds)
        return Sets(indptr, members, entries, None)

    def _num_hits(self) -> Tensor:
        """``[P]``: how many members both rows have."""
        counts = self.ends.diff(prepend=self.ends.new_zeros(1))
        first = [low for low in self.hits if low]
        counts[first] = self.ends[first]  # a part counts from 0 on
        return counts

    def _room(self, end: int, indptr: Tensor) -> tuple[Tensor, Tensor]:
        num_members = int(indptr[-1])
        return empty(self.rows[end].indices, num_members), empty(indptr, num_members)


def _columns(rows: Rows) -> int:
    """A bound of the columns of rows that are in order: 1 + the largest last one."""
    last = rows.ends[rows.ends > rows.starts] - 1
    return int(rows.indices[last].max()) + 1 if len(last) else 0
