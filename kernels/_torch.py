"""The reference in plain PyTorch: any device, no care for memory. It defines what is right.

Shapes are canonical here: ``x [N, H, D]``, ``values [E, H]`` or None, ``indptr [N_dst + 1]``,
``indices [E]``. `gnnkit.kernels._numba` has the same functions and signatures.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check


def _rows(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    """Check a CSR and return the row and the column of every entry, both int64."""
    _check.csr_values(indptr, indices, num_cols)
    rows = torch.arange(indptr.numel() - 1, device=indptr.device)
    # [E], [E]
    return rows.repeat_interleave(indptr.diff()), indices.long()


def _wide(tensor: Tensor) -> Tensor:
    """16-bit floats as float32, in which sums are made; others as they are."""
    return tensor.float() if tensor.dtype in _check.HALF_DTYPES else tensor


def _messages(x: Tensor, cols: Tensor, values: Tensor | None) -> Tensor:
    # [E, H, D]
    return x[cols] if values is None else x[cols] * values.unsqueeze(-1)


def spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """``out[i] = reduce over e in row i of values[e] * x[indices[e]]``, 0 for rows without entries.

    16-bit rows are added up in float32; their values may have either dtype.
    """
    rows, cols = _rows(indptr, indices, len(x))
    messages = _messages(_wide(x), cols, None if values is None else _wide(values))
    out = messages.new_zeros(indptr.numel() - 1, *x.shape[1:])
    if reduce in ("sum", "mean"):
        out = out.index_add(0, rows, messages)
        return (out / indptr.diff().clamp(min=1).view(-1, 1, 1) if reduce == "mean" else out).to(x.dtype)
    where = rows.view(-1, 1, 1).expand_as(messages)
    return out.scatter_reduce(0, where, messages, f"a{reduce}", include_self=False)


def extreme_ties(indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, extreme: Tensor) -> Tensor:
    """Count the messages of each row that equal its extreme, and one more where that is exactly 0."""
    rows, cols = _rows(indptr, indices, len(x))
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
    rows, cols = _rows(indptr, indices, len(z))
    src, dst = (rows, cols) if to_src else (cols, rows)
    mask = _messages(x, src, weight) == extreme[dst]
    messages = _messages(z, cols, values) * mask  # a factor: an infinite share of a NaN extreme ends as NaN
    return z.new_zeros(indptr.numel() - 1, *z.shape[1:]).index_add(0, rows, messages)


def sddmm(indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``out[e, h] = a[i, h] . b[indices[e], h]`` for entry e of row i."""
    rows, cols = _rows(indptr, indices, len(b))
    return (_wide(a)[rows] * _wide(b)[cols]).sum(-1).to(a.dtype)


def sddmm_masked(
    indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor, x: Tensor, extreme: Tensor, weight: Tensor | None
) -> Tensor:
    """`sddmm` over the messages that are their destination's extreme (rows are destinations)."""
    rows, cols = _rows(indptr, indices, len(b))
    mask = _messages(x, cols, weight) == extreme[rows]
    return (a[rows] * b[cols] * mask).sum(-1)


def segment_softmax(logits: Tensor, indptr: Tensor) -> Tensor:
    """Softmax over the entries of each row, a head at a time."""
    _check.csr_pointers(indptr, len(logits))
    num_rows = indptr.numel() - 1
    rows = torch.arange(num_rows, device=indptr.device).repeat_interleave(indptr.diff())
    where = rows.unsqueeze(-1).expand_as(logits)
    wide = _wide(logits)
    zeros = wide.new_zeros(num_rows, logits.shape[1])
    top = zeros.scatter_reduce(0, where, wide, "amax", include_self=False)
    weight = (wide - top[rows]).exp()
    return (weight / zeros.index_add(0, rows, weight)[rows]).to(logits.dtype)


def segment_softmax_backward(out: Tensor, grad: Tensor, indptr: Tensor) -> Tensor:
    """``out * (grad - sum over the row of out * grad)``."""
    rows = torch.arange(indptr.numel() - 1, device=indptr.device).repeat_interleave(indptr.diff())
    wide = _wide(out)
    weighted = wide * _wide(grad)
    total = wide.new_zeros(indptr.numel() - 1, out.shape[1]).index_add(0, rows, weighted)
    return (weighted - wide * total[rows]).to(out.dtype)


