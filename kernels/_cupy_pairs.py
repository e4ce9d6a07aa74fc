"""GPU backend of `common_neighbors` (``common_neighbors.cu``): each set is counted, then written.

A set waits for the device once, since how large it is depends on the data; so wrong pairs are `ValueError` here too.
"""

from __future__ import annotations

import torch

from gnnkit.kernels._cupy_sample import NAMES
from gnnkit.kernels._launch import BLOCK, Argument, launch
from gnnkit.kernels._pair_sets import PairSets, Rows, Sets, pointers
from gnnkit.kernels._walk import LANES, plain


def common_neighbors(a: Rows, b: Rows, sets: tuple[str, ...]) -> PairSets:
    """See `gnnkit.kernels._torch_pairs.common_neighbors`."""
    i, j = ((plain(rows.indices), plain(rows.keep), *rows.ends(f"pairs[{end}]")) for end, rows in enumerate((a, b)))
    return PairSets(
        _members(a, (*i, *j), both=True) if "both" in sets else None,
        _members(a, (*i, *j), both=False) if "only_i" in sets else None,
        _members(b, (*j, *i), both=False) if "only_j" in sets else None,
    )


def _members(rows: Rows, args: tuple[Argument, ...], *, both: bool) -> Sets:
    """The members of both rows, or of the first row alone."""
    num_pairs, name = len(rows.nodes), NAMES[rows.indices.dtype]
    grid = -(-num_pairs * LANES // BLOCK), 1
    counts = rows.nodes.new_empty(num_pairs, dtype=torch.int64)
    args = *args, num_pairs, int(both)
    launch("common_neighbors.cu", f"count_members<{name}>", grid, (*args, counts))
    indptr = pointers(counts)
    num_members = int(indptr[-1])
    members, entries = rows.indices.new_empty(num_members), counts.new_empty(num_members)
    others = entries.new_empty(num_members) if both else None
    if num_members:
        launch("common_neighbors.cu", f"write_members<{name}>", grid, (*args, indptr, members, entries, others))
    return Sets(indptr, members, entries, others)
