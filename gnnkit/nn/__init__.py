"""Layers that users put in PyG models: ``layer(x, edge_index, …)``.

Importing it is cheap: a module is loaded when one of its names is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.nn._common_neighbors import CommonNeighbors

_HOME = {"CommonNeighbors": "_common_neighbors"}
__all__ = ["CommonNeighbors"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.nn' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnkit.nn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
