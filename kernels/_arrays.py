"""What the CPU backend's operations share: arrays of tensors, fresh outputs, rows to threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._pages import on_huge_pages
from gnnkit.kernels._threads import edge_bounds, run

# Numba has no 16-bit floats on CPUs: the loops tell them apart by the integers they come as
_INTEGERS = {torch.bfloat16: torch.int16, torch.float16: torch.uint16}


def array(tensor: Tensor | None) -> Any:
    """A tensor as a C-contiguous array; 16-bit floats as integers."""
    if tensor is None:
        return None
    kept = tensor.detach().contiguous()
    return kept.view(_INTEGERS[kept.dtype]).numpy() if kept.dtype in _INTEGERS else kept.numpy()


def table(tensor: Tensor) -> Any:
    """``[N, H, D]`` as an array ``[N, H * D]``."""
    return array(tensor).reshape(len(tensor), tensor.shape[1] * tensor.shape[2])


def empty(like: Tensor, *shape: int) -> Tensor:
    """A fresh output of a tensor's dtype."""
    return on_huge_pages(like.new_empty(shape))


def empty_like(tensor: Tensor) -> Tensor:
    """A fresh output of a tensor's shape and dtype."""
    return on_huge_pages(torch.empty_like(tensor, memory_format=torch.contiguous_format))


def over_rows(loop: Callable[..., int], indptr: Tensor, indices: Tensor, gathered: Tensor, *args: Any) -> None:
    """Run a loop over the rows of a CSR whose indices name rows of ``gathered``.

    The first and last pointer are checked here, the rest in the loop.
    """
    pointers, columns = array(indptr), array(indices)
    wrong = pointers[0] != 0 or pointers[-1] != len(columns)
    bounds = [] if wrong else edge_bounds(pointers, len(columns), gathered[0:1].numel())
    if wrong or run(loop, bounds, pointers, columns, *args):
        refused(indptr, indices, len(gathered))


def with_scratch(loop: Callable[..., int], indptr: Tensor, num_edges: int, heads: int, dtype: torch.dtype) -> Any:
    """Hand a loop, as its last argument, room for the edges of the longest row: two rows, two tables ``[most, H]``.

    A table of its own for every call, since calls run at once; what is not written to takes no memory.
    """
    longest = int(indptr.diff().max()) if len(indptr) > 1 else 0
    shape = 2 + 2 * min(max(longest, 0), num_edges), heads  # a wrong pointer is for the loop to find
    kind = np.float64 if dtype == torch.float64 else np.float32

    def call(low: int, high: int, *args: Any) -> int:
        return loop(low, high, *args, np.empty(shape, kind))

    return call


def refused(indptr: Tensor, indices: Tensor, num_cols: int) -> NoReturn:
    """Say what is wrong with a CSR that a loop did not take."""
    _check.csr_values(indptr, indices, num_cols)
    raise AssertionError("a loop refused a CSR that the checks accept")
