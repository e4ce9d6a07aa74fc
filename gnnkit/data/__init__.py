"""Feature stores, samplers, loaders, and splits of nodes or graphs.

Importing it is cheap: a module is loaded when one of its names is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.data._accumulator import outstanding_accesses
    from gnnkit.data._as_pyg import as_pyg
    from gnnkit.data._belady import belady
    from gnnkit.data._cache import Cached, CacheStats
    from gnnkit.data._layerwise import LayerWiseSampler
    from gnnkit.data._link_loader import LinkLoader, LinkNeighborLoader
    from gnnkit.data._loader import NeighborLoader, NodeLoader
    from gnnkit.data._memmap import MemoryMapped
    from gnnkit.data._negatives import negative_edges
    from gnnkit.data._pinned import Pinned
    from gnnkit.data._policies_trace import hit_ratio
    from gnnkit.data._sampler import NeighborSampler
    from gnnkit.data._scores import out_degree, reverse_pagerank
    from gnnkit.data._sharded import Sharded
    from gnnkit.data._splits import Split, from_masks, k_fold, per_class
    from gnnkit.data._store import FeatureStore, InMemory
    from gnnkit.data._transfer_cost import Bandwidths, request_count, tier_seconds
    from gnnkit.data._walks import random_walk
    from gnnkit.data._write_features import write_features

_HOME = {
    **dict.fromkeys(("Split", "from_masks", "per_class", "k_fold"), "_splits"),
    **dict.fromkeys(("FeatureStore", "InMemory"), "_store"),
    "Pinned": "_pinned",
    "MemoryMapped": "_memmap",
    "write_features": "_write_features",
    "as_pyg": "_as_pyg",
    "NeighborSampler": "_sampler",
    **dict.fromkeys(("NodeLoader", "NeighborLoader"), "_loader"),
    **dict.fromkeys(("LinkLoader", "LinkNeighborLoader"), "_link_loader"),
    "negative_edges": "_negatives",
    "LayerWiseSampler": "_layerwise",
    "random_walk": "_walks",
    **dict.fromkeys(("Cached", "CacheStats"), "_cache"),
    "Sharded": "_sharded",
    "hit_ratio": "_policies_trace",
    "belady": "_belady",
    **dict.fromkeys(("out_degree", "reverse_pagerank"), "_scores"),
    "outstanding_accesses": "_accumulator",
    **dict.fromkeys(("Bandwidths", "request_count", "tier_seconds"), "_transfer_cost"),
}
__all__ = [
    "Split",
    "from_masks",
    "per_class",
    "k_fold",
    "FeatureStore",
    "InMemory",
    "Pinned",
    "MemoryMapped",
    "write_features",
    "as_pyg",
    "NeighborSampler",
    "NodeLoader",
    "NeighborLoader",
    "LinkLoader",
    "LinkNeighborLoader",
    "negative_edges",
    "LayerWiseSampler",
    "random_walk",
    "Cached",
    "CacheStats",
    "Sharded",
    "hit_ratio",
    "belady",
    "out_degree",
    "reverse_pagerank",
    "outstanding_accesses",
    "Bandwidths",
    "request_count",
    "tier_seconds",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnkit.data.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
