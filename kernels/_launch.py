"""The one way to run a CUDA kernel: source, name, grid, arguments. The tests' emulator stands in for `run`.

A kernel is named by its template instance, ``"spmm_sum<float, 4>"``. It takes tensors (by their addresses), None (a
null pointer), whole numbers (64 bits) and floats (double), and nothing else.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

Argument = Tensor | int | float | None

OPTIONS = ("-std=c++17",)  # CuPy adds -ftz=true: numbers too small to be normal count as 0
BLOCK = 256  # threads

# host memory that a device may still be reading, each with the event after which it is not
_reading: deque[tuple[torch.cuda.Event, Tensor]] = deque()
_reading_lock = Lock()


def launch(
    source: str, kernel: str, grid: tuple[int, int], args: Sequence[Argument], shared_bytes: int = 0, block: int = BLOCK
) -> None:
    """Queue a kernel on the current stream of the device of ``args``, without waiting for anything.

    Args:
        source: A file in ``kernels/cuda``.
        kernel: An instance of a template in it.
        grid: Blocks in x and y; nothing is launched if one of them is 0.
        args: The kernel's arguments. Tensors are contiguous, on one CUDA device or in pinned host memory, which is
            kept until the kernel has run.
        shared_bytes: Dynamic shared memory of a block, up to 48 KiB.
        block: Threads of a block.
    """
    if 0 not in grid:
        run(source, kernel, grid, block, args, shared_bytes)


def run(
    source: str, kernel: str, grid: tuple[int, int], block: int, args: Sequence[Argument], shared_bytes: int
) -> None:
    """Queue a kernel; see `launch`."""
    import cupy

    tensors = [value for value in args if isinstance(value, Tensor)]
    device = next(tensor.device for tensor in tensors if tensor.is_cuda)
    with torch.cuda.device(device), cupy.cuda.Device(device.index):
        stream = torch.cuda.current_stream()
        with cupy.cuda.ExternalStream(stream.cuda_stream, device.index):
            _function(source, kernel)(grid, (block,), tuple(map(_scalar, args)), shared_mem=shared_bytes)
        _keep([tensor for tensor in tensors if not tensor.is_cuda], stream)


def _keep(host: list[Tensor], stream: torch.cuda.Stream) -> None:
    """Hold on to host memory until what was queued has read it; of a graph that is captured the user does."""
    if torch.cuda.is_current_stream_capturing() or not (host or _reading):
        return
    with _reading_lock:
        for tensor in host:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(stream)
            _reading.append((event, tensor))
        while _reading and _reading[0][0].query():  # type: ignore[no-untyped-call]
            _reading.popleft()


def _scalar(value: Argument) -> Any:
    if isinstance(value, Tensor):
        return np.uint64(value.data_ptr())
    return np.float64(value) if isinstance(value, float) else np.int64(value or 0)


@cache
def _function(source: str, kernel: str) -> Any:
    """Compile one kernel, or find it in CuPy's cache on disk; CuPy loads it into each device at its first use there."""
    import cupy

    module = cupy.RawModule(code=code(source), options=OPTIONS, name_expressions=(kernel,))
    try:
        return module.get_function(kernel)
    except cupy.cuda.compiler.CompileException as error:
        raise RuntimeError(f"{source}: NVRTC refused {kernel}\n{error}") from error


@cache
def code(name: str) -> str:
    """Read a source with the files that it includes in their places: CuPy's cache goes by this text alone."""
    seen: set[str] = set()

    def read(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (files(__package__) / "cuda" / name).read_text().replace("#pragma once\n", "\n")
        before, *rest = re.split(r'^#include "(.*)"\n', text, flags=re.MULTILINE)
        result, line = f'#line 1 "{name}"\n{before}', 1 + before.count("\n")
        for included, after in zip(rest[::2], rest[1::2], strict=True):
            line += 1
            result += f'{read(included)}#line {line} "{name}"\n{after}'
            line += after.count("\n")
        return result

    return read(name)
