"""Graph neural networks beside PyG, DGL and OGB.

Importing the package is cheap: torch is loaded when a name that needs it is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit._accelerate import accelerate
    from gnnkit.adjacency import Adjacency

__version__ = _version("gnnkit")
__all__ = ["Adjacency", "accelerate", "__version__"]

_HOME = {"Adjacency": "gnnkit.adjacency", "accelerate": "gnnkit._accelerate"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
