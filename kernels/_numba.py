"""CPU backend: tensors to arrays, rows to threads, a bad status to a ``ValueError``.

Same functions and signatures as `gnnkit.kernels._torch`, which defines what is right. The loops know tables
``[N, W]``, heads side by side in a row; attention is in `gnnkit.kernels._numba_attention`, sampling in
`gnnkit.kernels._numba_sample`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels import _check, _loops, _loops_edges, _loops_spmm
from gnnkit.kernels._arrays import array, empty, empty_like, over_rows, refused, table, with_scratch
from gnnkit.kernels._numba_attention import (
    gat_backward_dst,
    gat_backward_src,
    gat_forward,
    gatv2_backward_dst,
    gatv2_backward_src,
    gatv2_forward,
)
from gnnkit.kernels._numba_dense import norm_relu, norm_relu_backward
from gnnkit.kernels._numba_hops import sample_hops
from gnnkit.kernels._numba_pairs import common_neighbors, rows_increase
from gnnkit.kernels._numba_sample import relabel, sample_neighbors
from gnnkit.kernels._threads import edge_bounds, even_bounds, run

__all__ = [
    "common_neighbors",
    "content_hash",
    "extreme_ties",
    "gat_backward_dst",
    "gat_backward_src",
    "gat_forward",
    "gather_cached",
    "gather_rows",
    "gatv2_backward_dst",
    "gatv2_backward_src",
    "gatv2_forward",
    "group_by",
    "norm_relu",
    "norm_relu_backward",
    "relabel",
    "rows_increase",
    "sample_hops",
    "sample_neighbors",
    "sddmm",
    "sddmm_masked",
    "segment_softmax",
    "segment_softmax_backward",
    "spmm",
    "spmm_masked",
    "spmm_scaled",
]

LONG_ROW = 1 << 15  # edges; a row this long that holds much of the graph is cut, or it would keep one thread busy


def spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """See `gnnkit.kernels._torch.spmm`."""
    pieces = _pieces(indptr, indices)
    if pieces is not None:
        inner = "sum" if reduce == "mean" else reduce
        wide = x.float() if x.dtype in _check.HALF_DTYPES else x  # what the pieces come to is not rounded
        partial = spmm(pieces[0], indices, wide, values, inner)
        out = spmm(pieces[1], torch.arange(len(partial)), partial, None, inner)
        return (out / indptr.diff().clamp(min=1).view(-1, 1, 1) if reduce == "mean" else out).to(x.dtype)
    out = empty(x, indptr.numel() - 1, *x.shape[1:])
    if reduce in ("sum", "mean"):
        loop, flag = _loops_spmm.spmm_sum, reduce == "mean"
    else:
        loop, flag = _loops_spmm.spmm_extreme, reduce == "max"
    over_rows(loop, indptr, indices, x, table(x), array(values), x.shape[2], flag, table(out))
    return out


def spmm_scaled(
    indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, src_scale: Tensor, dst_scale: Tensor
) -> Tensor:
    """See `gnnkit.kernels._torch.spmm_scaled`."""
    pieces = _pieces(indptr, indices)
    if pieces is not None:
        ones = src_scale.new_ones(len(pieces[0]) - 1)
        partial = spmm_scaled(pieces[0], indices, x.to(src_scale.dtype), values, src_scale, ones)
        return spmm_scaled(pieces[1], torch.arange(len(partial)), partial, None, ones, dst_scale).to(x.dtype)
    out = empty(x, indptr.numel() - 1, *x.shape[1:])
    args = table(x), array(values), array(src_scale), array(dst_scale), table(out)
    over_rows(_loops_spmm.spmm_scaled, indptr, indices, x, *args)
    return out


def _pieces(indptr: Tensor, indices: Tensor) -> tuple[Tensor, Tensor] | None:
    """Cut the rows that hold much of a graph; None where there are none.

    Returns pointers of pieces of rows, and which pieces a row has. The cuts depend on the graph and not on the number
    of threads, so neither do the sums.
    """
    num_edges = indices.numel()
    if num_edges < 4 * LONG_ROW:
        return None
    lengths = indptr.diff()
    if int(lengths.max()) <= max(LONG_ROW, num_edges // 16):
        return None
    if int(lengths.min()) < 0 or int(indptr[0]) != 0 or int(indptr[-1]) != num_edges:
        refused(indptr, indices, 0)
    count = (lengths + LONG_ROW - 1) // LONG_ROW  # [N], 0 for an empty row
    first = torch.cat([count.new_zeros(1), count.cumsum(0)])  # [N + 1]
    row = torch.arange(len(lengths)).repeat_interleave(count)
    cuts = indptr[:-1][row] + LONG_ROW * (torch.arange(len(row)) - first[row])
    return torch.cat([cuts, indptr[-1:]]), first


def extreme_ties(indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, extreme: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.extreme_ties`."""
    out = empty_like(extreme)
    args = table(x), array(weight), x.shape[2], table(extreme), table(out)
    over_rows(_loops_spmm.extreme_ties, indptr, indices, x, *args)
    return out


