"""Small raw folders in exactly the layout of OGB's archives."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnkit.datasets import _ogb

Writer = Callable[[Path], None]
_PARTS = ("train", "valid", "test")


def rng(seed: int = 0) -> np.random.Generator:
    """A generator of its own for each file."""
    return np.random.default_rng(seed)


def write_csv(path: Path, rows: Iterable[Any], header: list[str] | None = None) -> None:
    """Write ``<path>.csv.gz``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path.with_name(path.name + ".csv.gz"), "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(([header] if header else []) + [np.atleast_1d(row).tolist() for row in rows])


def write_pt(path: Path, content: Any) -> None:
    """Write ``<path>.pt`` as OGB did, arrays of NumPy and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path.with_name(path.name + ".pt"))


def write_ids(folder: Path, count: int) -> None:
    """Split ids in three."""
    for part, ids in zip(_PARTS, np.array_split(rng(5).permutation(count), 3), strict=True):
        write_csv(folder / part, ids)


def write_graph(raw: Path, nodes: list[int], edges: list[int], **tables: Any) -> None:
    """Write graphs of so many nodes and edges, and ``tables`` beside them."""
    pairs = [rng(i).integers(0, n, (e, 2)) for i, (n, e) in enumerate(zip(nodes, edges, strict=True))]
    write_csv(raw / "edge", np.concatenate(pairs))
    write_csv(raw / "num-node-list", nodes)
    write_csv(raw / "num-edge-list", edges)
    for name, rows in tables.items():
        write_csv(raw / name.replace("__", "-"), rows)


# ------------------------------------------------------------------ nodes


def arxiv(folder: Path) -> None:
    """Citations with features and years."""
    years = rng(1).integers(2000, 2020, (30, 1))
    tables = {"node__feat": rng().normal(size=(30, 128)).round(6), "node_year": years}
    write_graph(folder / "raw", [30], [50], node__label=rng(2).integers(0, 40, (30, 1)), **tables)
    write_ids(folder / "split" / "time", 30)


def products(folder: Path) -> None:
    """Undirected, features that look like whole numbers in places."""
    features = rng().integers(0, 9, (20, 100)).astype(float)
    features[7, 3] = 0.1234567
    tables = {"node__feat": features, "node__label": rng(2).integers(0, 47, (20, 1))}
    write_graph(folder / "raw", [20], [40], **tables)
    write_ids(folder / "split" / "sales_ranking", 20)


def proteins(folder: Path) -> None:
    """No features of nodes, eight of edges, 112 answers, the species under the name that it has in the archive."""
    tables = {"edge__feat": rng().random((60, 8)).round(3), "species": rng(1).integers(1, 9, (25, 1)) * 1000}
    write_graph(folder / "raw", [25], [60], node__label=rng(2).integers(0, 2, (25, 112)), **tables)
    write_ids(folder / "split" / "species", 25)


def mag(folder: Path) -> None:
    """Four types of nodes, features, years and classes on papers alone."""
    sizes = {"author": 9, "field_of_study": 5, "institution": 3, "paper": 12}
    raw = folder / "raw"
    write_csv(raw / "num-node-dict", [list(sizes.values())], header=list(sizes))
    triplets = [
        ("paper", "cites", "paper"),
        ("author", "writes", "paper"),
        ("author", "affiliated_with", "institution"),
        ("paper", "has_topic", "field_of_study"),
    ]
    write_csv(raw / "triplet-type-list", triplets)
    for number, (src, name, dst) in enumerate(triplets):
        place, count = raw / "relations" / f"{src}___{name}___{dst}", 10 + number
        ends = [rng(number).integers(0, sizes[src], count), rng(number + 9).integers(0, sizes[dst], count)]
        write_csv(place / "edge", np.stack(ends, axis=1))
        write_csv(place / "num-edge-list", [count])
        write_csv(place / "edge_reltype", np.full((count, 1), number))
    write_csv(raw / "node-feat" / "paper" / "node-feat", rng().normal(size=(12, 128)).round(5))
    write_csv(raw / "node-feat" / "paper" / "node_year", rng(1).integers(2010, 2020, (12, 1)))
    write_csv(raw / "node-label" / "paper" / "node-label", rng(2).integers(0, 349, (12, 1)))
    only_paper = [[name == "paper" for name in sizes]]
    write_csv(raw / "nodetype-has-label", only_paper, header=list(sizes))
    write_csv(folder / "split" / "time" / "nodetype-has-split", only_paper, header=list(sizes))
    write_ids(folder / "split" / "time" / "paper", 12)


def papers100m(folder: Path, nodes: int = 40, edges: int = 90, fortran: bool = False) -> None:
    """An archive of NumPy; most papers have no class."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    edge_index = rng().integers(0, nodes, (2, edges))
    tables = {
        "edge_index": np.asfortranarray(edge_index) if fortran else edge_index,
        "node_feat": rng(1).standard_normal((nodes, 128), dtype=np.float32),
        "node_year": rng(2).integers(1900, 2020, (nodes, 1)),
        "num_nodes_list": np.array([nodes]),
        "num_edges_list": np.array([edges]),
    }
    np.savez(raw / "data.npz", **tables)
    label = rng(3).integers(0, 172, (nodes, 1)).astype(np.float32)
    label[::3] = np.nan
    np.savez_compressed(raw / "node-label.npz", node_label=label)
    write_ids(folder / "split" / "time", nodes)


