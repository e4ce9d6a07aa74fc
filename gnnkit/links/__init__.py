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
    from gnnkit.links._heart import heart_negatives, with_heart_negatives
    from gnnkit.links._katz import katz
    from gnnkit.links._local_scores import (
        adamic_adar,
        common_neighbors_score,
        jaccard,
        preferential_attachment,
        resource_allocation,
    )
    from gnnkit.links._metrics import hits_at, mrr, ranks
    from gnnkit.links._node_correlation import Buckets, Correlation, buckets, concentration_shift, correlation
    from gnnkit.links._node_performance import link_hits, node_ranks, per_node
    from gnnkit.links._ppr import ppr
    from gnnkit.links._random_split import heart_split, random_link_split
    from gnnkit.links._reweighting import reweighted
    from gnnkit.links._shortest_path import shortest_path
    from gnnkit.links._split import LinkSplit, ogb_link_split

_HOME = {
    "LinkGraph": "_graph",
    **dict.fromkeys(("topological_concentration", "subgraph_density"), "_concentration"),
    "approximate_concentration": "_approximate_concentration",
    **dict.fromkeys(("LinkSplit", "ogb_link_split"), "_split"),
    **dict.fromkeys(("random_link_split", "heart_split"), "_random_split"),
    **dict.fromkeys(("hits_at", "mrr", "ranks"), "_metrics"),
    **dict.fromkeys(("link_hits", "node_ranks", "per_node"), "_node_performance"),
    **dict.fromkeys(("Correlation", "Buckets", "correlation", "buckets", "concentration_shift"), "_node_correlation"),
    "reweighted": "_reweighting",
    **dict.fromkeys(("heart_negatives", "with_heart_negatives"), "_heart"),
    "ppr": "_ppr",
    **dict.fromkeys(
        ("common_neighbors_score", "adamic_adar", "resource_allocation", "jaccard", "preferential_attachment"),
        "_local_scores",
    ),
    "katz": "_katz",
    "shortest_path": "_shortest_path",
}
__all__ = [
    "LinkGraph",
    "topological_concentration",
    "subgraph_density",
    "approximate_concentration",
    "LinkSplit",
    "ogb_link_split",
    "random_link_split",
    "heart_split",
    "hits_at",
    "mrr",
    "ranks",
    "link_hits",
    "node_ranks",
    "per_node",
    "Correlation",
    "Buckets",
    "correlation",
    "buckets",
    "concentration_shift",
    "reweighted",
    "heart_negatives",
    "with_heart_negatives",
    "ppr",
    "common_neighbors_score",
    "adamic_adar",
    "resource_allocation",
    "jaccard",
    "preferential_attachment",
    "katz",
    "shortest_path",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.links' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnkit.links.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
