"""How fast rows move on this machine, measured in about a second, and what that predicts."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gnnkit.data import Bandwidths, tier_seconds
from gnnkit.kernels import gather_rows

ROW_BYTES = 400  # 100 float32, as ogbn-products
_TABLE_BYTES = 2**27  # more than most caches hold
_FILE_BYTES, _PAGE, _PAGES = 2**25, 4096, 1000


def bandwidths(scratch: Path) -> tuple[Bandwidths, float]:
    """Measure the tiers that are here, and the bandwidth of a plain copy in memory (read and written bytes).

    Args:
        scratch: A folder for a file of 32 MiB, which is removed.
    """
    table = torch.zeros(_TABLE_BYTES // ROW_BYTES, ROW_BYTES // 4)
    other = torch.zeros_like(table)
    copied = 2 * _nbytes(table) / _fastest(lambda: other.copy_(table))
    ids = torch.randint(len(table), (100_000,), generator=torch.Generator().manual_seed(0))
    rows = torch.zeros(len(ids), table.shape[1])
    memory = _nbytes(rows) / _fastest(lambda: gather_rows(table, ids, rows))
    device = pinned = None
    if torch.cuda.is_available():
        device, pinned = _gpu(table)
    return Bandwidths(device, pinned, memory, _disk(scratch)), copied


def describe(found: Bandwidths, copied: float) -> dict[str, str]:
    """Say what was measured, and what a million rows are predicted to take."""
    rates = [f"copy {copied / 1e9:.1f} GB/s, read and written"]
    if found.memory:
        rates.append(f"random rows of {ROW_BYTES} bytes gathered at {found.memory / 1e9:.2f} GB/s")
    facts = {"memory": "; ".join(rates)}
    if found.disk:
        facts["disk"] = f"random pages of 4 KiB, one at a time, {found.disk / 1e6:.0f} MB/s past the page cache"
    if found.device and found.pinned:
        facts["gpu memory"] = f"copy {found.device / 1e9:.0f} GB/s, from pinned memory {found.pinned / 1e9:.1f} GB/s"
    times = tier_seconds(1e6, ROW_BYTES, found)
    predicted = ", ".join(f"{tier} {seconds:.3g} s" for tier, seconds in times.items())
    facts["rows"] = f"prediction for a million random rows of {ROW_BYTES} bytes from {predicted}"
    return facts


def _gpu(table: torch.Tensor) -> tuple[float, float]:
    here, there = table.cuda(), table.cuda()
    pinned = table.pin_memory()

    def timed(action: Callable[[], object]) -> float:
        def run() -> None:
            action()
            torch.cuda.synchronize()

        return _fastest(run)

    device = 2 * _nbytes(table) / timed(lambda: there.copy_(here))
    return device, _nbytes(table) / timed(lambda: here.copy_(pinned, non_blocking=True))


def _disk(scratch: Path) -> float | None:
    """Random pages of a new file; None where the system cannot be told to drop it from the page cache."""
    if not hasattr(os, "posix_fadvise"):
        return None
    with tempfile.NamedTemporaryFile(dir=scratch) as file:
        file.write(os.urandom(2**20) * (_FILE_BYTES // 2**20))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        pages = torch.randperm(_FILE_BYTES // _PAGE, generator=torch.Generator().manual_seed(0))[:_PAGES]
        begin, done = time.perf_counter(), 0
        for page in pages.tolist():
            os.pread(file.fileno(), _PAGE, page * _PAGE)
            done += 1
            if time.perf_counter() - begin > 0.5:  # a slow disk has said enough
                break
        return done * _PAGE / (time.perf_counter() - begin)


def _fastest(action: Callable[[], object]) -> float:
    """Seconds of the fastest of three runs after one that does not count."""
    action()
    samples = []
    for _ in range(3):
        begin = time.perf_counter()
        action()
        samples.append(time.perf_counter() - begin)
    return min(samples)


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
