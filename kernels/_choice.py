"""Our sum or the library's: measured when a class of cases is first met, then remembered, if the user asks for it.

cuSPARSE's product with a CSR is fast on some graphs. It is not what runs unless ``GNNKIT_SPMM=measured`` asks: it does
not promise the same bits in every run, and it follows a wrong index wherever that leads. A choice by the clock would
moreover give other bits on another day.
"""

from __future__ import annotations

import os
import statistics
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import cache

import torch
from torch import Tensor

Way = Callable[[], Tensor]
ROUNDS = 5


class Choice:
    """Remembers which of several ways to the same result was fastest when a case of its class was first met."""

    def __init__(self, seconds: Callable[[Way], float]) -> None:
        """``seconds`` runs a way and says how long it took."""
        self._seconds = seconds
        self.chosen: dict[Hashable, str] = {}

    def run(self, key: Hashable, ways: Mapping[str, Way]) -> Tensor:
        """Go the way that is chosen for ``key``, after measuring all of them if none is yet."""
        if key not in self.chosen:
            for way in ways.values():
                way()  # compiles, allocates, warms the cache
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    taken[name].append(self._seconds(way))
            self.chosen[key] = min(ways, key=lambda name: statistics.median(taken[name]))
        return ways[self.chosen[key]]()


def _device_seconds(way: Way) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    way()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


_choice = Choice(_device_seconds)


def wanted() -> bool:
    """Whether ``GNNKIT_SPMM`` asks for the measured choice.

    Raises:
        ValueError: It asks for something else.
    """
    value = os.environ.get("GNNKIT_SPMM") or "ours"
    if value not in ("ours", "measured"):
        raise ValueError(f"GNNKIT_SPMM: expected ours or measured (got {value!r})")
    return value == "measured"


def spmm(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str, ours: Way) -> Tensor:
    """Sum or average by the faster way, or by ours where the library has none; shapes as in `gnnkit.kernels._torch`.

    The first case of a class waits for the device, some dozen times. While a CUDA graph is captured nothing can be
    measured: a class that is not known yet goes our way.
    """
    served = (
        reduce in ("sum", "mean")
        and x.shape[1] == 1
        and x.dtype in (torch.float32, torch.float64)
        and 0 < indices.numel() < 2**31
    )
    key = (
        *(str(x.device), x.dtype, indices.dtype, reduce, values is None, x.shape[2]),
        # sizes to a factor of 2
        *(size.bit_length() for size in (indptr.numel(), indices.numel(), x.shape[0])),
    )
    if not served or (key not in _choice.chosen and torch.cuda.is_current_stream_capturing()):
        return ours()
    return _choice.run(key, {"ours": ours, "library": lambda: by_library(indptr, indices, x, values, reduce)})


def by_library(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """Multiply with a torch CSR: cuSPARSE on a GPU. One head, indices that are trusted."""
    _quiet()
    size = indptr.numel() - 1, x.shape[0]
    weights = x.new_ones(indices.numel()) if values is None else values.detach().reshape(-1)
    # the pointers become what the indices are: the library takes no mix
    csr = torch.sparse_csr_tensor(indptr.to(indices.dtype), indices, weights, size)
    out: Tensor = (csr @ x.detach()[:, 0]).unsqueeze(1)  # [N_dst, 1, D]
    return out / indptr.diff().clamp(min=1).to(x.dtype).view(-1, 1, 1) if reduce == "mean" else out


@cache
def _quiet() -> None:
    """Have torch say once, unheard, that its CSR is in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1))