# ------------------------------------------------------------------ links


def collab(folder: Path) -> None:
    """Undirected, with the weight and the year of every edge."""
    extra = {"edge_weight": rng(1).integers(1, 5, (50, 1)), "edge_year": rng(2).integers(1990, 2020, (50, 1))}
    write_graph(folder / "raw", [20], [50], node__feat=rng().normal(size=(20, 128)).round(6), **extra)
    for number, part in enumerate(_PARTS):
        count = 10 - number
        split = {"edge": rng(number).integers(0, 20, (count, 2)), "weight": np.ones(count, dtype=np.int64)}
        if part != "train":
            split["edge_neg"] = rng(number + 3).integers(0, 20, (15, 2))
        write_pt(folder / "split" / "time" / part, split)


def ppa_links(folder: Path) -> None:
    """Features that are whole numbers."""
    write_graph(folder / "raw", [20], [50], node__feat=rng().integers(0, 2, (20, 58)))
    for part in _PARTS:
        split = {"edge": torch.from_numpy(rng(1).integers(0, 20, (6, 2)))}
        if part != "train":
            split["edge_neg"] = torch.from_numpy(rng(2).integers(0, 20, (6, 2)))
        write_pt(folder / "split" / "throughput" / part, split)


def citation2(folder: Path) -> None:
    """Sources and targets, and false targets of each source."""
    tables = {"node__feat": rng().normal(size=(20, 128)).round(6), "node_year": rng(1).integers(1990, 2020, (20, 1))}
    write_graph(folder / "raw", [20], [50], **tables)
    for number, part in enumerate(_PARTS):
        split = {name: rng(number).integers(0, 20, 7) for name in ("source_node", "target_node")}
        if part != "train":
            split["target_node_neg"] = rng(number + 3).integers(0, 20, (7, 11))
        write_pt(folder / "split" / "time" / part, split)


def wikikg2(folder: Path) -> None:
    """Triples, and false heads and tails of each."""
    write_graph(folder / "raw", [20], [50], edge_reltype=rng(1).integers(0, 535, (50, 1)))
    for number, part in enumerate(_PARTS):
        split = {name: rng(number).integers(0, 20, 7) for name in ("head", "relation", "tail")}
        if part != "train":
            split |= {name: rng(number + 3).integers(0, 20, (7, 5)) for name in ("head_neg", "tail_neg")}
        write_pt(folder / "split" / "time" / part, split)


def biokg(folder: Path) -> None:
    """Typed triples: the names of the types stand beside the numbers."""
    raw, sizes = folder / "raw", {"disease": 6, "drug": 8, "protein": 10}
    write_csv(raw / "num-node-dict", [list(sizes.values())], header=list(sizes))
    triplets = [("drug", "drug-protein", "protein"), ("disease", "disease-protein", "protein")]
    write_csv(raw / "triplet-type-list", triplets)
    for number, (src, name, dst) in enumerate(triplets):
        place = raw / "relations" / f"{src}___{name}___{dst}"
        write_csv(
            place / "edge", np.stack([rng().integers(0, sizes[src], 9), rng(1).integers(0, sizes[dst], 9)], axis=1)
        )
        write_csv(place / "num-edge-list", [9])
        write_csv(place / "edge_reltype", np.full((9, 1), number))
    for number, part in enumerate(_PARTS):
        split: dict[str, Any] = {name: rng(number).integers(0, 6, 4) for name in ("head", "relation", "tail")}
        split |= {"head_type": ["drug", "disease", "drug", "drug"], "tail_type": ["protein"] * 4}
        if part != "train":
            split |= {name: rng(number + 3).integers(0, 6, (4, 5)) for name in ("head_neg", "tail_neg")}
        write_pt(folder / "split" / "random" / part, split)


