"""Pinned: rows in page-locked host memory, which the GPU reads by itself."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from gnnkit.data._store import check_table, output
from gnnkit.kernels import _check, gather_rows
from gnnkit.kernels._backend import backend

_PORTABLE = 1  # cudaHostRegisterPortable: pinned for every device of the process


class _Registration:
    """A storage that is pinned until the last store that holds this lets go of it.

    Attributes:
        devices: Those that may be reading it.
    """

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, nbytes = storage.data_ptr(), storage.nbytes()
        _checked(_runtime().cudaHostRegister(address, nbytes, _PORTABLE), f"pinning {nbytes} bytes")
        self.devices: set[torch.device] = set()
        # the storage is an argument to outlive its registration; at exit the call is made too
        weakref.finalize(self, _unregister, storage, self.devices, os.getpid())


# by the address of the storage: pinning it a second time would be an error
_registrations: weakref.WeakValueDictionary[int, _Registration] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class Pinned:
    """Rows of host memory that a GPU reads over PCIe: ``out[k] = tensor[ids[k]]`` without a gather on the CPU.

    Zero copy (Min et al., *Large graph convolutional network training with GPU-oriented data communication
    architecture*, PVLDB 14(11), 2021): a group of GPU lanes reads each row where it lies, in whole lines of 128 bytes.
    The rows are read in the order of their ids, and written where they belong. A repeated id is read again: let ``ids``
    be distinct, as a sampler's ``n_id`` are. The paper's separate producer process is not needed: `read` only queues a
    kernel on the current stream, so on a side stream it runs beside the training of the batch before.

        with torch.cuda.stream(side):
            x = store.read(ids)               # returns at once
        torch.cuda.current_stream().wait_stream(side)
        x.record_stream(torch.cuda.current_stream())

    With ``ids`` on the CPU it is a gather on the CPU, since the rows are host memory. There is no form of it without
    CUDA: `gnnkit.data.InMemory` is the same rows there. A bad id is an error on the CPU and a row of NaN on the GPU.

    Pinning takes about as long as copying the tensor, so it is for tables that live long. It pins the whole storage
    under the tensor, in place, once for all stores that share it, until the last of them is closed, deleted, or the
    process ends; closing waits for the GPU. A tensor that is pinned already stays its owner's affair. A child made by
    fork cannot use the store; one that is spawned pins the memory itself, for which the tensor has to be in shared
    memory (``tensor.share_memory_()``) before it is pinned.

    Args:
        tensor: ``[N, …]`` of any dtype, contiguous, in host memory; it is kept alive. No rows at all are fine.

    Raises:
        ValueError: ``tensor`` is no contiguous host table.
        RuntimeError: There is no CUDA device, CUDA refuses the memory, or the store is closed or was forked.

    Example:
        >>> import torch
        >>> from gnnkit.data import InMemory, Pinned
        >>> x = torch.eye(3)
        >>> store = Pinned(x) if torch.cuda.is_available() else InMemory(x)
        >>> store.read(torch.tensor([2])).tolist()
        [[0.0, 0.0, 1.0]]
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = check_table(tensor)
        if self.tensor.device.type != "cpu" or not self.tensor.is_contiguous():
            where = f"strides {self.tensor.stride()} on {self.tensor.device}"
            raise ValueError(f"tensor: expected contiguous host memory (got {where})")
        if torch.cuda._is_in_bad_fork():
            raise RuntimeError(
                "Pinned: expected a process that may use CUDA, such as a spawned one "
                "(got one forked after CUDA was used)"
            )
        if not torch.cuda.is_available():
            raise RuntimeError("Pinned: expected a CUDA device, without which InMemory reads the same rows (got none)")
        self._process, self._open = os.getpid(), True
        self._registration = _register(self.tensor)

    @property
    def shape(self) -> torch.Size:
        """``[N, D, …]``."""
        return self.tensor.shape

    @property
    def dtype(self) -> torch.dtype:
        """The tensor's."""
        return self.tensor.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `gnnkit.data.FeatureStore.read`; for ids on a GPU it does not wait for the device."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "Pinned: expected the process that pinned the memory, or a spawned one "
                f"(got process {os.getpid()}, forked from {self._process})"
            )
        if not self._open:
            raise RuntimeError("Pinned: expected an open store (got a closed one)")
        _check.index_vector("ids", ids)
        if not ids.is_cuda:
            return gather_rows(self.tensor, ids, out)
        out = output(self, ids, out)
        if self._registration is not None:
            self._registration.devices.add(ids.device)
        backend(ids).gather_rows(self.tensor, ids, out, ids.argsort())
        return out

    def close(self) -> None:
        """Give the memory back to paging, after the GPU, unless another store uses it; a second call does nothing."""
        self._open, self._registration = False, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Pinned], tuple[Tensor]]:
        # sending it would move it to shared memory, from under the registration
        if not self.tensor.is_shared():  # type: ignore[no-untyped-call]
            raise ValueError(
                "Pinned: expected a tensor that was in shared memory before it was pinned, to send it to another "
                "process (got one that was not)"
            )
        return type(self), (self.tensor,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_check.describe(self.tensor)})"


def _register(tensor: Tensor) -> _Registration | None:
    """Pin the storage under a tensor, or share what another store pinned; None where nothing has to be pinned."""
    if tensor.numel() == 0:  # CUDA refuses a range of no bytes
        return None
    address = tensor.untyped_storage().data_ptr()
    with _lock:
        shared = _registrations.get(address)
        if shared is None and not tensor.is_pinned():  # by its owner, that is
            shared = _registrations[address] = _Registration(tensor)
    return shared


def _unregister(storage: torch.UntypedStorage, devices: set[torch.device], process: int) -> None:
    """Wait for all devices that may be reading, then unpin; a forked child has nothing to undo."""
    if os.getpid() == process:
        for device in devices:
            torch.cuda.synchronize(device)
        _checked(_runtime().cudaHostUnregister(storage.data_ptr()), f"unpinning {storage.nbytes()} bytes")


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def _checked(status: Any, what: str) -> None:
    if int(status) != 0:
        raise RuntimeError(f"Pinned: expected CUDA to allow {what} (got {status})")
