"""CPU backend: tensors to arrays, rows to threads, a bad status to a ``ValueError``.

Same functions and signatures as `gnnkit.kernels._torch`, which defines what is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels import _check, _loops
from gnnkit.kernels._threads import edge_bounds, even_bounds, run


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().contiguous().numpy()


def _over_rows(
    loop: Callable[..., int], indptr: Tensor, indices: Tensor, num_cols: int, width: int, *args: Any
) -> None:
    """Run a loop over the rows of a CSR; the first and last pointer are checked here, the rest in the loop."""
    pointers, columns = _array(indptr), _array(indices)
    wrong = pointers[0] != 0 or pointers[-1] != len(columns)
    bounds = [] if wrong else edge_bounds(pointers, len(columns), width)
    if wrong or run(loop, bounds, pointers, columns, *args):
        _check.csr_values(indptr, indices, num_cols)
        raise AssertionError("a loop refused a CSR that the checks accept")


def spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """See `gnnkit.kernels._torch.spmm`."""
    out = x.new_empty(indptr.numel() - 1, *x.shape[1:])
    table, width = _array(x), x[0:1].numel()
    if reduce in ("sum", "mean"):
        loop, flag = _loops.spmm_sum, reduce == "mean"
    else:
        loop, flag = _loops.spmm_extreme, reduce == "max"
    _over_rows(loop, indptr, indices, len(x), width, table, _array(values), flag, out.numpy())
    return out


def extreme_ties(indptr: Tensor, indices: Tensor, x: Tensor, weight: Tensor | None, extreme: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.extreme_ties`."""
    out = torch.empty_like(extreme, memory_format=torch.contiguous_format)
    args = _array(x), _array(weight), _array(extreme), out.numpy()
    _over_rows(_loops.extreme_ties, indptr, indices, len(x), x[0:1].numel(), *args)
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
    out = z.new_empty(indptr.numel() - 1, *z.shape[1:])
    args = (_array(t) for t in (z, values, x, extreme, weight))
    _over_rows(_loops.spmm_masked, indptr, indices, len(z), z[0:1].numel(), *args, to_src, out.numpy())
    return out


def sddmm(indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.sddmm`."""
    out = a.new_empty(indices.numel(), a.shape[1])
    args = _array(a), _array(b), out.numpy()
    _over_rows(_loops.sddmm, indptr, indices, len(b), b[0:1].numel(), *args)
    return out


def sddmm_masked(
    indptr: Tensor, indices: Tensor, a: Tensor, b: Tensor, x: Tensor, extreme: Tensor, weight: Tensor | None
) -> Tensor:
    """See `gnnkit.kernels._torch.sddmm_masked`."""
    out = a.new_empty(indices.numel(), a.shape[1])
    args = (_array(t) for t in (a, b, x, extreme, weight))
    _over_rows(_loops.sddmm_masked, indptr, indices, len(b), b[0:1].numel(), *args, out.numpy())
    return out


def segment_softmax(logits: Tensor, indptr: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.segment_softmax`."""
    out = torch.empty_like(logits, memory_format=torch.contiguous_format)
    pointers = _array(indptr)
    wrong = pointers[0] != 0 or pointers[-1] != len(logits)
    # an exponential costs about as much as 16 additions
    bounds = [] if wrong else edge_bounds(pointers, len(logits), 16 * logits.shape[1])
    if wrong or run(_loops.segment_softmax, bounds, pointers, _array(logits), out.numpy()):
        _check.csr_pointers(indptr, len(logits))
        raise AssertionError("a loop refused pointers that the checks accept")
    return out


def segment_softmax_backward(out: Tensor, grad: Tensor, indptr: Tensor) -> Tensor:
    """See `gnnkit.kernels._torch.segment_softmax_backward`; the forward pass has checked the pointers."""
    dlogits = torch.empty_like(out, memory_format=torch.contiguous_format)
    pointers = _array(indptr)
    bounds = edge_bounds(pointers, len(out), 2 * out.shape[1])
    if run(_loops.segment_softmax_backward, bounds, pointers, _array(out), _array(grad), dlogits.numpy()):
        _check.csr_pointers(indptr, len(out))
        raise AssertionError("a loop refused pointers that the checks accept")
    return dlogits


def gather_rows(table: Tensor, ids: Tensor, out: Tensor) -> None:
    """See `gnnkit.kernels._torch.gather_rows`."""
    rows, target = _bytes(table), _bytes(out)
    if run(_loops.gather_rows, even_bounds(len(ids), rows.shape[1] // 4), rows, _array(ids), target):
        _check.ids("ids", ids, len(table))


def _bytes(tensor: Tensor) -> np.ndarray[Any, Any]:
    """View a contiguous tensor as ``[rows, bytes]``: one loop then serves every dtype and shape."""
    row_bytes = tensor[0:1].numel() * tensor.element_size() if len(tensor) else 0
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().reshape(len(tensor), row_bytes)


def group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """See `gnnkit.kernels._torch.group_by`."""
    indptr = torch.empty(num_groups + 1, dtype=torch.int64)
    perm = torch.empty(keys.numel(), dtype=torch.int64)
    if _loops.group_by(_array(keys), indptr.numpy(), perm.numpy()):
        _check.ids("keys", keys, num_groups)
    return indptr, perm


def content_hash(words: Tensor, key: int) -> tuple[int, int]:
    """See `gnnkit.kernels._torch.content_hash`."""
    array = _array(words)
    blocks = -(-len(array) // _loops.HASH_BLOCK)
    sums = np.zeros((blocks, 2), dtype=np.uint64)
    run(_loops.content_hash, even_bounds(blocks, _loops.HASH_BLOCK), array, np.uint64(key), sums)
    low, high = sums.sum(axis=0, dtype=np.uint64)
    return int(low), int(high)
