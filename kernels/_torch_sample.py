"""The reference of sampling: counter-based draws, the entries they name, and local numbers of nodes.

Every draw is a hash of (key, row, number of the draw), so it depends on nothing else, and every backend makes the same
bits: integers modulo 2^64, and float64 operations in one order, never fused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._by_hops import Batch, by_hops
from gnnkit.kernels._mix import GOLDEN, mix, shift


def sample_neighbors(
    indices: Tensor, starts: Tensor, ends: Tensor, fanout: int, key: int, replace: bool, cumulative: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw entries of each row ``starts[k]..ends[k]``; ``key`` lies in [0, 2^64)."""
    _check.ranges(starts, ends, indices.numel())
    degree = ends - starts
    whole = torch.full_like(degree, fanout < 0, dtype=torch.bool) if replace or fanout < 0 else degree <= fanout
    # [K]: how many entries a row gives
    num_picks = torch.where(whole, degree, fanout * (degree > 0))
    indptr = torch.cat([num_picks.new_zeros(1), num_picks.cumsum(0)])
    row = torch.arange(len(starts), device=starts.device).repeat_interleave(num_picks)
    # [M]: the position within the row, first as if all rows were taken whole
    position = torch.arange(len(row), device=starts.device) - indptr[row]
    drawn = (~whole & (num_picks > 0)).nonzero().squeeze(1)
    if len(drawn):
        # [R, F]
        signed = key - (key >> 63 << 64)
        stream = mix(signed + (drawn + 1) * GOLDEN).unsqueeze(1)
        bits = mix(stream + torch.arange(1, fanout + 1, device=starts.device) * GOLDEN)
        position[~whole[row]] = _positions(bits, starts[drawn], ends[drawn], replace, cumulative).flatten()
    entries = starts[row] + position
    return indptr, entries, indices[entries.to(indices.device)].to(starts.device)


def _positions(bits: Tensor, starts: Tensor, ends: Tensor, replace: bool, cumulative: Tensor | None) -> Tensor:
    """``[R, F]``: where within its row each draw falls."""
    degree = (ends - starts).unsqueeze(1)
    if cumulative is None:
        return _below(bits, degree) if replace else _floyd(bits, degree)
    sums = cumulative.to(starts.device)
    if not replace:
        return _successive(bits, starts, ends, sums)
    value = _unit(bits) * sums[ends - 1].unsqueeze(1)
    return _first_above(sums, starts.unsqueeze(1), ends.unsqueeze(1), value)


def _below(bits: Tensor, n: Tensor) -> Tensor:
    """The number below n, 1 <= n < 2^31, that 64 random bits name."""
    return (shift(bits, 32) * n + shift((bits & 0xFFFFFFFF) * n, 32)) >> 32


def _unit(bits: Tensor) -> Tensor:
    """The number in [0, 1) that 64 random bits name, in float64."""
    return shift(bits, 11).double() * 2.0**-53


def _floyd(bits: Tensor, degree: Tensor) -> Tensor:
    """Distinct positions: a draw below m + 1, or m where that was taken, for the last F numbers m of the row."""
    picks = torch.empty_like(bits)
    for j in range(bits.shape[1]):
        last = degree - bits.shape[1] + j
        value = _below(bits[:, j : j + 1], last + 1)
        taken = (picks[:, :j] == value).any(1, keepdim=True)
        picks[:, j : j + 1] = torch.where(taken, last, value)
    return picks


def _first_above(sums: Tensor, starts: Tensor, ends: Tensor, value: Tensor) -> Tensor:
    """The first position of a row whose sum exceeds a value; the last where none does."""
    low, high = starts.expand_as(value), ends.expand_as(value)
    for _ in range(int((ends - starts).max()).bit_length()):
        middle = (low + high) // 2
        # low == high has found its place: there the sum is not looked at
        above = sums[middle.clamp(max=sums.numel() - 1)] > value
        high = torch.where(above, middle, high)
        low = torch.where(above | (low >= high), low, middle + 1)
    return torch.minimum(low, ends - 1) - starts


def _successive(bits: Tensor, starts: Tensor, ends: Tensor, sums: Tensor) -> Tensor:
    """Distinct positions, each draw proportional to weight among those left.

    A draw is a point in the row without what was taken; it moves on by every taken interval that begins at or before
    it. Where rounding puts it on a taken one, the next that is left is meant, from the end on the first.
    """
    num_rows, fanout = bits.shape
    degree = ends - starts
    left = sums[ends - 1]  # [R], the weight that is left
    picks = torch.empty_like(bits)
    for j in range(fanout):
        value = _unit(bits[:, j]) * left
        taken = picks[:, :j].sort(1).values
        for i in range(j):
            before, weight = _interval(sums, starts, taken[:, i])
            value = torch.where(value >= before, value + weight, value)
        pick = _first_above(sums, starts, ends, value)
        for _ in range(j):
            pick = torch.where((taken == pick.unsqueeze(1)).any(1), (pick + 1) % degree, pick)
        picks[:, j] = pick
        left = left - _interval(sums, starts, pick)[1]
    assert picks.shape == (num_rows, fanout)
    return picks


def _interval(sums: Tensor, starts: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Where a position's interval begins, and its weight."""
    before = torch.where(position > 0, sums[(starts + position - 1).clamp(min=0)], 0.0)
    return before, sums[starts + position] - before


def relabel(local: Tensor, count: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Number the ids that ``local`` does not know, in the order of their first appearance."""
    _check.ids("ids", ids, local.numel())
    _check.labels(local, count, ids)
    unknown = ids[local[ids] < 0]
    values, which = unknown.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    appearance = torch.arange(len(unknown), device=ids.device)
    first = appearance.new_full((len(values),), len(unknown)).scatter_reduce(0, which, appearance, "amin")
    new = unknown[first.sort().values]
    local[new] = torch.arange(count, count + len(new), dtype=torch.int32, device=ids.device)
    return local[ids].long(), new


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
    """Hop l draws ``fanouts[l]`` entries, by ``keys[l]``, of every node that hop l - 1 found, and numbers what is new.

    Returns nodes, row, col, entries, the number of new nodes of the seeds and of each hop, of edges of each hop.
    """
    args = indptr, indices, seeds, fanouts, keys, replace, cumulative, local
    return by_hops(sample_neighbors, relabel, *args)
