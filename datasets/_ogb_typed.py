"""OGB's raw folders of typed nodes and edges (ogbn-mag, ogbl-biokg, DatasetSaver's), read type by type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit._optional import require
from gnnkit.datasets._ogb_raw import CsvFolder, Options, Raw, Rows, counts, require_ids, require_rows, targets
from gnnkit.datasets._ogb_split import plain_name
from gnnkit.datasets._table import CsvTable, NpzTable, npz_names

EdgeType = tuple[str, str, str]


def read_typed(raw: Path, options: Options) -> Raw:
    """Read ``raw/`` of one graph with types; each large table is written once, to where it stays."""
    found = _read_npz(raw, options) if options.says("binary") else _read_csv(raw, options)
    for edge_type, rows in found.edges.items():
        src, dst = (int(found.num_nodes[end].sum()) for end in (edge_type[0], edge_type[2]))
        require_ids("___".join(edge_type), rows["edge_index"], src, dst)
    return found


def _read_csv(raw: Path, options: Options) -> Raw:
    pandas, found = require("pandas", "ogb"), Raw()
    sizes = pandas.read_csv(raw / "num-node-dict.csv.gz", compression="gzip")
    # a column a type; the rows of CSV are graphs
    found.num_nodes = {name: torch.tensor(sizes[name].to_numpy(), dtype=torch.int64) for name in sorted(sizes)}
    triplets = pandas.read_csv(raw / "triplet-type-list.csv.gz", compression="gzip", header=None)
    for edge_type in sorted((str(h), str(r), str(t)) for h, r, t in triplets.to_numpy()):
        folder = raw / "relations" / plain_name("___".join(edge_type))
        found.num_edges[edge_type] = counts(folder / "num-edge-list.csv.gz")
        total, both = int(found.num_edges[edge_type].sum()), options.says("add_inverse_edge")
        found.edges[edge_type] = CsvFolder(folder, 0, total, both).of_edges(options, optional=True)
        found.num_edges[edge_type] *= 1 + both
    for name, number in found.num_nodes.items():
        folder = raw / "node-feat" / plain_name(name)
        found.nodes[name] = CsvFolder(folder, int(number.sum()), 0).of_nodes(name, options, optional=True)
    if options.kind == "ogbn":
        labelled = pandas.read_csv(raw / "nodetype-has-label.csv.gz")
        for name in (name for name in labelled if labelled[name][0]):
            path = raw / "node-label" / plain_name(name) / "node-label.csv.gz"
            total = int(_of(found.num_nodes, name).sum())
            found.nodes[name]["y"] = targets(CsvTable(path, total), options.classes)
    return found


def _read_npz(raw: Path, options: Options) -> Raw:
    found = Raw()
    for name in sorted(npz_names(raw / "num_nodes_dict.npz")):
        found.num_nodes[name] = NpzTable(raw / "num_nodes_dict.npz", name).read().long().reshape(-1)
        found.nodes[name] = {}
    for joined in sorted(npz_names(raw / "num_edges_dict.npz")):
        edge_type = _triplet(joined)
        found.num_edges[edge_type] = NpzTable(raw / "num_edges_dict.npz", joined).read().long().reshape(-1)
        found.edges[edge_type] = {"edge_index": NpzTable(raw / "edge_index_dict.npz", joined).read()}
    files = {"node": {"x": "node_feat_dict"}, "edge": {"edge_attr": "edge_feat_dict"}}
    for what, keys in files.items():
        for key, stem in (keys | {name: name for name in options.also(what)}).items():
            path = raw / f"{stem}.npz"
            for name in npz_names(path) if path.is_file() else []:
                table = NpzTable(path, name)
                if what == "node":
                    _of(found.nodes, name)[key] = options.features(name, table) if key == "x" else table.read()
                else:
                    _of(found.edges, _triplet(name))[key] = table.read()
    if options.kind == "ogbn":
        for name in npz_names(raw / "node-label.npz"):
            _of(found.nodes, name)["y"] = targets(NpzTable(raw / "node-label.npz", name), options.classes)
    _require_sizes(raw, found.nodes, found.num_nodes)
    _require_sizes(raw, found.edges, found.num_edges)
    return found


def _require_sizes(raw: Path, tables: dict[Any, Rows], sizes: dict[Any, Tensor]) -> None:
    for name, rows in tables.items():
        require_rows(f"{raw.name} of {name}", rows, int(sizes[name].sum()))


def _triplet(joined: str) -> EdgeType:
    parts = joined.split("___")
    if len(parts) != 3:
        raise ValueError(f"types: expected edges as source___relation___destination (got {joined!r})")
    return parts[0], parts[1], parts[2]


def _of(tables: dict[Any, Any], name: Any) -> Any:
    if name not in tables:
        raise ValueError(f"types: expected one of {', '.join(map(str, tables))} (got {name!r})")
    return tables[name]
