"""Splits of the nodes of a graph."""

from gnnkit.data._splits import Split, from_masks, per_class

__all__ = ["Split", "from_masks", "per_class"]
