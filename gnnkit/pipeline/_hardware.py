"""What a machine can do: numbers for predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Hardware:
    """One processor and its link. What is not given takes no time: ``Hardware(link_bytes_per_second=3e8)`` is a link.

    Example:
        >>> from gnnkit.pipeline import HARDWARE
        >>> HARDWARE["a100"].link_bytes_per_second
        25000000000.0

    Attributes:
        name: What it is called.
        flops: Dense float32 operations a second, a multiplication and an addition counted as two.
        memory_bytes_per_second: Of its memory.
        memory_bytes: Size of its memory.
        link_bytes_per_second: Of its link to the others, in each of both directions.
        latency_seconds: Of a message, beyond its bytes.
        overhead_seconds: Of a hop of one chunk, however small: launching its kernels.
        efficiency: The share of ``flops`` and ``memory_bytes_per_second`` that is reached.
        source: Where the numbers are from.

    Raises:
        ValueError: A speed or size is not positive, or a time is negative.
    """

    name: str = "a link alone"
    flops: float = math.inf
    memory_bytes_per_second: float = math.inf
    memory_bytes: float = math.inf
    link_bytes_per_second: float = math.inf
    latency_seconds: float = 0.0
    overhead_seconds: float = 0.0
    efficiency: float = 1.0
    source: str = "given"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                continue
            if field.name.endswith("_seconds"):
                if not 0 <= value < math.inf:
                    raise ValueError(f"{field.name}: expected a time >= 0 (got {value})")
            elif not value > 0 or (field.name == "efficiency" and value > 1):
                expected = "a share above 0 and at most 1" if field.name == "efficiency" else "a number above 0"
                raise ValueError(f"{field.name}: expected {expected} (got {value})")

    def compute(self, operations: float, memory: float) -> float:
        """Seconds for some operations on some bytes of memory, whichever takes longer."""
        return max(operations / self.flops, memory / self.memory_bytes_per_second) / self.efficiency

    def transfer(self, size: float) -> float:
        """Seconds for which a message occupies the link."""
        return size / self.link_bytes_per_second

    def all_reduce(self, size: float, ways: int) -> float:
        """Seconds to add up so many bytes of each of W processes: up a binary tree and down again, in pieces."""
        hops = 2 * (ways - 1).bit_length()  # 2 ceil(log2 W)
        return self.transfer(2 * (ways - 1) / ways * size) + hops * self.latency_seconds


def _gpu(name: str, teraflops: float, bandwidth: float, gigabytes: float, link_gigabits: float) -> Hardware:
    return Hardware(
        name,
        teraflops * 1e12,
        bandwidth * 1e9,
        gigabytes * 1e9,
        link_gigabits * 1e9 / 8,
        latency_seconds=1e-5,
        overhead_seconds=1e-4,
        efficiency=0.5,
        source="NVIDIA's data sheets: float32 without tensor cores, memory, a GPU's share of its DGX's network "
        "adapters; latency, overhead and efficiency are guesses",
    )


HARDWARE = {
    "v100": _gpu("V100 SXM2 32 GB", 15.7, 900, 32, 50),
    "a100": _gpu("A100 SXM 80 GB", 19.5, 2039, 80, 200),
    "h100": _gpu("H100 SXM 80 GB", 67, 3350, 80, 400),
    "h200": _gpu("H200 SXM 141 GB", 67, 4800, 141, 400),
}
