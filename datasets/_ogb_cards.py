"""Cards of OGB's official datasets, known without the ogb package.

Counts are of what ogb's PyG loaders give: both directions of an undirected edge, and for links the edges to train on.
Where OGB publishes only averages, totals are None.
"""

from __future__ import annotations

from typing import Any

from gnnkit.data import Split, from_masks
from gnnkit.datasets._card import Card
from gnnkit.datasets._ogb import OGBEvaluator
from gnnkit.links import LinkSplit, ogb_link_split

METRICS = {"acc": "accuracy", "rocauc": "roc_auc", "ap": "average_precision", "rmse": "rmse"}  # ogb's word: gnnkit's
PACKAGES = ("ogb", "pandas")
_OGB = "Hu et al. 2020, Open Graph Benchmark"
# How many values ogb knows of each column of an atom and of a bond; a test compares them with ogb's own
ATOMS = (119, 5, 12, 12, 10, 6, 6, 2, 2)
BONDS = (5, 6, 2)
CODE = (98, 10_030)  # kinds of a syntax tree's nodes and of their attributes, as in mapping/ of ogbg-code2


def node_split(data: Any, seed: int) -> Split:
    """Return OGB's split, the same for every seed; where nodes have types, ids of the one that the card names."""
    if not hasattr(data, "node_types"):
        return from_masks(data)
    kind = data.card.node_type
    if kind not in data.node_types:
        kinds = ", ".join(data.node_types)
        raise ValueError(f"{data.card.name}: expected one type of nodes with classes (got {kind!r} of {kinds})")
    return from_masks(data[kind])


def graph_split(dataset: Any, seed: int) -> Split:
    """Return OGB's split, the same for every seed."""
    return Split(**dataset.split_idx)


def link_split(data: Any, seed: int) -> LinkSplit:
    """Return OGB's split, the same for every seed, with the negatives that are part of the benchmark."""
    return ogb_link_split(data.split_edge, data.num_nodes)


def _card(name: str, splits: str, **facts: Any) -> Card:
    return Card(
        name=name,
        title=name,
        splits=f"OGB's: {splits}; seeds vary the model only",
        folder="ogb/" + name.replace("-", "_"),
        packages=PACKAGES,
        **({"source": _OGB} | facts),
    )


def _node(name: str, sizes: tuple[int, int, int], classes: int, split: str, licence: str, **rest: Any) -> Card:
    nodes, edges, features = sizes
    scored: dict[str, Any] = {"metric": "accuracy", "evaluator": OGBEvaluator(name, "acc")}
    return _card(
        name,
        split,
        task="node_classification",
        num_nodes=nodes,
        num_edges=edges,
        num_features=features,
        num_classes=classes,
        split=node_split,
        licence=licence,
        **(scored | rest),
    )


def _link(name: str, sizes: tuple[int, int | None, int], metric: str, split: str, licence: str) -> Card:
    nodes, edges, features = sizes
    return _card(
        name,
        split,
        task="link_prediction",
        metric=metric,
        num_nodes=nodes,
        num_edges=edges,
        num_features=features,
        num_classes=0,
        split=link_split,
        licence=licence,
        evaluator=OGBEvaluator(name, metric),
    )


def _graph(
    name: str,
    sizes: tuple[int, int | None, int | None],
    metric: str,
    tasks: int | None,
    split: str = "by scaffold, 80 / 10 / 10 %",
    licence: str = "MIT",
    source: str = "Wu et al. 2018 (MoleculeNet); " + _OGB,
    **rest: Any,
) -> Card:
    graphs, nodes, edges = sizes
    molecule: dict[str, Any] = {
        "num_features": len(ATOMS),
        "num_edge_features": len(BONDS),
        "node_categories": ATOMS,
        "edge_categories": BONDS,
        "num_classes": 0 if metric == "rmse" else 2,
    }
    return _card(
        name,
        split,
        task="graph_regression" if metric == "rmse" else "graph_classification",
        metric=METRICS.get(metric, metric),
        num_graphs=graphs,
        num_nodes=nodes,
        num_edges=edges,
        num_tasks=tasks,
        split=graph_split,
        source=source,
        licence=licence,
        evaluator=OGBEvaluator(name, metric, tasks or 1),
        **(molecule | rest),
    )


