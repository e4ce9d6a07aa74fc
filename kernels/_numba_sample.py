"""CPU backend of sampling: one thread a call, which releases the GIL; a loader samples a batch a thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels import _check, _loops_sample
from gnnkit.kernels._arrays import array

SLACK = _loops_sample.FEW  # places at the end of entries that loops write over and nobody reads


def sample_neighbors(
    indices: Tensor, starts: Tensor, ends: Tensor, fanout: int, key: int, replace: bool, cumulative: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """See `gnnkit.kernels._torch_sample.sample_neighbors`."""
    begin, end, columns = array(starts), array(ends), array(indices)
    replace = replace and fanout >= 0
    indptr = torch.empty(len(starts) + 1, dtype=torch.int64)
    pointers = indptr.numpy()
    if _loops_sample.count_picks(begin, end, len(columns), fanout, replace, pointers):
        _check.ranges(starts, ends, len(columns))
        raise AssertionError("a loop refused ranges that the checks accept")
    num_picks = int(pointers[-1])
    entries, neighbors = torch.empty(num_picks + SLACK, dtype=torch.int64), indices.new_empty(num_picks)
    out = entries.numpy(), neighbors.numpy()
    key64 = np.uint64(key)
    if cumulative is None:
        room = scratch(fanout, replace, num_picks)
        _loops_sample.pick_uniform(begin, end, fanout, key64, replace, pointers, columns, room, *out)
    else:
        taken = np.empty(max(0 if replace else min(fanout, num_picks), 1), dtype=np.int64)
        _loops_sample.pick_weighted(begin, end, key64, replace, pointers, columns, array(cumulative), taken, *out)
    return indptr, entries[:num_picks], neighbors


def scratch(fanout: int, replace: bool, num_picks: int) -> tuple[Any, Any, Any]:
    """Room for a block of rows, and for a row of many draws, which has at most ``num_picks``."""
    most = 0 if replace or fanout <= _loops_sample.FEW else min(fanout, num_picks)
    slots = np.full(1 << (2 * most).bit_length() if most else 1, -1)
    places = np.empty((_loops_sample.FEW + 3, _loops_sample.ROWS), dtype=np.int32)
    return slots, places, np.empty(_loops_sample.ROWS, dtype=np.uint64)


def relabel(local: Tensor, count: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `gnnkit.kernels._torch_sample.relabel`."""
    labels, new, found = torch.empty(ids.numel(), dtype=torch.int64), torch.empty_like(ids), np.zeros(1, np.int64)
    if _loops_sample.relabel(local.numpy(), count, array(ids), labels.numpy(), new.numpy(), found):
        _check.ids("ids", ids, local.numel())
        _check.labels(local, count, ids)
        raise AssertionError("a loop refused numbers that the checks accept")
    return labels, new[: int(found[0])].clone()
