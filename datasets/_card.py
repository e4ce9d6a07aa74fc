"""Card: what one has to know of a dataset to report a number on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

TaskName = Literal["node_classification", "graph_classification", "graph_regression", "link_prediction"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Card:
    """The facts of a dataset, its task and its protocol; ``load(name).card`` holds it.

    Edges are counted as PyG counts them: an undirected edge twice.

    Attributes:
        name: The name that `gnnkit.datasets.load` takes.
        title: The name as printed in papers.
        task: ``"node_classification"``, ``"graph_classification"``, ``"graph_regression"`` or
            ``"link_prediction"``. For the two of graphs, ``load`` returns a PyG dataset of graphs.
        metric: A key of `gnnkit.train.METRICS`, or for link prediction ``"mrr"`` or ``"hits@K"``.
        num_graphs: Number of graphs.
        num_nodes: Number of nodes, of all graphs together; None where its makers do not state it.
        num_edges: Number of directed edges, of all graphs together; None where its makers do not state it.
        num_features: Width of ``x``.
        num_edge_features: Width of ``edge_attr``, 0 without one.
        num_classes: Number of classes; 0 for regression and links.
        num_tasks: None where each row of ``y`` is one class; else the number of columns of ``y``, each a yes/no
            (NaN: unknown) for classification, a value for regression.
        node_categories: Where ``x`` holds whole numbers that name categories: how many each column knows. None
            where they are measurements.
        edge_categories: The same for ``edge_attr``.
        splits: The protocol in words.
        split: ``split(data, seed)`` makes the split of one run: a `gnnkit.data.Split`, or for link prediction a
            `gnnkit.links.LinkSplit`.
        node_type: Where nodes have types: the one with classes, whose ids `split` gives. None where they have none.
        source: Who made the data and who packaged it.
        licence: The licence, or that none is stated.
        folder: Where the raw files lie below the data root; None when the data come with a package.
        evaluator: ``evaluator(y_true, y_pred)`` takes the targets and the model's outputs of a part and returns
            the metric, where the dataset's makers ship one; None for that of `gnnkit.train.METRICS`.
        packages: The packages beside PyG that read or score the dataset: their versions are kept with its results.
    """

    name: str
    title: str
    task: TaskName
    metric: str
    num_graphs: int = 1
    num_nodes: int | None
    num_edges: int | None
    num_features: int
    num_edge_features: int = 0
    num_classes: int
    num_tasks: int | None = None
    node_categories: tuple[int, ...] | None = None
    edge_categories: tuple[int, ...] | None = None
    splits: str
    split: Callable[[Any, int], Any]
    node_type: str | None = None
    source: str
    licence: str
    folder: str | None = None
    evaluator: Callable[[Any, Any], float] | None = None
    packages: tuple[str, ...] = ()

    @property
    def out_channels(self) -> int:
        """How many numbers a model gives for a row of ``y``: one a class, or one a task."""
        return self.num_classes if self.num_tasks is None else self.num_tasks

    def __repr__(self) -> str:
        return f"Card({self.name!r})"  # short: it shows inside the repr of every loaded Data
