"""Link prediction: graphs of edges to hold back, protocols, metrics, heuristics, hard negatives, diagnosis.

Importing it is cheap: a module is loaded when one of its names is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.links._approximate_concentration import approximate_concentration
    from gnnkit.links._concentration import subgraph_density, topological_concentration
    from gnnkit.links._graph import LinkGraph

_HOME = {
    "LinkGraph": "_graph",
    **dict.fromkeys(("topological_concentration", "subgraph_density"), "_concentration"),
    "approximate_concentration": "_approximate_concentration",
}
__all__ = [
    "LinkGraph",
    "topological_concentration",
    "subgraph_density",
    "approximate_concentration",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.links' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnkit.links.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
