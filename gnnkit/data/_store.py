"""FeatureStore: the one way to read rows of a table by id, and InMemory, a table that a tensor holds."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gnnkit.kernels import _check, gather_rows
from gnnkit.kernels._pages import on_huge_pages


@runtime_checkable
class FeatureStore(Protocol):
    """A table of rows that is read by id, wherever the rows are: memory, pinned memory, a file, behind a cache.

    A class with these three members is a feature store; it need not derive from this one.

    Example:
        >>> import torch
        >>> from gnnkit.data import FeatureStore, InMemory
        >>> isinstance(InMemory(torch.ones(3, 2)), FeatureStore), isinstance(torch.ones(3, 2), FeatureStore)
        (True, False)
    """

    @property
    def shape(self) -> torch.Size:
        """``[N, D, …]``: the number of rows, then the shape of a row."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type of the numbers."""
        ...

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """Return ``[K, D, …]`` on the device of ``ids``, row k being row ``ids[k]`` of the table.

        Args:
            ids: ``[K]`` int32 or int64 in ``[0, N)``; an id may be repeated.
            out: ``[K, D, …]`` to write into and return: contiguous, of the store's dtype, on the device of ``ids``.

        Raises:
            ValueError: An id outside the table, or an ``out`` that does not fit.
        """
        ...


class InMemory:
    """Rows of a tensor, in host or device memory: ``out[k] = tensor[ids[k]]``.

    `gnnkit.kernels.gather_rows` under the name that all stores share. The tensor is not copied unless its rows lie
    apart (a transposed matrix, say), and is read without gradient. Rows on the CPU that a GPU asks for are gathered
    on the CPU and sent; `gnnkit.data.Pinned` lets the GPU read them. A bad id is an error on the CPU; on a GPU it
    makes a row of NaN, as in all kernels there.

    Args:
        tensor: ``[N, …]`` of any dtype.

    Raises:
        ValueError: ``tensor`` is no dense tensor with rows.

    Example:
        >>> import torch
        >>> from gnnkit.data import InMemory
        >>> store = InMemory(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> store.read(torch.tensor([1, 0, 1])).tolist(), store.shape, store.dtype
        ([[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]], torch.Size([2, 2]), torch.float32)
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = check_table(tensor).contiguous()

    @property
    def shape(self) -> torch.Size:
        """``[N, D, …]``."""
        return self.tensor.shape

    @property
    def dtype(self) -> torch.dtype:
        """The tensor's."""
        return self.tensor.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `FeatureStore.read`."""
        return gather_rows(self.tensor, ids, out)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_check.describe(self.tensor)})"


# ------------------------------------------------------------------ what stores check


def check_table(tensor: object) -> Tensor:
    """Require a dense tensor with rows; return it without gradient."""
    if not isinstance(tensor, Tensor) or tensor.dim() == 0 or tensor.layout != torch.strided:
        raise ValueError(f"tensor: expected a dense tensor with rows (got {_check.describe(tensor)})")
    return tensor.detach()


def check_ids(ids: Tensor, num_rows: int) -> None:
    """Require ``[K]`` int32 or int64 ids in ``[0, num_rows)``; on a GPU this waits for the device."""
    _check.index_vector("ids", ids)
    _check.ids("ids", ids, num_rows)


def output(store: FeatureStore, ids: Tensor, out: Tensor | None) -> Tensor:
    """Return ``out`` if it may take the rows of ``ids``, or fresh memory for them where it is None."""
    shape, dtype = (len(ids), *store.shape[1:]), store.dtype
    if out is None:
        fresh = torch.empty(shape, dtype=dtype, device=ids.device)
        return on_huge_pages(fresh) if ids.device.type == "cpu" else fresh
    _check.shaped("out", out, list(shape), (dtype,))
    if not out.is_contiguous() or out.device != ids.device:
        raise ValueError(
            f"out: expected contiguous memory on {ids.device} (got strides {out.stride()} on {out.device})"
        )
    if out.requires_grad and torch.is_grad_enabled():
        raise ValueError("out: expected a tensor without gradient when writing into a buffer (got requires_grad)")
    return out
