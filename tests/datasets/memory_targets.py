"""What a measured process runs: loads of a set whose size is known."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from pathlib import Path

from official_sets import write_set

from gnnkit.datasets import _ogb, _ogb_load
from gnnkit.datasets._ogb_cards import CARDS


def read(folder: str, name: str, features: str) -> None:
    """Load a set, with a cache of its own."""
    os.environ["GNNKIT_CACHE"] = str(Path(folder).parent / f"cache-{features}")
    meta = _ogb.official(name.partition("-")[0])[name]
    data = _ogb_load._read(meta, Path(folder), "0" * 64, CARDS[name], features == "memmap")
    assert data.num_nodes


def warm() -> None:
    """Load two small sets, so that what the libraries import on the way is there before the baseline is taken."""
    with tempfile.TemporaryDirectory() as place:
        for name, features in (("ogbn-arxiv", "memory"), ("ogbn-papers100M", "memmap")):
            read(str(write_set(Path(place), name)), name, features)


if multiprocessing.current_process().name != "MainProcess":  # in the measured process, where it is imported
    warm()
