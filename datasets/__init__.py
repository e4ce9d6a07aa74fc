"""Datasets by name: ``load("cora", root=...)`` returns what PyG would, with its ``card``."""

if __name__ != "gnnkit.datasets":
    raise ImportError("import gnnkit.datasets, not datasets")

from gnnkit.datasets._card import Card
from gnnkit.datasets._load import card, load, names
from gnnkit.datasets._root import cache_dir, data_root

__all__ = ["Card", "card", "load", "names", "cache_dir", "data_root"]
