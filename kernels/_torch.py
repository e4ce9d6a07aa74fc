"""The reference in plain PyTorch: any device, no care for memory. It defines what is right.

Shapes are canonical here: ``x [N, H, D]``, ``values [E, H]`` or None, ``indptr [N_dst + 1]``,
``indices [E]``. `gnnkit.kernels._numba` has the same functions and signatures; attention is in
`gnnkit.kernels._torch_attention`, sampling in `gnnkit.kernels._torch_sample`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check, _mix
from gnnkit.kernels._entries import rows_and_columns, widened
from gnnkit.kernels._torch_attention import (
    gat_backward_dst,
    gat_backward_src,
    gat_forward,
    gatv2_backward_dst,
    gatv2_backward_src,
    gatv2_forward,
)
from gnnkit.kernels._torch_dense import norm_relu, norm_relu_backward
from gnnkit.kernels._torch_pairs import common_neighbors, rows_increase
from gnnkit.kernels._torch_sample import relabel, sample_hops, sample_neighbors

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


def _messages(x: Tensor, cols: Tensor, values: Tensor | None) -> Tensor:
    # [E, H, D]
    return x[cols] if values is None else x[cols] * values.unsqueeze(-1)


def spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """``out[i] = reduce over e in row i of values[e] * x[indices[e]]``, 0 for rows without entries.

    16-bit rows are added up in float32; their values may have either dtype.
    """
    rows, cols = rows_and_columns(indptr, indices, len(x))
    messages = _messages(widened(x), cols, None if values is None else widened(values))
    out = messages.new_zeros(indptr.numel() - 1, *x.shape[1:])
    if reduce in ("sum", "mean"):
        out = out.index_add(0, rows, messages)
        return (out / indptr.diff().clamp(min=1).view(-1, 1, 1) if reduce == "mean" else out).to(x.dtype)
    where = rows.view(-1, 1, 1).expand_as(messages)
    return out.scatter_reduce(0, where, messages, f"a{reduce}", include_self=False)


def spmm_scaled(
    indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, src_scale: Tensor, dst_scale: Tensor
) -> Tensor:
    """`spmm` with sum between two diagonals: of ``src_scale [N_src]`` and ``dst_scale [N_dst]``; H is 1."""
    rows, cols = rows_and_columns(indptr, indices, len(x))
    messages = _messages(widened(x), cols, src_scale[cols].unsqueeze(-1))
    messages = messages if values is None else messages * values.unsqueeze(-1)
    out = messages.new_zeros(indptr.numel() - 1, *x.shape[1:]).index_add(0, rows, messages)
    return (out * dst_scale.view(-1, 1, 1)).to(x.dtype)


def extreme_ties(indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, extreme: Tensor) -> Tensor:
    """Count the messages of each row that equal its extreme, and one more where that is exactly 0."""
    rows, cols = rows_and_columns(indptr, indices, len(x))
    hits = (_messages(x, cols, weight) == extreme[rows]).to(x.dtype)
    return (extreme == 0).to(x.dtype).index_add(0, rows, hits)


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
    """`spmm` with sum, over the messages that are their destination's extreme.

    Rows of the CSR are sources with ``to_src``, else destinations; ``x`` belongs to the sources,
    ``extreme`` to the destinations, ``z`` to the columns.
    """
    rows, cols = rows_and_columns(indptr, indices, len(z))
    src, dst = (rows, cols) if to_src else (cols, rows)
    mask = _messages(x, src, weight) == extreme[dst]
    messages = _messages(z, cols, values) * mask  # a factor: an infinite share of a NaN extreme ends as NaN
    return z.new_zeros(indptr.numel() - 1, *z.shape[1:]).index_add(0, rows, messages)


def sddmm(indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``out[e, h] = a[i, h] . b[indices[e], h]`` for entry e of row i."""
    rows, cols = rows_and_columns(indptr, indices, len(b))
    return (widened(a)[rows] * widened(b)[cols]).sum(-1).to(a.dtype)


def sddmm_masked(
    indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor, x: Tensor, extreme: Tensor, weight: Tensor | None
) -> Tensor:
    """`sddmm` over the messages that are their destination's extreme (rows are destinations)."""
    rows, cols = rows_and_columns(indptr, indices, len(b))
    mask = _messages(x, cols, weight) == extreme[rows]
    return (a[rows] * b[cols] * mask).sum(-1)


def segment_softmax(logits: Tensor, indptr: Tensor) -> Tensor:
    """Softmax over the entries of each row, a head at a time."""
    _check.csr_pointers(indptr, len(logits))
    num_rows = indptr.numel() - 1
    rows = torch.arange(num_rows, device=indptr.device).repeat_interleave(indptr.diff())
    where = rows.unsqueeze(-1).expand_as(logits)
    wide = widened(logits)
    zeros = wide.new_zeros(num_rows, logits.shape[1])
    top = zeros.scatter_reduce(0, where, wide, "amax", include_self=False)
    weight = (wide - top[rows]).exp()
    return (weight / zeros.index_add(0, rows, weight)[rows]).to(logits.dtype)


def segment_softmax_backward(out: Tensor, grad: Tensor, indptr: Tensor) -> Tensor:
    """``out * (grad - sum over the row of out * grad)``."""
    rows = torch.arange(indptr.numel() - 1, device=indptr.device).repeat_interleave(indptr.diff())
    wide = widened(out)
    weighted = wide * widened(grad)
    total = wide.new_zeros(indptr.numel() - 1, out.shape[1]).index_add(0, rows, weighted)
    return (weighted - wide * total[rows]).to(out.dtype)


def gather_rows(table: Tensor, ids: Tensor, out: Tensor, order: Tensor | None = None) -> None:
    """``out[k] = table[ids[k]]``; ``out`` lives where ``ids`` does.

    ``order [K]`` int64, a permutation, may be followed in reading; the result is the same.
    """
    _check.ids("ids", ids, len(table))
    if table.device == ids.device:
        torch.index_select(table, 0, ids, out=out)
    else:
        out.copy_(table.index_select(0, ids.to(table.device)))


def gather_cached(lines: Tensor, staged: Tensor, where: Tensor, out: Tensor) -> None:
    """``out[k] = lines[where[k]]``, or ``staged[-1 - where[k]]`` where that is negative."""
    _check.ids("where", where, len(lines), -len(staged))
    cached = where >= 0
    out[cached] = lines[where[cached]]
    out[~cached] = staged[(-1 - where[~cached]).to(staged.device)].to(out.device)


def group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Stable grouping: the positions of key 0, then of key 1 …, and where each group begins."""
    _check.ids("keys", keys, num_groups)
    counts = torch.bincount(keys, minlength=num_groups)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), keys.argsort(stable=True)


def content_hash(words: Tensor, key: int) -> tuple[int, int]:
    """Two sums over the mixed words and their positions, modulo 2^64, as signed numbers."""
    z = _mix.mix(words.long() + torch.arange(1, words.numel() + 1, device=words.device) * _mix.GOLDEN + key)
    return int(z.sum()), int((_mix.shift(z, 32) * (z & 0xFFFFFFFF)).sum())