_NODES = (
    _node(
        "ogbn-arxiv",
        (169_343, 1_166_243, 128),
        40,
        "by year, up to 2017 / 2018 / from 2019",
        "ODC-BY",
    ),
    _node("ogbn-products", (2_449_029, 123_718_280, 100), 47, "by sales rank", "Amazon licence"),
    _node(
        "ogbn-proteins",
        (132_534, 79_122_504, 0),
        2,
        "by species",
        "CC0",
        metric="roc_auc",
        num_tasks=112,
        num_edge_features=8,
        evaluator=OGBEvaluator("ogbn-proteins", "rocauc", 112),
    ),
    _node("ogbn-mag", (1_939_743, 21_111_007, 128), 349, "by year", "ODC-BY", node_type="paper"),
    _node("ogbn-papers100M", (111_059_956, 1_615_685_872, 128), 172, "by year", "ODC-BY"),
)
_LINKS = (
    _link("ogbl-ppa", (576_289, 42_463_862, 58), "hits@100", "by throughput", "CC0"),
    _link("ogbl-collab", (235_868, 2_358_104, 128), "hits@50", "by year", "ODC-BY"),
    _link("ogbl-ddi", (4_267, 2_135_822, 0), "hits@20", "by protein target", "CC0"),
    _link("ogbl-citation2", (2_927_963, 30_387_995, 128), "mrr", "by year", "ODC-BY"),
    _link("ogbl-wikikg2", (2_500_604, 16_109_182, 0), "mrr", "by time", "CC0"),
    _link("ogbl-biokg", (93_773, 4_762_678, 0), "mrr", "at random", "CC0"),
    _link("ogbl-vessel", (3_538_495, None, 3), "rocauc", "at random", "CC BY-NC 4.0"),
)
_GRAPHS = (
    _graph("ogbg-molhiv", (41_127, 1_049_163, 2_259_376), "rocauc", 1),
    _graph("ogbg-molpcba", (437_929, 11_373_137, 24_618_372), "ap", 128),
    _graph("ogbg-molesol", (1_128, 14_991, 30_856), "rmse", 1),
    _graph("ogbg-molfreesolv", (642, 5_600, 10_770), "rmse", 1),
    _graph("ogbg-mollipo", (4_200, None, None), "rmse", 1),
    _graph("ogbg-molbbbp", (2_039, 49_068, 105_842), "rocauc", 1),
    _graph("ogbg-molbace", (1_513, None, None), "rocauc", 1),
    _graph("ogbg-molclintox", (1_477, None, None), "rocauc", 2),
    _graph("ogbg-molmuv", (93_087, None, None), "ap", 17),
    _graph("ogbg-molsider", (1_427, None, None), "rocauc", 27),
    _graph("ogbg-moltox21", (7_831, None, None), "rocauc", 12),
    _graph("ogbg-moltoxcast", (8_576, None, None), "rocauc", 617),
    _graph(
        "ogbg-molchembl",
        (456_331, None, None),
        "rocauc",
        1310,
        licence="none stated by OGB",
        source=_OGB,
    ),
    _graph(
        "ogbg-ppa",
        (158_100, None, None),
        "acc",
        None,
        "by species",
        "CC0",
        _OGB,
        num_features=0,
        num_edge_features=7,
        node_categories=None,
        edge_categories=None,
        num_classes=37,
    ),
    _graph(
        "ogbg-code2",
        (452_741, None, None),
        "F1",
        None,
        "by project",
        "MIT",
        _OGB,
        num_features=2,
        num_edge_features=0,
        node_categories=CODE,
        edge_categories=None,
        num_classes=0,
    ),
)
CARDS = {card.name: card for card in (*_NODES, *_LINKS, *_GRAPHS)}
