"""How the CUDA kernels walk a CSR: lanes, blocks, room for what hubs reduce to, and their first arguments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import overload

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
LANES, WARPS = 32, BLOCK // 32
CHUNK = 512  # entries; a row of more is a hub
STRETCH = 32  # entries of a warp where entries are walked and not rows

# the templates of each source that a Walk calls, by how it calls them
REDUCED = {
    "spmm.cu": ("spmm_sum", "spmm_scaled", "spmm_extreme"),
    "extreme.cu": ("extreme_ties", "spmm_masked"),
    "gat.cu": ("gat_forward", "gat_backward_dst", "gat_backward_src"),
    "gatv2.cu": ("gatv2_forward", "gatv2_backward_dst", "gatv2_backward_src"),
}
BY_ENTRIES = {"sddmm.cu": ("sddmm", "sddmm_masked")}
TWICE = {"softmax.cu": ("softmax", "softmax_backward")}
# max and min of 16-bit rows come here as float32
NOT_OF_HALVES = {"spmm_extreme", "extreme_ties", "spmm_masked", "sddmm_masked"}


@overload
def plain(tensor: Tensor) -> Tensor: ...
@overload
def plain(tensor: None) -> None: ...
@overload
def plain(tensor: Tensor | None) -> Tensor | None: ...
def plain(tensor: Tensor | None) -> Tensor | None:
    """Give a tensor as the kernels take it: contiguous."""
    return None if tensor is None else tensor.detach().contiguous()


def check(name: str, ids: Tensor, bound: int, low: int = 0) -> None:
    """Look at ids if ``GNNKIT_CHECK=1`` asks for it; that waits for the device."""
    if os.environ.get("GNNKIT_CHECK") == "1":
        _check.ids(name, ids, bound, low)


# a grid, the arguments that come first, and shared memory
_Step = tuple[tuple[int, int], tuple[Argument, ...], int]


class Walk:
    """A CSR, and tables whose rows ``[heads, depth]`` lie along it."""

    def __init__(
        self,
        indptr: Tensor,
        indices: Tensor | None,
        num_cols: int,
        shape: Sequence[int],
        dtype: torch.dtype,
        *packed: Tensor,
    ) -> None:
        """Lay out the lanes; ``packed`` are tables that are read or written 16 bytes at a time where that can be."""
        self.name, self.wide, pack = DTYPES[dtype]
        self.heads, self.depth = shape
        self.per_lane = pack if self.depth % pack == 0 and all(t.data_ptr() % 16 == 0 for t in packed) else 1
        self.indptr = indptr.long().contiguous()
        self.indices = plain(indices)
        self.rows, self.num_cols = indptr.numel() - 1, num_cols
        self.num_entries = num_cols if indices is None else indices.numel()
        if self.num_entries and not num_cols:
            raise ValueError(f"indices: expected no entries where there is no row to read (got {self.num_entries})")
        if os.environ.get("GNNKIT_CHECK") == "1":
            _check.csr_pointers(indptr, self.num_entries)
            if indices is not None:
                _check.ids("indices", indices, num_cols)

    @classmethod
    def of_segments(cls, indptr: Tensor, table: Tensor) -> Walk:
        """Walk over rows of entries that need no indices: ``table [E, H]``."""
        return cls(indptr, None, len(table), (table.shape[1], 1), table.dtype)

    def wide_numbers(self, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        """Give numbers of edges and heads in the dtype of sums: what weighs a row is not of 16 bits."""
        return tuple(None if t is None else plain(t.to(self.wide)) for t in tensors)

    def _graph(self, span: int, chunk: int) -> tuple[Argument, ...]:
        wide_ids = self.indices is not None and self.indices.dtype == torch.int64
        sizes = self.rows, self.num_entries, self.num_cols, self.heads, self.depth
        return self.indptr, self.indices, int(wide_ids), *sizes, span, chunk

    def reduce(self, source: str, kernel: str, out: Tensor, *args: Argument) -> None:
        """Reduce every row: hubs by chunks, if there may be any, then the rows.

        Args:
            source: The file.
            kernel: The template's name.
            out: The tensor that is written.
            args: What follows it in the kernel's arguments.
        """
        lanes = -(-self.heads * self.depth // self.per_lane)
        span = _power_of_two(lanes)
        self._reduce(source, kernel, self._steps(span, -(-lanes // span), lanes, self.per_lane), out, *args)

    def attend(self, source: str, kernel: str, numbers: int, out: Tensor, *args: Argument) -> None:
        """Reduce every row with its heads apart, ``numbers`` a lane; see ``attention.cuh``."""
        span = _power_of_two(-(-self.depth // self.per_lane))
        side = LANES // span
        while side // 2 >= max(self.heads, 1):
            side //= 2
        tiles = -(-self.depth // (span * self.per_lane))
        steps = self._steps(span, tiles * -(-self.heads // side), self.heads * tiles * span, numbers)
        self._reduce(source, kernel, steps, out, tiles, *args)

    def twice(self, source: str, kernel: str, numbers: int, out: Tensor, *args: Argument) -> None:
        """Reduce every row and go over its entries again, those of hubs last."""
        span = _power_of_two(self.heads)
        for step, (grid, first, shared_bytes) in enumerate(
            self._steps(span, -(-self.heads // span), self.heads, numbers)
        ):
            launch(source, f"{kernel}<{self.name}, {step}>", grid, (*first, out, *args), shared_bytes)

    def _reduce(self, source: str, kernel: str, steps: list[_Step], out: Tensor, *args: Argument) -> None:
        for hubs, (grid, first, shared_bytes) in zip(("true", "false"), steps, strict=False):
            launch(source, f"{kernel}<{self.name}, {self.per_lane}, {hubs}>", grid, (*first, out, *args), shared_bytes)

    def _steps(self, span: int, tiles: int, units: int, numbers: int) -> list[_Step]:
        """Lay out what a reduction can need: over the chunks of hubs, over rows, and over the chunks again.

        Args:
            span: Lanes side by side.
            tiles: Blocks beside each other for one row.
            units: Lanes that a row has in all tiles.
            numbers: How many numbers each of them reduces to.
        """
        chunks = -(-self.num_entries // CHUNK) if self.rows and self.num_entries > CHUNK else 0
        partial = None
        if chunks:
            partial = torch.empty(2 * chunks, units, numbers, dtype=self.wide, device=self.indptr.device)
        first = *self._graph(span, CHUNK), partial
        hubs = (chunks, tiles), first, BLOCK * numbers * self.wide.itemsize
        return [hubs, ((-(-self.rows // WARPS), tiles), first, 0), hubs]

    def entries(self, source: str, kernel: str, out: Tensor, *args: Argument) -> None:
        """Give every entry to a few lanes."""
        span = _power_of_two(-(-self.depth // self.per_lane))
        blocks = -(-self.num_entries // (STRETCH * WARPS)) if self.rows else 0
        launch(
            source, f"{kernel}<{self.name}, {self.per_lane}>", (blocks, 1), (*self._graph(span, STRETCH), out, *args)
        )


def _power_of_two(lanes: int) -> int:
    return min(LANES, 1 << max(lanes - 1, 0).bit_length())


def instances() -> dict[str, list[str]]:
    """Every kernel that the backend can ask for, by source."""
    found: dict[str, list[str]] = {
        "gather.cu": [
            f"{template}<{unit}>"
            for template in ("gather_rows", "gather_cached")
            for unit in ("unsigned, 4", "unsigned, 2", "unsigned, 1", "unsigned short, 1", "unsigned char, 1")
        ],
        "hash.cu": [f"content_hash<{BLOCK}>"],
        "sample.cu": [
            f"{template}<{ids}>"
            for template in ("sample_each", "sample_distinct", "sample_successive")
            for ids in ("int", "long long")
        ],
        "common_neighbors.cu": [
            f"{template}<{ids}>" for template in ("count_members", "write_members") for ids in ("int", "long long")
        ],
        "relabel.cu": [
            f"{template}<{ids}>" for template in ("claim", "mark", "label", "settle") for ids in ("int", "long long")
        ],
    }
    for dtype, (name, wide, pack) in DTYPES.items():
        for table, ends in (
            (REDUCED, [f"{per_lane}, {hubs}" for per_lane in (1, pack) for hubs in ("true", "false")]),
            (BY_ENTRIES, ["1", str(pack)]),
            (TWICE, ["0", "1", "2"]),
        ):
            for source, templates in table.items():
                names = (t for t in templates if wide == dtype or t not in NOT_OF_HALVES)
                found.setdefault(source, []).extend(f"{t}<{name}, {end}>" for t in names for end in ends)
    return found