def gat_forward(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """GAT's attention: ``out[i] = sum over e of softmax(leaky(a_src[j] + a_dst[i] + a_edge[e])) * mask[e] * x[j]``.

    Shapes: ``x [N_src, H, D]``, ``a_src [N_src, H]``, ``a_dst [N_dst, H]``, ``a_edge`` and ``mask [E, H]``.
    Returns ``out [N_dst, H, D]``, and for the backward each row's largest score and its sum of
    ``exp(score - largest)``, both ``[N_dst, H]``; they are 0 for rows without entries. x may have 16 bits; all
    numbers of nodes and edges are float32 then.
    """
    rows, cols = _rows(indptr, indices, len(x))
    scores = _gat_scores(rows, cols, a_src, a_dst, a_edge, slope)
    return _attend(rows, cols, x, scores, mask, indptr.numel() - 1)


def gat_backward_dst(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Gradients of `gat_forward` for ``a_dst``, and for ``a_edge`` unless it is None.

    ``grad [N_dst, H, D]`` is the output's gradient and ``delta = (grad * out).sum(-1)``, so that an edge's
    score has the gradient ``alpha * (mask * grad[i] . x[j] - delta[i])``: nothing of size E was stored.
    """
    rows, cols = _rows(indptr, indices, len(x))
    scores = _gat_scores(rows, cols, a_src, a_dst, a_edge, slope)
    _, dscores = _attend_backward(rows, cols, x, scores, mask, top, total, grad, delta)
    draw = dscores * _leaky_slope(scores, slope)
    return torch.zeros_like(a_dst).index_add(0, rows, draw), None if a_edge is None else draw


def gat_backward_src(
    t_indptr: Tensor,
    t_indices: Tensor,
    t_perm: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of `gat_forward` for ``x`` and ``a_src``, along the transpose (``t_perm`` for numbers of edges)."""
    cols, rows = _rows(t_indptr, t_indices, len(grad))
    a_edge, mask = (None if t is None else t[t_perm.long()] for t in (a_edge, mask))
    scores = _gat_scores(rows, cols, a_src, a_dst, a_edge, slope)
    weight, dscores = _attend_backward(rows, cols, x, scores, mask, top, total, grad, delta)
    draw = dscores * _leaky_slope(scores, slope)
    dx = torch.zeros_like(_wide(x)).index_add(0, cols, weight.unsqueeze(-1) * _wide(grad)[rows])
    return dx.to(x.dtype), torch.zeros_like(a_src).index_add(0, cols, draw)


def gatv2_forward(
    indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, mask: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """GATv2's attention: as `gat_forward`, with the scores ``(att * leaky(x[j] + x_dst[i])).sum(-1)``.

    Shapes: ``x [N_src, H, D]``, ``x_dst [N_dst, H, D]``, ``att [H, D]``, ``mask [E, H]``.
    """
    rows, cols = _rows(indptr, indices, len(x))
    scores = (_wide(att) * _mixed(rows, cols, x, x_dst, slope)).sum(-1)
    return _attend(rows, cols, x, scores, mask, indptr.numel() - 1)


def gatv2_backward_dst(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of `gatv2_forward` for ``x_dst [N_dst, H, D]`` and ``att [H, D]``; see `gat_backward_dst`."""
    rows, cols = _rows(indptr, indices, len(x))
    mixed, wide = _mixed(rows, cols, x, x_dst, slope), _wide(att)
    _, dscores = _attend_backward(rows, cols, x, (wide * mixed).sum(-1), mask, top, total, grad, delta)
    dmixed = dscores.unsqueeze(-1) * wide * _leaky_slope(mixed, slope)
    d_dst = torch.zeros_like(_wide(x_dst)).index_add(0, rows, dmixed)
    return d_dst.to(x.dtype), (dscores.unsqueeze(-1) * mixed).sum(0).to(x.dtype)


def gatv2_backward_src(
    t_indptr: Tensor,
    t_indices: Tensor,
    t_perm: Tensor,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> Tensor:
    """Gradient of `gatv2_forward` for ``x``, along the transpose; ``mask`` by ``t_perm``."""
    cols, rows = _rows(t_indptr, t_indices, len(grad))
    mask = None if mask is None else mask[t_perm.long()]
    mixed, wide = _mixed(rows, cols, x, x_dst, slope), _wide(att)
    weight, dscores = _attend_backward(rows, cols, x, (wide * mixed).sum(-1), mask, top, total, grad, delta)
    dmixed = dscores.unsqueeze(-1) * wide * _leaky_slope(mixed, slope)
    each = weight.unsqueeze(-1) * _wide(grad)[rows] + dmixed
    return torch.zeros_like(_wide(x)).index_add(0, cols, each).to(x.dtype)


def _gat_scores(
    rows: Tensor, cols: Tensor, a_src: Tensor, a_dst: Tensor, a_edge: Tensor | None, slope: float
) -> Tensor:
    # [E, H]
    raw = a_src[cols] + a_dst[rows] if a_edge is None else a_src[cols] + a_dst[rows] + a_edge
    return torch.nn.functional.leaky_relu(raw, slope)


def _mixed(rows: Tensor, cols: Tensor, x: Tensor, x_dst: Tensor, slope: float) -> Tensor:
    # [E, H, D]
    return torch.nn.functional.leaky_relu(_wide(x)[cols] + _wide(x_dst)[rows], slope)


def _leaky_slope(activated: Tensor, slope: float) -> Tensor:
    """The derivative where ``activated = leaky(raw)``, which has the sign of raw: slopes are not negative."""
    return torch.where(activated > 0, activated.new_ones(()), activated.new_full((), slope))


def _attend(
    rows: Tensor, cols: Tensor, x: Tensor, scores: Tensor, mask: Tensor | None, num_dst: int
) -> tuple[Tensor, Tensor, Tensor]:
    where = rows.unsqueeze(-1).expand_as(scores)
    zeros = scores.new_zeros(num_dst, scores.shape[1])
    top = zeros.scatter_reduce(0, where, scores, "amax", include_self=False)
    weight = (scores - top[rows]).exp()
    total = zeros.index_add(0, rows, weight)
    alpha = weight / total[rows] if mask is None else weight / total[rows] * mask
    wide = _wide(x)
    out = wide.new_zeros(num_dst, *x.shape[1:]).index_add(0, rows, alpha.unsqueeze(-1) * wide[cols])
    return out.to(x.dtype), top, total


def _attend_backward(
    rows: Tensor,
    cols: Tensor,
    x: Tensor,
    scores: Tensor,
    mask: Tensor | None,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return ``alpha * mask`` and the gradient of the scores, both ``[E, H]``."""
    alpha = (scores - top[rows]).exp() / total[rows]
    dalpha = (_wide(grad)[rows] * _wide(x)[cols]).sum(-1)
    if mask is None:
        return alpha, alpha * (dalpha - delta[rows])
    return alpha * mask, alpha * (mask * dalpha - delta[rows])


def gather_rows(table: Tensor, ids: Tensor, out: Tensor) -> None:
    """``out[k] = table[ids[k]]``; ``out`` lives where ``ids`` does."""
    _check.ids("ids", ids, len(table))
    if table.device == ids.device:
        torch.index_select(table, 0, ids, out=out)
    else:
        out.copy_(table.index_select(0, ids.to(table.device)))


def group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Stable grouping: the positions of key 0, then of key 1 …, and where each group begins."""
    _check.ids("keys", keys, num_groups)
    counts = torch.bincount(keys, minlength=num_groups)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), keys.argsort(stable=True)


def content_hash(words: Tensor, key: int) -> tuple[int, int]:
    """Two sums over the mixed words and their positions, modulo 2^64, as signed numbers."""
    z = words.long() + torch.arange(1, words.numel() + 1, device=words.device) * -0x61C8864680B583EB + key
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        z = (z ^ _shift(z, shift)) * factor
    z = z ^ _shift(z, 31)
    return int(z.sum()), int((_shift(z, 32) * (z & 0xFFFFFFFF)).sum())


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # torch shifts the sign in
