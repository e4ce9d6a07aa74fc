"""OGB's raw folders of graphs without types: files of CSV, or one archive of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit._optional import require
from gnnkit.datasets._table import CsvTable, NpzTable, Table, npz_names

Rows = dict[str, Any]  # attribute: tensor, or what a sink made of the features


@dataclass
class Raw:
    """What a raw folder holds, in the order of its graphs.

    Attributes:
        nodes: Attributes of the nodes of each type, with PyG's names; the type of graphs without types is None.
        edges: The same of edges, ``edge_index`` among them, by ``(source, relation, destination)`` or None.
        num_nodes: How many nodes of each type each graph has, ``[B]``.
        num_edges: The same of edges.
        y: Targets of graphs, a row or a list of words each; those of nodes lie in ``nodes``.
    """

    num_nodes: dict[Any, Tensor] = field(default_factory=dict)
    num_edges: dict[Any, Tensor] = field(default_factory=dict)
    nodes: dict[Any, Rows] = field(default_factory=dict)
    edges: dict[Any, Rows] = field(default_factory=dict)
    y: Any = None


Sink = Callable[[Any, Table], Any]  # of a type of nodes and its features, what is kept of them


@dataclass(frozen=True)
class Options:
    """What ogb has to know to read a folder, as its ``meta_info`` says it in words.

    Attributes:
        kind: ogbn, ogbl or ogbg.
        meta: ogb's description of the dataset.
        features: Takes the features of nodes.
    """

    kind: str
    meta: dict[str, Any]
    features: Sink

    def says(self, key: str) -> bool:
        """Whether a yes/no of the description is yes."""
        return str(self.meta[key]) == "True"

    def also(self, what: str) -> list[str]:
        """The files beside features, of ``"node"`` or ``"edge"``."""
        given = str(self.meta[f"additional {what} files"])
        return [] if given == "None" else given.split(",")

    @property
    def classes(self) -> bool:
        """Whether targets are classes."""
        return "classification" in str(self.meta["task type"])


def read_plain(raw: Path, options: Options) -> Raw:
    """Read ``raw/`` of graphs without types; each large table is written once, to where it stays."""
    found = _read_npz(raw, options) if options.says("binary") else _read_csv(raw, options)
    edges = found.edges[None]["edge_index"]
    if options.kind != "ogbg":  # numbers of nodes within each graph
        require_ids("edge_index", edges, int(found.num_nodes[None].sum()), int(found.num_nodes[None].sum()))
    return found


def _read_csv(raw: Path, options: Options) -> Raw:
    nodes, edges = (counts(raw / f"num-{what}-list.csv.gz") for what in ("node", "edge"))
    both = options.says("add_inverse_edge")
    tables = CsvFolder(raw, int(nodes.sum()), int(edges.sum()), both)
    found = Raw({None: nodes}, {None: edges * (2 if both else 1)})
    found.nodes[None] = tables.of_nodes(None, options)
    found.edges[None] = tables.of_edges(options)
    label = raw / f"{'graph' if options.kind == 'ogbg' else 'node'}-label.csv.gz"
    if options.kind == "ogbn":
        found.nodes[None]["y"] = targets(CsvTable(label, int(nodes.sum())), options.classes)
    elif options.kind == "ogbg" and "subtoken" in str(options.meta["task type"]):
        found.y = _words(label, len(nodes))
    elif options.kind == "ogbg":
        found.y = targets(CsvTable(label, len(nodes)), options.classes)
    return found


@dataclass(frozen=True)
class CsvFolder:
    """A folder with ``node-feat.csv.gz``, ``edge.csv.gz``, … beside each other.

    Attributes:
        folder: It.
        num_nodes: Rows of tables of nodes.
        num_edges: Rows of tables of edges.
        both: Whether every edge is followed by its inverse, with the same attributes.
    """

    folder: Path
    num_nodes: int
    num_edges: int
    both: bool = False

    def of_nodes(self, type_: Any, options: Options, optional: bool = False) -> Rows:
        """Read features and what comes beside them; with ``optional``, files of this type may be missing."""
        rows: Rows = {}
        path = self.folder / "node-feat.csv.gz"
        if path.is_file() or (options.says("has_node_attr") and not optional):
            rows["x"] = options.features(type_, CsvTable(path, self.num_nodes))
        for name in options.also("node"):
            path = self.folder / f"{name}.csv.gz"
            if name == "node_species" and not path.is_file():
                path = self.folder / "species.csv.gz"  # as it lies in the archive of ogbn-proteins
            if path.is_file() or not optional:
                rows[name] = CsvTable(path, self.num_nodes).read()
        return rows

    def of_edges(self, options: Options, optional: bool = False) -> Rows:
        """Read the edges, their features and what comes beside them."""
        rows: Rows = {"edge_index": CsvTable(self.folder / "edge.csv.gz", self.num_edges).read_edges(self.both)}
        names = {"edge_attr": "edge-feat", **{name: name for name in options.also("edge")}}
        for key, name in names.items():
            path = self.folder / f"{name}.csv.gz"
            wanted = options.says("has_edge_attr") if key == "edge_attr" else True
            if path.is_file() or (wanted and not optional):
                rows[key] = CsvTable(path, self.num_edges, repeat=1 + self.both).read()
        return rows


def _read_npz(raw: Path, options: Options) -> Raw:
    path = raw / "data.npz"
    names = npz_names(path)
    nodes, edges = (NpzTable(path, f"num_{what}_list").read().long().reshape(-1) for what in ("nodes", "edges"))
    found = Raw({None: nodes}, {None: edges}, {None: {}}, {None: {"edge_index": NpzTable(path, "edge_index").read()}})
    if "node_feat" in names or options.says("has_node_attr"):
        found.nodes[None]["x"] = options.features(None, NpzTable(path, "node_feat"))
    if "edge_feat" in names or options.says("has_edge_attr"):
        found.edges[None]["edge_attr"] = NpzTable(path, "edge_feat").read()
    for rows, what in ((found.nodes[None], "node"), (found.edges[None], "edge")):
        rows |= {name: NpzTable(path, name).read() for name in options.also(what)}
    for rows, total in ((found.nodes[None], int(nodes.sum())), (found.edges[None], int(edges.sum()))):
        require_rows(path.name, rows, total)
    if options.kind == "ogbn":
        found.nodes[None]["y"] = targets(NpzTable(raw / "node-label.npz", "node_label"), options.classes)
        require_rows("node-label.npz", {"y": found.nodes[None]["y"]}, int(nodes.sum()))
    if options.kind == "ogbg":
        found.y = targets(NpzTable(raw / "graph-label.npz", "graph_label"), options.classes)
        require_rows("graph-label.npz", {"y": found.y}, len(nodes))
    return found


def counts(path: Path) -> Tensor:
    """Return the numbers in a file of one column."""
    column = require("pandas", "ogb").read_csv(path, compression="gzip", header=None)[0]
    return torch.tensor(column.to_numpy(), dtype=torch.int64)


def targets(table: Table, classes: bool) -> Tensor:
    """Read targets as ogb has them: classes int64, or float32 where one is unknown (NaN); measurements float32."""
    y = table.read()
    if classes and not (y.is_floating_point() and bool(y.isnan().any())):
        return y.long()
    return y.float()


def require_rows(where: str, rows: Rows, total: int) -> None:
    """Require a row a node, or a column an edge."""
    for key, value in rows.items():
        got = value.shape[1 if key == "edge_index" else 0]
        if got != total or (key == "edge_index" and value.shape[0] != 2):
            raise ValueError(f"{where}: expected {total} rows of {key} (got shape {list(value.shape)})")


def require_ids(where: str, edge_index: Tensor, num_src: int, num_dst: int) -> None:
    """Require that edges join nodes that there are."""
    for row, size in zip(edge_index, (num_src, num_dst), strict=True):
        least, most = (int(end) for end in row.aminmax()) if row.numel() else (0, size - 1)
        if least < 0 or most >= size:
            raise ValueError(f"{where}: expected numbers of {size} nodes (got {least} to {most})")


def _words(path: Path, num_graphs: int) -> list[list[str]]:
    """Read a line of words a graph, as ogb does: what pandas takes for a missing value is the word nan."""
    lines = require("pandas", "ogb").read_csv(path, compression="gzip", header=None).to_numpy()[:, 0]
    if len(lines) != num_graphs:
        raise ValueError(f"{path.name}: expected {num_graphs} rows (got {len(lines)})")
    return [str(line).split(" ") for line in lines]
