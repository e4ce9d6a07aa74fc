"""The small datasets: their sizes, their folder, and what the tests look at."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

EMBEDDED = {
    "digits": (1797, 24680, 64, 10),
    "karate": (34, 156, 34, 4),
}
PLANETOID = {
    "cora": (2708, 10556, 1433, 7),
    "citeseer": (3327, 9104, 3703, 6),
    "pubmed": (19717, 88648, 500, 3),
}
FOLDER = "Planetoid/Cora/raw"


def undirected(edge_index: Tensor) -> bool:
    """Whether every edge is there in both directions, as often in one as in the other."""
    forward = sorted(map(tuple, edge_index.t().tolist()))
    return forward == sorted(map(tuple, edge_index.flip(0).t().tolist()))


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder with its size, mode and time of change."""
    paths = [folder, *folder.rglob("*")]
    return {str(p): (s.st_size, s.st_mode, s.st_mtime_ns) for p in paths for s in [p.lstat()]}
