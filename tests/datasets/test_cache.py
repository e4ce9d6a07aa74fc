"""Where raw and processed files lie, and when they are made anew."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.datasets
from small_sets import listing

from gnnkit.datasets import _files, _planetoid, cache_dir, data_root, load

pytestmark = pytest.mark.usefixtures("known_cache")

# ------------------------------------------------------------------ where things lie


def test_the_data_root_is_the_argument_then_the_variable_then_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GNNKIT_DATA", str(tmp_path / "variable"))
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root(str(tmp_path / "argument")) == tmp_path / "argument"
    assert data_root() == tmp_path / "variable"
    monkeypatch.delenv("GNNKIT_DATA")
    assert data_root() == cache_dir() / "data"


def test_the_cache_is_the_variable_then_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "given"))
    assert cache_dir() == tmp_path / "given"
    monkeypatch.delenv("GNNKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "gnnkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "gnnkit"


def test_the_variable_serves_when_no_root_is_given(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_DATA", str(data_folder))
    assert load("cora").num_nodes == 2708


def test_loading_writes_nothing_to_the_data_root(
    data_folder: Path, empty_cache: Path, offline: None, tmp_path: Path
) -> None:
    before = listing(data_folder / "Planetoid")
    load("cora", data_folder)  # processes
    load("cora", data_folder)  # reads what was processed
    assert listing(data_folder / "Planetoid") == before
    assert list(empty_cache.rglob("*.pt"))


def test_a_root_without_write_permission_serves(raw_copy: Path, empty_cache: Path, offline: None) -> None:
    paths = [raw_copy, *raw_copy.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        before = listing(raw_copy)
        assert load("cora", raw_copy).num_nodes == 2708
        assert listing(raw_copy) == before
    finally:
        for path in paths:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


# ------------------------------------------------------------------ the processed cache


def test_processing_happens_once(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("cora", data_folder)

    def refuse(self: Any) -> None:
        raise AssertionError("processed again")

    monkeypatch.setattr(torch_geometric.datasets.Planetoid, "process", refuse)
    second = load("cora", data_folder)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.train_mask, second.train_mask)


def test_the_cache_is_keyed_by_raw_files_and_versions(
    data_folder: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("cora", data_folder)
    (first,) = (empty_cache / "processed").iterdir()
    assert first.name.startswith("cora-")
    assert _planetoid._DIGESTS["cora"][:16] in first.name
    monkeypatch.setattr(_files, "version", lambda library: "99.0")
    load("cora", data_folder)
    assert len(list((empty_cache / "processed").iterdir())) == 2
    assert len([p for p in (empty_cache / "processed").iterdir() if "99.0" in p.name]) == 1


def test_an_error_while_processing_leaves_nothing_in_the_cache(
    data_folder: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Any) -> None:
        (Path(self.processed_dir) / "data.pt").write_bytes(b"half")
        raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(torch_geometric.datasets.Planetoid, "process", half)
        with pytest.raises(ValueError, match=r"cora: expected whole raw files .+ \(got RuntimeError: interrupted\)"):
            load("cora", data_folder)
    assert list((empty_cache / "processed").iterdir()) == []
    assert load("cora", data_folder).num_nodes == 2708


def test_a_damaged_processed_file_is_made_anew(data_folder: Path, empty_cache: Path) -> None:
    load("cora", data_folder)
    (path,) = empty_cache.rglob("data.pt")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="damaged .* made anew"):
        assert load("cora", data_folder).num_nodes == 2708
    assert load("cora", data_folder).num_nodes == 2708
