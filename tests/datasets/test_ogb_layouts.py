"""Every layout of OGB's raw folders: what gnnkit reads is, number for number, what the ogb package reads."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_sets import SETS, papers100m, write_set
from ogb_oracle import read_by_ogb
from torch import Tensor

from gnnkit.datasets import _ogb_load, load

pytestmark = [
    pytest.mark.usefixtures("empty_cache", "alone", "any_size"),
    pytest.mark.skipif(
        importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
    ),
]


def same(ours: Any, theirs: Any, where: str = "") -> None:
    """Require equal dtypes, shapes, numbers (NaN where NaN is), keys and words."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert list(map(str, sorted(ours, key=str))) == list(map(str, sorted(theirs, key=str))), where
        for key in theirs:
            same(ours[key], theirs[key], f"{where} {key}")
    elif isinstance(theirs, Tensor | np.ndarray):
        theirs = torch.as_tensor(theirs)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        assert torch.equal(ours.nan_to_num(-7.5), theirs.nan_to_num(-7.5)), where
    else:
        assert ours == theirs, where


def both(tmp_path: Path, name: str) -> tuple[Any, Any, Any]:
    """Write a set; return what gnnkit loads, once anew and once kept, what ogb loads, and ogb's split."""
    folder = write_set(tmp_path / "ours", name)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    first = load(name, tmp_path / "ours")
    raw = _ogb_load.read_typed, _ogb_load.read_plain
    _ogb_load.read_typed = _ogb_load.read_plain = None  # type: ignore[assignment]
    try:
        second = load(name, tmp_path / "ours")
    finally:
        _ogb_load.read_typed, _ogb_load.read_plain = raw
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    shutil.copytree(folder, tmp_path / "theirs")
    dataset, split = read_by_ogb(tmp_path / "theirs", name)
    return (first, second), dataset, split


@pytest.mark.parametrize("name", [name for name in SETS if name.startswith("ogbn-") and name != "ogbn-mag"])
def test_a_set_of_nodes_is_what_ogb_reads(name: str, tmp_path: Path) -> None:
    pair, dataset, split = both(tmp_path, name)
    theirs = dataset[0].to_dict()
    y = theirs.pop("y")
    for data in pair:
        ours = {key: value for key, value in data.to_dict().items() if key in theirs}
        same(ours, theirs)
        if data.card.num_tasks is None:
            same(data.y, y.reshape(-1).nan_to_num(-1).long())
        else:
            same(data.y, y)
        drawn = data.card.split(data, 0)
        for part in ("train", "valid", "test"):
            same(getattr(drawn, part), split[part].sort().values)


def test_mag_has_features_years_classes_and_split_on_papers(tmp_path: Path) -> None:
    pair, dataset, split = both(tmp_path, "ogbn-mag")
    theirs = dataset[0]
    for data in pair:
        same({name: data[name].num_nodes for name in data.node_types}, theirs.num_nodes_dict)
        same(data.edge_index_dict, theirs.edge_index_dict)
        same(data.edge_reltype_dict, theirs.edge_reltype)
        same(data.x_dict, theirs.x_dict)
        same(data.collect("node_year"), theirs.node_year)
        same(data["paper"].y, theirs.y_dict["paper"].reshape(-1))
        assert [name for name in data.node_types if "x" in data[name] or "train_mask" in data[name]] == ["paper"]
        assert data.card.node_type == "paper"
        drawn = data.card.split(data, 3)
        for part in ("train", "valid", "test"):
            same(getattr(drawn, part), split[part]["paper"].sort().values)


@pytest.mark.parametrize("name", [name for name in SETS if name.startswith("ogbl-") and name != "ogbl-biokg"])
def test_a_set_of_links_is_what_ogb_reads(name: str, tmp_path: Path) -> None:
    pair, dataset, split = both(tmp_path, name)
    theirs = dataset[0].to_dict()
    for data in pair:
        same({key: value for key, value in data.to_dict().items() if key in theirs}, theirs)
        same(data.split_edge, split)
        assert data.card.num_features == data.num_features


def test_biokg_has_types_in_its_graph_and_in_its_split(tmp_path: Path) -> None:
    pair, dataset, split = both(tmp_path, "ogbl-biokg")
    theirs = dataset[0]
    for data in pair:
        same({name: data[name].num_nodes for name in data.node_types}, theirs.num_nodes_dict)
        same(data.edge_index_dict, theirs.edge_index_dict)
        same(data.edge_reltype_dict, theirs.edge_reltype)
        same(data.split_edge, split)
        assert data.split_edge["valid"]["head_type"] == ["drug", "disease", "drug", "drug"]


@pytest.mark.parametrize("name", [name for name in SETS if name.startswith("ogbg-")])
def test_a_set_of_graphs_is_what_ogb_reads(name: str, tmp_path: Path) -> None:
    pair, dataset, split = both(tmp_path, name)
    for ours in pair:
        assert len(ours) == len(dataset)
        same(ours.split_idx, split)
        assert ours.card.split(ours, 0).sizes == tuple(len(split[part]) for part in ("train", "valid", "test"))
        order = torch.tensor([2, 0, 1])
        for graph, expected in (*zip(ours, dataset, strict=True), *zip(ours[order], dataset[order], strict=True)):
            wanted = expected.to_dict()
            if ours.card.num_tasks is None and name != "ogbg-code2":
                wanted["y"] = wanted["y"].reshape(-1)
            same(graph.to_dict(), wanted)


def test_targets_of_code_are_words(tmp_path: Path) -> None:
    write_set(tmp_path, "ogbg-code2")
    dataset = load("ogbg-code2", tmp_path)
    # "null" is what pandas takes for a missing value, and ogb writes as nan: so do its leaderboard's targets
    assert [graph.y for graph in dataset] == [["get", "current", "user"], ["nan"], ["x"], ["test", "1", "nan"]]
    assert dataset.card.node_categories == (98, 10030)
    assert dataset[0].x.dtype == torch.int64
    score = dataset.card.evaluator([graph.y for graph in dataset], [["get", "user"], ["nan"], ["y"], []])
    assert score == pytest.approx((2 * 2 / 3 / (1 + 2 / 3) + 1) / 4)


def test_arrays_stored_column_by_column_are_read_alike(tmp_path: Path) -> None:
    for name, fortran in (("rows", False), ("columns", True)):
        papers100m(tmp_path / name / "ogb" / "ogbn_papers100M", fortran=fortran)
        (tmp_path / name / "ogb" / "ogbn_papers100M" / "RELEASE_v1.txt").write_text("a test")
    rows, columns = (load("ogbn-papers100M", tmp_path / name) for name in ("rows", "columns"))
    assert torch.equal(rows.edge_index, columns.edge_index)
