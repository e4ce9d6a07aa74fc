"""Where raw data are read and where processed data are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder for what gnnkit can make again: ``GNNKIT_CACHE``, else the user's cache folder."""
    if given := os.environ.get("GNNKIT_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gnnkit"


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the raw data: ``root``, else ``GNNKIT_DATA``, else ``data`` in the user's cache."""
    given = root if root is not None else os.environ.get("GNNKIT_DATA")
    return Path(given) if given else cache_dir() / "data"
