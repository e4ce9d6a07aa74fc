"""GPU backend: the CUDA sources in ``kernels/cuda``, on torch's current stream, without waiting for the device.

Same functions and signatures as `gnnkit.kernels._torch`, which defines what is right. Nothing is known here of the
degrees: hubs are found on the device (``rows.cuh``), so no call copies anything to the host but those whose results are
the host's, or as large as the data makes them.

An id outside its table is never followed: it makes NaN. To be told of it instead, and wait for the device at every
call, set ``GNNKIT_CHECK=1``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check, _choice
from gnnkit.kernels._cupy_attention import (
    gat_backward_dst,
    gat_backward_src,
    gat_forward,
    gatv2_backward_dst,
    gatv2_backward_src,
    gatv2_forward,
)
from gnnkit.kernels._cupy_gather import gather_cached, gather_rows
from gnnkit.kernels._cupy_pairs import common_neighbors
from gnnkit.kernels._cupy_sample import relabel, sample_hops, sample_neighbors
from gnnkit.kernels._launch import BLOCK, launch
from gnnkit.kernels._torch_dense import norm_relu, norm_relu_backward
from gnnkit.kernels._torch_pairs import rows_increase
from gnnkit.kernels._walk import Walk, plain

__all__ = [
    "spmm",
    "extreme_ties",
    "spmm_masked",
    "spmm_scaled",
    "sddmm",
    "sddmm_masked",
    "segment_softmax",
    "segment_softmax_backward",
    "gat_forward",
    "gat_backward_dst",
    "gat_backward_src",
    "gatv2_forward",
    "gatv2_backward_dst",
    "gatv2_backward_src",
    "gather_rows",
    "gather_cached",
    "sample_hops",
    "sample_neighbors",
    "relabel",
    "rows_increase",
    "common_neighbors",
    "group_by",
    "content_hash",
    "norm_relu",
    "norm_relu_backward",
]


def spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """See `gnnkit.kernels._torch.spmm`; the library's product serves where `_choice` finds it wanted and faster."""
    if _choice.wanted():
        return _choice.spmm(indptr, indices, x, values, reduce, lambda: _spmm(indptr, indices, x, values, reduce))
    return _spmm(indptr, indices, x, values, reduce)


def _spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    x, out = plain(x), x.new_empty(indptr.numel() - 1, *x.shape[1:])
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, x, out)
    (values,) = walk.wide_numbers(values)
    if reduce in ("sum", "mean"):
        walk.reduce("spmm.cu", "spmm_sum", out, x, values, int(reduce == "mean"))
    else:
        walk.reduce("spmm.cu", "spmm_extreme", out, x, values, 1 if reduce == "max" else -1)
    return out


def spmm_scaled(
    indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, src_scale: Tensor, dst_scale: Tensor
) -> Tensor:
    """See `gnnkit.kernels._torch.spmm_scaled`."""
    x, out = plain(x), x.new_empty(indptr.numel() - 1, *x.shape[1:])
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, x, out)
    walk.reduce("spmm.cu", "spmm_scaled", out, x, *walk.wide_numbers(values, src_scale, dst_scale))
    return out


def extreme_ties(indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, extreme: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.extreme_ties`."""
    x, weight, extreme = plain(x), plain(weight), plain(extreme)
    out = torch.empty_like(extreme)
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, x, extreme, out)
    walk.reduce("extreme.cu", "extreme_ties", out, x, extreme, weight)
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
    z, values, x, extreme, weight = plain(z), plain(values), plain(x), plain(extreme), plain(weight)
    out = z.new_empty(indptr.numel() - 1, *z.shape[1:])
    walk = Walk(indptr, indices, len(z), z.shape[1:], z.dtype, z, x, extreme, out)
    walk.reduce("extreme.cu", "spmm_masked", out, x, extreme, weight, z, values, int(to_src))
    return out


def sddmm(indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.sddmm`."""
    a, b, out = plain(a), plain(b), a.new_empty(indices.numel(), a.shape[1])
    Walk(indptr, indices, len(b), b.shape[1:], a.dtype, a, b).entries("sddmm.cu", "sddmm", out, a, b)
    return out


def sddmm_masked(
    indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor, x: Tensor, extreme: Tensor, weight: Tensor | None
) -> Tensor:
    """See `gnnkit.kernels._torch.sddmm_masked`."""
    a, b, x, extreme, weight = plain(a), plain(b), plain(x), plain(extreme), plain(weight)
    out = a.new_empty(indices.numel(), a.shape[1])
    walk = Walk(indptr, indices, len(b), b.shape[1:], a.dtype, a, b, x, extreme)
    walk.entries("sddmm.cu", "sddmm_masked", out, a, b, x, extreme, weight)
    return out


def segment_softmax(logits: Tensor, indptr: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.segment_softmax`."""
    logits = plain(logits)
    out = torch.empty_like(logits)
    Walk.of_segments(indptr, logits).twice("softmax.cu", "softmax", 2, out, logits)
    return out


def segment_softmax_backward(out: Tensor, grad: Tensor, indptr: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.segment_softmax_backward`."""
    out, grad = plain(out), plain(grad)
    dlogits = torch.empty_like(out)
    Walk.of_segments(indptr, out).twice("softmax.cu", "softmax_backward", 1, dlogits, out, grad)
    return dlogits


def group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """See `gnnkit.kernels._torch.group_by`.

    Torch's radix sort is stable and as fast as any; keys are checked always, since this makes a topology once.
    """
    _check.ids("keys", keys, num_groups)
    ordered, perm = keys.sort(stable=True)
    groups = torch.arange(num_groups + 1, dtype=keys.dtype, device=keys.device)
    return torch.searchsorted(ordered, groups), perm


def content_hash(words: Tensor, key: int) -> tuple[int, int]:
    """See `gnnkit.kernels._torch.content_hash`; the two numbers are the host's, so this waits for the device."""
    words = plain(words)
    blocks = min(1024, -(-words.numel() // (8 * BLOCK)))
    sums = words.new_zeros(max(blocks, 1), 2, dtype=torch.int64)
    args = words, int(words.dtype == torch.int64), words.numel(), key, sums
    launch("hash.cu", f"content_hash<{BLOCK}>", (blocks, 1), args, 16 * BLOCK)
    low, high = sums.sum(0).tolist()
    return low, high