def spmm_masked(
    indptr: Tensor,
    indices: Tensor,
    z: Tensor,
    values: Tensor | None,
    x: Tensor,
    extreme: Tensor,
    weight: Tensor | None,
    to_src: bool,
) -> Tensor:
    """See `gnnkit.kernels._torch.spmm_masked`."""
    out = empty(z, indptr.numel() - 1, *z.shape[1:])
    args = table(z), array(values), table(x), table(extreme), array(weight), z.shape[2], to_src, table(out)
    over_rows(_loops_spmm.spmm_masked, indptr, indices, z, *args)
    return out


def sddmm(indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.sddmm`."""
    out = empty(a, indices.numel(), a.shape[1])
    over_rows(_loops_edges.sddmm, indptr, indices, b, table(a), table(b), b.shape[2], array(out))
    return out


def sddmm_masked(
    indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor, x: Tensor, extreme: Tensor, weight: Tensor | None
) -> Tensor:
    """See `gnnkit.kernels._torch.sddmm_masked`."""
    out = empty(a, indices.numel(), a.shape[1])
    args = (*(table(t) for t in (a, b, x, extreme)), array(weight), b.shape[2], array(out))
    over_rows(_loops_edges.sddmm_masked, indptr, indices, b, *args)
    return out


def segment_softmax(logits: Tensor, indptr: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.segment_softmax`."""
    out = empty_like(logits)
    loop = with_scratch(_loops_edges.segment_softmax, indptr, len(logits), logits.shape[1], logits.dtype)
    # an exponential costs about as much as 16 additions
    _over_segments(loop, indptr, len(logits), 16 * logits.shape[1], array(logits), array(out))
    return out


def segment_softmax_backward(out: Tensor, grad: Tensor, indptr: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.segment_softmax_backward`."""
    dlogits = empty_like(out)
    args = array(out), array(grad), array(dlogits)
    _over_segments(_loops_edges.segment_softmax_backward, indptr, len(out), 2 * out.shape[1], *args)
    return dlogits


def _over_segments(loop: Callable[..., int], indptr: Tensor, num_edges: int, width: int, *args: Any) -> None:
    pointers = array(indptr)
    wrong = pointers[0] != 0 or pointers[-1] != num_edges
    bounds = [] if wrong else edge_bounds(pointers, num_edges, width)
    if wrong or run(loop, bounds, pointers, *args):
        _check.csr_pointers(indptr, num_edges)
        raise AssertionError("a loop refused pointers that the checks accept")


def gather_rows(table: Tensor, ids: Tensor, out: Tensor, order: Tensor | None = None) -> None:
    """See `gnnkit.kernels._torch.gather_rows`; no order is followed."""
    rows, target = _bytes(table), _bytes(out)
    if run(_loops.gather_rows, even_bounds(len(ids), rows.shape[1] // 4), rows, array(ids), target):
        _check.ids("ids", ids, len(table))


def gather_cached(lines: Tensor, staged: Tensor, where: Tensor, out: Tensor) -> None:
    """See `gnnkit.kernels._torch.gather_cached`."""
    target = _bytes(out)
    bounds = even_bounds(len(where), target.shape[1] // 4)
    if run(_loops.gather_cached, bounds, _bytes(lines), _bytes(staged), array(where), target):
        _check.ids("where", where, len(lines), -len(staged))


def _bytes(tensor: Tensor) -> np.ndarray[Any, Any]:
    """View a contiguous tensor as ``[rows, bytes]``: one loop then serves every dtype and shape."""
    row_bytes = tensor[0:1].numel() * tensor.element_size() if len(tensor) else 0
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().reshape(len(tensor), row_bytes)


def group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """See `gnnkit.kernels._torch.group_by`."""
    indptr = torch.empty(num_groups + 1, dtype=torch.int64)
    perm = torch.empty(keys.numel(), dtype=torch.int64)
    if _loops.group_by(array(keys), indptr.numpy(), perm.numpy()):
        _check.ids("keys", keys, num_groups)
    return indptr, perm


def content_hash(words: Tensor, key: int) -> tuple[int, int]:
    """See `gnnkit.kernels._torch.content_hash`."""
    flat = array(words)
    blocks = -(-len(flat) // _loops.HASH_BLOCK)
    sums = np.zeros((blocks, 2), dtype=np.uint64)
    run(_loops.content_hash, even_bounds(blocks, _loops.HASH_BLOCK), flat, np.uint64(key), sums)
    low, high = sums.sum(axis=0, dtype=np.uint64)
    return int(low), int(high)
