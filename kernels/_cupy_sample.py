"""GPU backend: drawing neighbours and numbering nodes (``sample.cu``, ``relabel.cu``).

Each call waits for the device once, since how large its result is depends on the data. So wrong ids and ranges are
`ValueError` here as on the CPU: the same wait tells of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._by_hops import Batch, by_hops
from gnnkit.kernels._launch import BLOCK, launch
from gnnkit.kernels._walk import LANES, plain

NAMES = {torch.int32: "int", torch.int64: "long long"}  # of ids in the sources
WRONG = 32  # relabel.cu marks what is wrong by 1 << WRONG


def sample_neighbors(
    indices: Tensor, starts: Tensor, ends: Tensor, fanout: int, key: int, replace: bool, cumulative: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """See `gnnkit.kernels._torch.sample_neighbors`; tables in pinned host memory are read by the device."""
    for name, table in (("indices", indices), ("cumulative", cumulative)):
        if table is not None and table.device != starts.device and not table.is_contiguous():
            raise ValueError(f"{name}: expected contiguous pinned memory (got strides {table.stride()})")
    indices, starts, ends, cumulative = plain(indices), plain(starts), plain(ends), plain(cumulative)
    degree = ends - starts
    if fanout < 0:
        num_draws = degree
    elif replace:
        num_draws = fanout * (degree > 0)
    else:
        num_draws = degree.clamp(max=fanout)
    indptr = torch.cat([num_draws.new_zeros(1), num_draws.cumsum(0)])
    wrong = (starts < 0) | (ends < starts) | (ends > indices.numel()) | (degree >= 2**31)
    count, any_wrong = torch.stack([indptr[-1], wrong.any()]).tolist()
    if any_wrong:
        _check.ranges(starts, ends, indices.numel())
        raise AssertionError("ranges were refused that the checks accept")
    entries = indptr.new_empty(count)
    neighbors = torch.empty(count, dtype=indices.dtype, device=starts.device)
    if not count:
        return indptr, entries, neighbors

    name, rows = NAMES[indices.dtype], len(starts)
    first = indices, starts, ends, indptr, rows, key - (key >> 63 << 64), entries, neighbors  # 64 bits with a sign
    if fanout < 0 or replace:
        draws = int(fanout >= 0)
        launch("sample.cu", f"sample_each<{name}>", _blocks(count), (*first, count, draws, cumulative))
    elif cumulative is None:
        span = min(LANES, 1 << max(fanout - 1, 0).bit_length())
        launch("sample.cu", f"sample_distinct<{name}>", _blocks(rows * span), (*first, fanout, span))
    else:
        args = *first, fanout, cumulative, torch.empty_like(entries)
        launch("sample.cu", f"sample_successive<{name}>", _blocks(rows), args)
    return indptr, entries, neighbors


def relabel(local: Tensor, count: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `gnnkit.kernels._torch.relabel`; at most 2^31 - 1 ids, whose positions ``local`` holds meanwhile."""
    local, ids = local.detach(), plain(ids)
    if not len(ids):
        return ids.long(), ids
    name, num_ids = NAMES[ids.dtype], len(ids)
    marks = ids.new_empty(num_ids, dtype=torch.int64)
    launch("relabel.cu", f"claim<{name}>", _blocks(num_ids), (ids, num_ids, local, len(local)))
    launch("relabel.cu", f"mark<{name}>", _blocks(num_ids), (ids, num_ids, local, len(local), count, marks))
    ranks = marks.cumsum(0)
    num_new = int(ranks[-1])
    if num_new >> WRONG:
        local.masked_fill_(local < 0, -1)
        _check.ids("ids", ids, len(local))
        _check.labels(local, count, ids)
        raise ValueError("local: expected -1 for ids that have no number (got another negative number)")
    new, labels = ids.new_empty(num_new), torch.empty_like(marks)
    launch("relabel.cu", f"label<{name}>", _blocks(num_ids), (ids, num_ids, local, count, ranks, labels, new))
    launch("relabel.cu", f"settle<{name}>", _blocks(num_new), (new, num_new, count, local))
    return labels, new


def sample_hops(
    indptr: Tensor,
    indices: Tensor,
    seeds: Tensor,
    fanouts: list[int],
    keys: list[int],
    replace: bool,
    cumulative: Tensor | None,
    local: Tensor,
) -> Batch:
    """See `gnnkit.kernels._torch.sample_hops`; a hop waits for the device twice."""
    args = indptr, indices, seeds, fanouts, keys, replace, cumulative, local
    return by_hops(sample_neighbors, relabel, *args)


def _blocks(threads: int) -> tuple[int, int]:
    return -(-threads // BLOCK), 1
