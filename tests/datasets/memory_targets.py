"""What a measured process runs: loads of a set whose size is known, and how large its tensors are."""

from __future__ import annotations

import os
from pathlib import Path

from gnnkit._optional import require
from gnnkit.datasets import _ogb, _ogb_load
from gnnkit.datasets._ogb_cards import CARDS

require("pandas", "ogb")  # imported before the baseline is taken, as the package ogb is
OFFICIAL = {name: meta for kind in ("ogbn", "ogbl", "ogbg") for name, meta in _ogb.official(kind).items()}


def read(folder: str, name: str, features: str) -> None:
    """Load a set, with a cache of its own."""
    os.environ["GNNKIT_CACHE"] = str(Path(folder).parent / f"cache-{features}")
    data = _ogb_load._read(OFFICIAL[name], Path(folder), "0" * 64, CARDS[name], features == "memmap")
    assert data.num_nodes
