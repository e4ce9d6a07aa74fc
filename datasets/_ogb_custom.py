"""Datasets of a user's own, as ``ogb.io.DatasetSaver`` writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gnnkit.datasets._card import Card
from gnnkit.datasets._ogb import OGBEvaluator
from gnnkit.datasets._ogb_cards import METRICS, PACKAGES, graph_split, link_split, node_split
from gnnkit.datasets._table import NpzTable, npz_names

_KEYS = ("version", "task type", "eval metric", "split", "download_name", "is hetero", "binary")
_MOST = 100_000  # categories of a column; whole numbers beyond are measurements


@dataclass(frozen=True)
class Submission:
    """What ``DatasetSaver`` wrote for one dataset.

    Attributes:
        name: ``ogbn-…``, ``ogbl-…`` or ``ogbg-…``.
        meta: Its ``meta_dict.pt``.
        folder: Where ``raw/`` and ``split/`` lie, or did before they were zipped and cleaned up.
    """

    name: str
    meta: dict[str, Any]
    folder: Path


def submission(name: str, root: Path) -> Submission | None:
    """Find the folder ``…_ogbn_<name>`` with a ``meta_dict.pt``: ``root`` itself, or in it, or in ``root/ogb``.

    ``DatasetSaver(dataset_name="ogbn-own", root="submission")`` makes the folder ``submission_ogbn_own``.

    Raises:
        ValueError: Several fit, or the ``meta_dict.pt`` is not what ``DatasetSaver`` writes.
    """
    stem = name.replace("-", "_")
    parents = [folder for folder in (root, root / "ogb") if folder.is_dir()]
    nearby = [root, *(folder for parent in parents for folder in sorted(parent.iterdir()))]
    fitting = [folder for folder in nearby if f"_{folder.name}".endswith(f"_{stem}")]
    found = [folder for folder in fitting if (folder / "meta_dict.pt").is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"{name}: expected one folder with this dataset (got {', '.join(map(str, found))})")
    path = found[0] / "meta_dict.pt"
    try:
        meta = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for content that it refuses
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{name}: expected what ogb.io.DatasetSaver writes in {path} (got {reason})") from error
    missing = [key for key in _KEYS if not isinstance(meta, dict) or key not in meta]
    if missing:
        raise ValueError(f"{name}: expected what ogb.io.DatasetSaver writes in {path} (got no {', '.join(missing)})")
    inner = str(meta["download_name"])
    if Path(inner).name != inner:
        raise ValueError(f"{name}: expected the name of a folder beside {path} (got download_name={inner!r})")
    return Submission(name, meta, found[0] / inner)


def custom_card(found: Submission, folder: Path) -> Card:
    """Describe a dataset by what was written with it.

    Raises:
        ValueError: Its task is none that gnnkit knows.
    """
    name, meta = found.name, found.meta
    kind, metric, task = name.partition("-")[0], str(meta["eval metric"]), str(meta["task type"])
    common: dict[str, Any] = {
        "name": name,
        "title": name,
        "splits": f"by {meta['split']}, as written with the dataset; seeds vary the model only",
        "source": f"written with ogb.io.DatasetSaver, version {meta['version']}",
        "licence": "see its maker",
        "folder": str(folder),
        "packages": PACKAGES,
        **_sizes(folder, typed=str(meta["is hetero"]) == "True", categories=kind == "ogbg"),
    }
    if kind == "ogbl":
        common |= {"num_classes": 0, "split": link_split, "evaluator": OGBEvaluator(name, metric)}
        return Card(task="link_prediction", metric=metric, **common)
    tasks, classes = int(meta["num tasks"]), max(int(meta["num classes"]), 0)
    common |= {"metric": METRICS.get(metric, metric), "num_classes": classes}
    common |= {"evaluator": OGBEvaluator(name, metric, tasks)}
    if "regression" in task:
        if kind == "ogbn":
            raise ValueError(f"{name}: expected classification of nodes (got {task})")
        return Card(task="graph_regression", split=graph_split, num_tasks=tasks, **common)
    if tasks > 1 and classes > 2:
        raise ValueError(f"{name}: expected one task, or several of yes and no (got {tasks} of {classes} classes)")
    single = tasks == 1 and (metric == "acc" or kind == "ogbn")
    common["num_tasks"] = None if single else tasks
    if kind == "ogbn":
        return Card(task="node_classification", split=node_split, **common)
    return Card(task="graph_classification", split=graph_split, **common)


def _sizes(folder: Path, typed: bool, categories: bool) -> dict[str, Any]:
    """Count what lies in ``raw``; whole numbers as features of many graphs name categories, as OGB's molecules do."""
    raw = folder / "raw"
    if typed:
        totals = {
            what: sum(int(NpzTable(path, name).read().sum()) for name in npz_names(path))
            for what in ("nodes", "edges")
            for path in [raw / f"num_{what}_dict.npz"]
        }
        path, label = raw / "node_feat_dict.npz", raw / "node-label.npz"
        widths = [NpzTable(path, name).shape[1] for name in npz_names(path)] if path.is_file() else []
        labelled = npz_names(label) if label.is_file() else []
        return {
            "num_nodes": totals["nodes"],
            "num_edges": totals["edges"],
            "num_features": max(widths, default=0),
            "node_type": labelled[0] if len(labelled) == 1 else None,
        }
    path = raw / "data.npz"
    nodes, edges = (NpzTable(path, f"num_{what}_list").read() for what in ("nodes", "edges"))
    sizes: dict[str, Any] = {"num_graphs": len(nodes), "num_nodes": int(nodes.sum()), "num_edges": int(edges.sum())}
    sizes["num_features"] = 0
    for name, count, known in (
        ("node_feat", "num_features", "node_categories"),
        ("edge_feat", "num_edge_features", "edge_categories"),
    ):
        if name in npz_names(path):
            table = NpzTable(path, name)
            sizes[count] = math.prod(table.shape[1:])
            if categories and (most := _categories(table)) is not None:
                sizes[known] = most
    return sizes


def _categories(table: NpzTable) -> tuple[int, ...] | None:
    """Return how many values each column knows; None where they are no small whole numbers."""
    rows = table.read().reshape(table.shape[0], -1)
    if rows.dtype != torch.int64 or not len(rows) or int(rows.min()) < 0 or int(rows.max()) >= _MOST:
        return None
    return tuple((rows.amax(dim=0) + 1).tolist())