def vessel(folder: Path) -> None:
    """An archive of NumPy with features of nodes and of edges."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    tables = {
        "edge_index": rng().integers(0, 20, (2, 30)),
        "node_feat": rng(1).random((20, 3), dtype=np.float32),
        "edge_feat": rng(2).random((30, 3), dtype=np.float32),
        "num_nodes_list": np.array([20]),
        "num_edges_list": np.array([30]),
    }
    np.savez_compressed(raw / "data.npz", **tables)
    for part in _PARTS:
        split = {name: torch.from_numpy(rng(3).integers(0, 20, (6, 2))) for name in ("edge", "edge_neg")}
        write_pt(folder / "split" / "spatial" / part, split)


# ------------------------------------------------------------------ graphs


def ppa_graphs(folder: Path) -> None:
    """No features of nodes, seven of edges."""
    tables = {"edge__feat": rng().random((30, 7)).round(4), "graph__label": rng(1).integers(0, 37, (6, 1))}
    write_graph(folder / "raw", [4, 3, 5, 4, 6, 2], [6, 4, 8, 2, 9, 1], **tables)
    write_ids(folder / "split" / "species", 6)


def code2(folder: Path) -> None:
    """Trees with words as targets, among them some that pandas takes for missing values and for numbers."""
    nodes = [4, 3, 5, 4]
    extra = {
        "node_is_attributed": rng(1).integers(0, 2, (16, 1)),
        "node_dfs_order": np.concatenate([np.arange(n) for n in nodes])[:, None],
        "node_depth": rng(2).integers(0, 4, (16, 1)),
    }
    words = [["get current user"], ["null"], ["x"], ["test 1 nan"]]
    features = np.stack([rng(3).integers(0, 98, 16), rng(4).integers(0, 10030, 16)], axis=1)
    write_graph(folder / "raw", nodes, [3, 2, 4, 3], node__feat=features, graph__label=words, **extra)
    write_ids(folder / "split" / "project", 4)


def molecules(folder: Path) -> None:
    """Categories on atoms and bonds, answers that are missing."""
    label = rng(1).integers(0, 2, (6, 12)).astype(object)
    label[2, 3] = label[5, 0] = ""
    tables = {"node__feat": rng(2).integers(0, 2, (24, 9)), "edge__feat": rng(3).integers(0, 2, (30, 3))}
    write_graph(folder / "raw", [4, 3, 5, 4, 6, 2], [6, 4, 8, 2, 9, 1], graph__label=label, **tables)
    write_ids(folder / "split" / "scaffold", 6)


def solubilities(folder: Path) -> None:
    """Measurements of molecules."""
    tables = {"node__feat": rng(2).integers(0, 2, (7, 9)), "edge__feat": rng(3).integers(0, 2, (4, 3))}
    write_graph(folder / "raw", [3, 2, 2], [2, 1, 1], graph__label=[[0.5], [-1.25], [3]], **tables)
    write_ids(folder / "split" / "scaffold", 3)


SETS: dict[str, Writer] = {
    "ogbn-arxiv": arxiv,
    "ogbn-products": products,
    "ogbn-proteins": proteins,
    "ogbn-mag": mag,
    "ogbn-papers100M": papers100m,
    "ogbl-ppa": ppa_links,
    "ogbl-collab": collab,
    "ogbl-citation2": citation2,
    "ogbl-wikikg2": wikikg2,
    "ogbl-biokg": biokg,
    "ogbl-vessel": vessel,
    "ogbg-ppa": ppa_graphs,
    "ogbg-code2": code2,
    "ogbg-moltox21": molecules,
    "ogbg-molesol": solubilities,
}


def write_set(root: Path, name: str) -> Path:
    """Write a set below a data root and return its folder."""
    folder = root / "ogb" / name.replace("-", "_")
    SETS[name](folder)
    version = _ogb.official(name.partition("-")[0])[name]["version"]
    (folder / f"RELEASE_v{version}.txt").write_text("a test")
    return folder
