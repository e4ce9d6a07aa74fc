"""Large outputs on huge pages: a fresh tensor's first touch costs more than the sums that fill it.

Linux hands out memory in pages of 4 KiB, zeroed at the first touch: for the 87 MB of 170,000 rows of 128 floats that
is 21,000 interruptions. Where the system leaves the choice to programs (``transparent_hugepage`` = madvise, the
usual setting), asking for pages of 2 MiB before the first touch takes most of that time away. torch does it for
all its tensors when ``THP_MEM_ALLOC_ENABLE=1``; here it is done for what the kernels write.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

from torch import Tensor

LEAST_BYTES = 8 << 20  # smaller blocks may come from the allocator's heap, whose pages outlive the tensor
_HUGE = 2 << 20


def on_huge_pages(tensor: Tensor) -> Tensor:
    """Ask for huge pages under a tensor that nobody has written to yet, and return it; a refusal changes nothing."""
    nbytes = tensor.numel() * tensor.element_size()
    if nbytes >= LEAST_BYTES and (advise := _madvise()) is not None:
        begin = -(-tensor.data_ptr() // _HUGE) * _HUGE  # whole pages only
        end = (tensor.data_ptr() + nbytes) // _HUGE * _HUGE
        advise(begin, end - begin, mmap.MADV_HUGEPAGE)
    return tensor


@cache
def _madvise() -> Any:
    if sys.platform != "linux" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return function
