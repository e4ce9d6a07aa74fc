"""A search as words: from what a command line gives, to what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gnnkit.pipeline._hardware import HARDWARE
from gnnkit.pipeline._predict import Job
from gnnkit.pipeline._search import Search, search
from gnnkit.pipeline._verdict import gigabytes, split_sizes

COLUMNS = ("mode", "stages", "ways", "chunks", "s/epoch", "busy", "GB sent", "GB/GPU", "fits")
LEGEND = (
    "busy: the share of the epoch in which a GPU computes. GB sent: by all GPUs together in an epoch. "
    "(R): activations are computed twice, to fit."
)
LINK_GBPS = 1e-3, 1e6  # slowest and fastest link that is taken for one


def search_by_name(
    layers: int,
    hidden: int,
    gpus: int,
    nodes: float,
    edges: float,
    *,
    features: int,
    classes: int,
    model: str,
    hardware: str,
    link_gbps: float | None,
    replication: Sequence[str],
) -> Search:
    """Search with hardware by its name, a link in gigabits a second, and measured figures as ``WAYS=RATIO``.

    Raises:
        ValueError: A name is unknown or a figure cannot be.
    """
    if hardware not in HARDWARE:
        raise ValueError(f"hardware: expected one of {', '.join(HARDWARE)} (got {hardware!r})")
    machine = HARDWARE[hardware]
    if link_gbps is not None:
        slowest, fastest = LINK_GBPS
        if not slowest <= link_gbps <= fastest:
            raise ValueError(f"link-gbps: expected a number from {slowest:g} to {fastest:,.0f} (got {link_gbps:g})")
        machine = replace(
            machine, link_bytes_per_second=link_gbps * 1e9 / 8, source=f"{machine.source}; the link given"
        )
    sizes = {"nodes": nodes, "edges": edges}
    for name, size in sizes.items():
        if not size.is_integer():  # NaN and infinities are none either
            raise ValueError(f"{name}: expected a whole number (got {size:g})")
    job = Job(layers, hidden, int(nodes), int(edges), features, classes, model)
    return search(job, gpus, machine, measured=_measured(replication))


def _measured(texts: Sequence[str]) -> dict[int, float]:
    found: dict[int, float] = {}
    for text in texts:
        left, _, right = text.partition("=")
        try:
            ways, ratio = int(left), float(right)
        except ValueError:
            raise ValueError(f"replication: expected WAYS=RATIO such as 8=1.13 (got {text!r})") from None
        if ways in found:
            raise ValueError(f"replication: expected each number of ways once (got {ways}={found[ways]:g} and {text})")
        found[ways] = ratio
    return found


def table_rows(found: Search) -> list[tuple[str, ...]]:
    """Give a row of `COLUMNS` for each number of stages, the best first; (R) where activations are computed twice."""
    return [
        (
            split.mode,
            str(split.stages),
            str(split.ways),
            str(split.chunks),
            f"{split.epoch_seconds:.3g}",
            f"{split.busy:.0%}",
            gigabytes(split.sent_bytes),
            gigabytes(split.memory.total),
            ("yes" if split.fits else "no") + (" (R)" if split.recompute else ""),
        )
        for split in sorted(found.splits, key=lambda split: split is not found.best)
    ]


def best_line(found: Search) -> str:
    """Say which split is best, or needs least memory."""
    best = found.best
    sizes = split_sizes(best)
    twice = ", activations computed twice (R)" if best.recompute else ""
    if not best.fits:
        return f"Smallest: {sizes}{twice}: {gigabytes(best.memory.total)} GB a GPU."
    return f"Best: {sizes}{twice}: {best.epoch_seconds:.3g} s an epoch, {gigabytes(best.memory.total)} GB a GPU."
