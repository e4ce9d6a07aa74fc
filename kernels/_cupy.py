"""GPU backend: the CUDA sources in ``kernels/cuda``, on torch's current stream, without waiting for the device.

Same functions and signatures as `gnnkit.kernels._torch`, which defines what is right. Nothing is known here of the
degrees: hubs are found on the device (``rows.cuh``), so no call copies anything to the host.

An id outside its table is never followed: it makes NaN. To be told of it instead, and wait for the device at every
call, set ``GNNKIT_CHECK=1``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._launch import BLOCK, Argument, launch

# dtype: its name in the sources, the dtype of sums, and how many make 16 bytes
DTYPES = {
    torch.float32: ("float", torch.float32, 4),
    torch.float64: ("double", torch.float64, 2),
    torch.float16: ("Half", torch.float32, 8),
    torch.bfloat16: ("Bfloat", torch.float32, 8),
}
CHUNK = 512  # entries; a row of more is a hub
LANES, WARPS = 32, BLOCK // 32


def _reduce_rows(
    source: str,
    kernel: str,
    indptr: Tensor,
    indices: Tensor | None,
    num_cols: int,
    shape: torch.Size,
    packed: Sequence[Tensor],
    args: Sequence[Argument],
    last: int,
) -> None:
    """Queue ``kernel`` over the rows of a CSR, and ``kernel_hubs`` before it where there may be hubs.

    Args:
        source: The file.
        kernel: The template's name.
        indptr: ``[N + 1]``.
        indices: ``[E]``.
        num_cols: What the indices are below.
        shape: ``[*, H, D]``.
        packed: The tensors whose rows are read or written 16 bytes at a time where their addresses permit.
        args: What stands between the graph and the walk in the kernel's arguments.
        last: What stands after them.
    """
    name, wide, pack = DTYPES[packed[0].dtype]
    heads, depth = shape[-2:]
    per_lane = pack if depth % pack == 0 and all(t.data_ptr() % 16 == 0 for t in packed) else 1
    lanes = -(-heads * depth // per_lane)
    span = min(LANES, 1 << max(lanes - 1, 0).bit_length())
    tiles = -(-lanes // span)
    rows, entries = indptr.numel() - 1, indices.numel()
    chunks = -(-entries // CHUNK) if rows and entries > CHUNK else 0
    partial = torch.empty(2 * chunks, heads * depth, dtype=wide, device=indptr.device) if chunks else None
    graph = indptr, indices, int(indices.dtype == torch.int64), rows, entries, num_cols, heads, depth
    everything = *graph, *args, span, CHUNK, partial, last
    shared_bytes = BLOCK * per_lane * wide.itemsize
    launch(source, f"{kernel}_hubs<{name}, {per_lane}>", (chunks, tiles), everything, shared_bytes)
    launch(source, f"{kernel}<{name}, {per_lane}>", (-(-rows // WARPS), tiles), everything)


def _csr(indptr: Tensor, indices: Tensor, num_cols: int) -> tuple[Tensor, Tensor]:
    if os.environ.get("GNNKIT_CHECK") == "1":
        _check.csr_values(indptr, indices, num_cols)
    return indptr.long().contiguous(), indices.contiguous()


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.detach().contiguous() for t in tensors]


def spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """See `gnnkit.kernels._torch.spmm`."""
    out = x.new_empty(indptr.numel() - 1, *x.shape[1:])
    indptr, indices = _csr(indptr, indices, len(x))
    x, values = x.detach().contiguous(), None if values is None else values.detach().contiguous()
    if reduce in ("sum", "mean"):
        kernel, last = "spmm_sum", int(reduce == "mean")
    else:
        kernel, last = "spmm_extreme", 1 if reduce == "max" else -1
    _reduce_rows("spmm.cu", kernel, indptr, indices, len(x), x.shape, (x, out), (x, values, out), last)
    return out


# source: the templates in it, each with <name of a dtype, numbers side by side>
_TEMPLATES = {"spmm.cu": ("spmm_sum", "spmm_sum_hubs", "spmm_extreme", "spmm_extreme_hubs")}


def _instances() -> dict[str, list[str]]:
    """Every kernel that the functions above can ask for, by source."""
    return {
        source: [
            f"{t}<{name}, {per_lane}>" for t in templates for name, _, pack in DTYPES.values() for per_lane in (1, pack)
        ]
        for source, templates in _TEMPLATES.items()
    }
