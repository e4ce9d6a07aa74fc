"""What reading rows costs: requests for lines of memory, pages of a disk, and the time that follows. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from gnnkit.kernels import _check

LINE_BYTES = 128  # what a GPU reads from host memory at once
PAGE_BYTES = 4096  # what a disk reads at once


def request_count(row_bytes: int, base_offset: int, ids: Tensor, aligned: bool, line_bytes: int = LINE_BYTES) -> int:
    """Return how many requests for lines a GPU's warps make to read rows that lie back to back.

    A warp of 32 lanes reads a line's worth of a row at a time. Not aligned, it starts where the row does: whatever does
    not begin with a line straddles two, two requests. Aligned, the lanes are shifted so that each warp reads one line
    (Min et al., PVLDB 14(11), 2021): a row asks for every line that it lies in once. Mean requests a row, float32:

    | row | 64 | 100 | 128 | 300 | 602 | 1024 |
    |---|---|---|---|---|---|---|
    | not aligned | 2 | 6.63 | 4 | 18.1 | 36.6 | 32 |
    | aligned | 2 | 4.00 | 4 | 10.3 | 19.8 | 32 |

    Nothing is counted as cached: a row that is named twice is asked for twice.

    Args:
        row_bytes: Length of a row.
        base_offset: Where row 0 begins; only its remainder by ``line_bytes`` matters.
        ids: ``[K]`` int32 or int64.
        aligned: Whether the lanes are shifted.
        line_bytes: Of a request; 4096 and ``aligned`` count pages of a disk.

    Example:
        >>> import torch
        >>> from gnnkit.data import request_count
        >>> ids = torch.arange(1000)
        >>> [request_count(400, 0, ids, aligned) / 1000 for aligned in (False, True)]
        [6.625, 4.0]
    """
    for name, value in (("row_bytes", row_bytes), ("base_offset", base_offset)):
        _check.count(name, value)
    _check.index_vector("ids", ids)
    if not isinstance(line_bytes, int) or line_bytes < 1:
        raise ValueError(f"line_bytes: expected a number of bytes >= 1 (got {line_bytes!r})")
    if row_bytes == 0:
        return 0
    begin = (ids.long() * (row_bytes % line_bytes) + base_offset % line_bytes) % line_bytes  # [K] within its line
    if aligned:
        return int(((begin + row_bytes - 1) // line_bytes + 1).sum())
    whole, rest = divmod(row_bytes, line_bytes)
    requests = whole * (1 + (begin > 0).long())
    if rest:
        requests = requests + (begin + rest - 1) // line_bytes + 1
    return int(requests.sum())


def mean_requests(row_bytes: int, aligned: bool, line_bytes: int = LINE_BYTES) -> float:
    """Return `request_count` a row, over all rows of a large table that begins with a line."""
    period = line_bytes // math.gcd(row_bytes, line_bytes) if row_bytes else 1
    return request_count(row_bytes, 0, torch.arange(period), aligned, line_bytes) / period


@dataclass(frozen=True)
class Bandwidths:
    """Bytes a second of each tier that rows can be read from; None where there is no such tier.

    Attributes:
        device: Rows in the memory of a GPU.
        pinned: Pinned host memory, read by a GPU.
        memory: Rows in host memory (a tensor, or a file in the page cache), gathered by the CPU.
        disk: Pages of a file that the page cache does not hold.
    """

    device: float | None = None
    pinned: float | None = None
    memory: float | None = None
    disk: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{field.name}: expected bytes a second above 0, or None (got {value!r})")


def tier_seconds(num_rows: float, row_bytes: int, bandwidths: Bandwidths) -> dict[str, float]:
    """Predict how long reading random rows takes from each tier that has a bandwidth.

    ``rows · bytes / bandwidth``, where a row counts the lines that it lies in from pinned memory (aligned reads), the
    pages that it lies in from a disk, and itself elsewhere. A prediction, not a measurement: rows are taken to be
    random, nothing overlaps, nothing is cached.

    Args:
        num_rows: How many rows.
        row_bytes: Length of each.
        bandwidths: Of the tiers.

    Returns:
        Seconds by the tier's name.

    Example:
        >>> from gnnkit.data import Bandwidths, tier_seconds
        >>> tier_seconds(1_000_000, 512, Bandwidths(pinned=20e9, memory=4e9, disk=2e9))
        {'pinned': 0.0256, 'memory': 0.128, 'disk': 2.048}
    """
    _check.count("row_bytes", row_bytes)
    read = {
        "device": float(row_bytes),
        "pinned": mean_requests(row_bytes, True) * LINE_BYTES,
        "memory": float(row_bytes),
        "disk": mean_requests(row_bytes, True, PAGE_BYTES) * PAGE_BYTES,
    }
    rates = {field.name: getattr(bandwidths, field.name) for field in fields(bandwidths)}
    return {tier: num_rows * size / rates[tier] for tier, size in read.items() if rates[tier] is not None}
