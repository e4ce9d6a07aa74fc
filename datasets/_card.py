"""Card: what one has to know of a dataset to report a number on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gnnkit.data import Split


@dataclass(frozen=True, kw_only=True, repr=False)
class Card:
    """The facts of a dataset, its task and its protocol; ``load(name).card`` holds it.

    Edges are counted as PyG counts them: an undirected edge twice.

    Attributes:
        name: The name that `gnnkit.datasets.load` takes.
        title: The name as printed in papers.
        task: ``"node_classification"``.
        metric: A key of `gnnkit.train.METRICS`.
        num_nodes: Number of nodes.
        num_edges: Number of directed edges.
        num_features: Width of ``x``.
        num_classes: Number of classes.
        splits: The protocol in words.
        split: ``split(data, seed)`` makes the split of one run.
        source: Who made the data and who packaged it.
        licence: The licence, or that none is stated.
        folder: Where the raw files lie below the data root; None when the data come with a package.
    """

    name: str
    title: str
    task: str
    metric: str
    num_nodes: int
    num_edges: int
    num_features: int
    num_classes: int
    splits: str
    split: Callable[[Any, int], Split]
    source: str
    licence: str
    folder: str | None = None

    def __repr__(self) -> str:
        return f"Card({self.name!r})"  # short: it shows inside the repr of every loaded Data
