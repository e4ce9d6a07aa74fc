"""Splits of the nodes of a graph, or of graphs."""

from gnnkit.data._splits import Split, from_masks, k_fold, per_class

__all__ = ["Split", "from_masks", "per_class", "k_fold"]
