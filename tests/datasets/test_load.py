"""Datasets: cards tell the truth, raw files are checked before use and left alone, failures leave nothing behind."""

from __future__ import annotations

import os
import pickle
import shlex
import shutil
import stat
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_geometric.datasets
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor

from gnnkit.datasets import _files, _planetoid, cache_dir, card, data_root, load, names
from gnnkit.train import METRICS

EMBEDDED = {
    "digits": (1797, 24680, 64, 10),
    "karate": (34, 156, 34, 4),
}
PLANETOID = {
    "cora": (2708, 10556, 1433, 7),
    "citeseer": (3327, 9104, 3703, 6),
    "pubmed": (19717, 88648, 500, 3),
}
FOLDER = "Planetoid/Cora/raw"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real raw data, which may be read-only."""
    given = os.environ.get("GNNKIT_DATA")
    if not given or not (Path(given) / "Planetoid").is_dir():
        pytest.skip("needs the Planetoid raw files: set GNNKIT_DATA to the folder that holds Planetoid/")
    return Path(given)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which each dataset is processed once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_CACHE", str(shared_cache))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds nothing yet."""
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: whoever opens an address gets an error."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def raw_copy(data_folder: Path, tmp_path: Path) -> Path:
    """A writable data root with a copy of Cora's raw files."""
    root = tmp_path / "root"
    shutil.copytree(data_folder / FOLDER, root / FOLDER)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


def undirected(edge_index: Tensor) -> bool:
    """Whether every edge is there in both directions, as often in one as in the other."""
    forward = sorted(map(tuple, edge_index.t().tolist()))
    return forward == sorted(map(tuple, edge_index.flip(0).t().tolist()))


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder with its size, mode and time of change."""
    paths = [folder, *folder.rglob("*")]
    return {str(p): (s.st_size, s.st_mode, s.st_mtime_ns) for p in paths for s in [p.lstat()]}


# ------------------------------------------------------------------ names and cards


def test_the_list_of_names_begins_with_the_small_sets() -> None:
    assert names()[: len(EMBEDDED | PLANETOID)] == [*EMBEDDED, *PLANETOID]
    assert len(set(names())) == len(names())


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("ogb")])
def test_a_card_says_all_that_a_reported_number_needs(name: str) -> None:
    facts = card(name)
    assert facts.name == name
    assert facts.metric in METRICS
    assert facts.task in ("node_classification", "graph_classification", "graph_regression")
    assert all((facts.title, facts.splits, facts.source, facts.licence))
    assert repr(facts) == f"Card({name!r})"


@pytest.mark.parametrize("name", [*EMBEDDED, *PLANETOID])
def test_a_card_holds_the_published_sizes(name: str) -> None:
    facts = card(name)
    sizes = (facts.num_nodes, facts.num_edges, facts.num_features, facts.num_classes)
    assert sizes == (EMBEDDED | PLANETOID)[name]


@given(st.text())
def test_an_unknown_name_is_a_value_error_that_says_where_they_are_listed(name: str) -> None:
    if name in names():
        return
    with pytest.raises(ValueError, match="dataset: expected a name that `gnnkit datasets` lists") as error:
        load(name)
    assert f"(got {name!r})" in str(error.value)


@pytest.mark.parametrize(("wrong", "right"), [("Cora", "cora"), ("pub-med", "pubmed"), ("karat", "karate")])
def test_a_misspelt_name_is_answered_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{right}'"):
        card(wrong)


# ------------------------------------------------------------------ what is loaded


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_set_is_what_its_card_says(name: str, offline: None, tmp_path: Path) -> None:
    check_card(load(name, tmp_path / "nothing-here"), name)
    assert not (tmp_path / "nothing-here").exists()


@pytest.mark.parametrize("name", PLANETOID)
def test_a_planetoid_set_is_what_its_card_says(name: str, data_folder: Path, offline: None) -> None:
    data = load(name, data_folder)
    check_card(data, name)
    split = data.card.split(data, seed=0)
    assert split.sizes == (20 * data.card.num_classes, 500, 1000)
    assert data.y[split.train].bincount().tolist() == [20] * data.card.num_classes
    other = data.card.split(data, seed=1)
    assert all(torch.equal(getattr(split, part), getattr(other, part)) for part in ("train", "valid", "test"))


def check_card(data: Any, name: str) -> None:
    nodes, edges, features, classes = (EMBEDDED | PLANETOID)[name]
    assert data.card is card(name)
    assert (data.num_nodes, data.num_edges) == (nodes, edges)
    assert data.x.shape == (nodes, features)
    assert data.x.dtype == torch.float32
    assert bool(data.x.isfinite().all())
    assert data.y.shape == (nodes,)
    assert data.y.unique().tolist() == list(range(classes))
    assert data.edge_index.shape == (2, edges)
    assert data.edge_index.dtype == torch.int64
    assert 0 <= int(data.edge_index.min()) <= int(data.edge_index.max()) < nodes
    assert undirected(data.edge_index)
    assert "Card" in repr(data)
    assert len(repr(data)) < 400


def test_digits_joins_each_image_with_its_ten_nearest_in_both_directions() -> None:
    data = load("digits")
    pixels, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    assert torch.equal(data.x * 16, pixels.float())
    assert torch.equal(data.y, labels)
    square = pixels.square().sum(dim=1)
    distance = square[:, None] + square - 2 * pixels @ pixels.t()  # [N, N], whole numbers: exact
    distance.fill_diagonal_(torch.inf)
    tenth = distance.kthvalue(10, dim=1).values[:, None]  # [N, 1]
    joined = torch.zeros_like(distance, dtype=torch.bool)
    joined[data.edge_index[0], data.edge_index[1]] = True
    assert int(joined.sum()) == data.num_edges  # no edge twice, none from a node to itself
    surely, perhaps = distance < tenth, distance <= tenth  # the tenth may be one of several as near
    assert bool(joined[surely | surely.t()].all())
    assert not bool(joined[~(perhaps | perhaps.t())].any())


def test_the_digits_split_draws_20_and_30_a_class_from_the_seed() -> None:
    data = load("digits")
    split, again, other = (data.card.split(data, seed) for seed in (0, 0, 1))
    assert split.sizes == (200, 300, 1297)
    assert data.y[split.train].bincount().tolist() == [20] * 10
    assert data.y[split.valid].bincount().tolist() == [30] * 10
    assert torch.cat([split.train, split.valid, split.test]).unique().numel() == 1797
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(split, part), getattr(again, part))
        assert not torch.equal(getattr(split, part), getattr(other, part))


def test_the_karate_split_keeps_pygs_training_nodes_and_draws_the_rest() -> None:
    data = load("karate")
    split, again, other = (data.card.split(data, seed) for seed in (0, 0, 1))
    assert split.sizes == (4, 10, 20)
    assert sorted(data.y[split.train].tolist()) == [0, 1, 2, 3]
    assert torch.equal(split.train, other.train)
    assert torch.equal(split.valid, again.valid)
    assert not torch.equal(split.valid, other.valid)
    assert torch.cat([split.train, split.valid, split.test]).unique().numel() == 34


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_call_gives_data_of_its_own(name: str) -> None:
    first = load(name)
    first.x.zero_()
    assert bool(load(name).x.any())


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


# ------------------------------------------------------------------ damaged raw files


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("part", ["allx", "graph", "test.index", "ty"])
@pytest.mark.parametrize("damage", [flip, cut, empty], ids=lambda damage: damage.__name__)
def test_a_damaged_raw_file_is_a_value_error_that_names_the_folder(
    damage: Callable[[Path], None], part: str, raw_copy: Path, offline: None
) -> None:
    damage(raw_copy / FOLDER / f"ind.cora.{part}")
    with pytest.raises(ValueError, match="cora: expected the published raw files") as error:
        load("cora", raw_copy)
    assert str(raw_copy / FOLDER) in str(error.value)
    assert "(got " in str(error.value)


def test_two_raw_files_that_changed_places_are_a_value_error(raw_copy: Path, offline: None) -> None:
    left, right = (raw_copy / FOLDER / f"ind.cora.{part}" for part in ("x", "tx"))
    left_bytes, right_bytes = left.read_bytes(), right.read_bytes()
    left.write_bytes(right_bytes)
    right.write_bytes(left_bytes)
    with pytest.raises(ValueError, match="expected the published raw files"):
        load("cora", raw_copy)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.mark,)


def test_no_code_of_a_raw_file_runs(raw_copy: Path, empty_cache: Path, offline: None, tmp_path: Path) -> None:
    evil = pickle.dumps(Evil(tmp_path / "the-code-has-run"))
    (raw_copy / FOLDER / "ind.cora.x").write_bytes(evil)
    with pytest.raises(ValueError, match="expected the published raw files"):
        load("cora", raw_copy)
    assert not (tmp_path / "the-code-has-run").exists()
    pickle.loads(evil)  # the negative control
    assert (tmp_path / "the-code-has-run").exists()


# ------------------------------------------------------------------ downloads


def remains(root: Path) -> list[str]:
    """Names of all files and of hidden folders below a root."""
    paths = root.rglob("*") if root.exists() else []
    return sorted(path.name for path in paths if path.is_file() or path.name.startswith("."))


@pytest.mark.parametrize("name", PLANETOID)
def test_missing_files_without_a_network_name_the_folder_and_the_command(
    name: str, offline: None, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    with pytest.raises(FileNotFoundError) as error:
        load(name, root)
    message = str(error.value)
    assert str(root / str(card(name).folder)) in message
    assert f"gnnkit datasets {name} --download --root {root}" in message
    assert "no network in this test" in message
    assert "\n" not in message
    assert remains(root) == []


def test_the_command_in_the_message_survives_a_folder_with_a_space(offline: None, tmp_path: Path) -> None:
    root = tmp_path / "my data"
    with pytest.raises(FileNotFoundError) as error:
        load("cora", root)
    command = str(error.value).rpartition("run: ")[2]
    assert shlex.split(command)[-1] == str(root)


def test_a_root_that_is_a_file_is_a_file_not_found(offline: None, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(FileNotFoundError, match="--root"):
        load("cora", tmp_path / "root")


def serve(folder: Path) -> Callable[[str], bytes]:
    """Read from a folder what would be downloaded."""
    return lambda url: (folder / url.rpartition("/")[2]).read_bytes()


def test_a_download_that_is_served_lands_complete(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    monkeypatch.setattr("gnnkit.datasets._files.read_url", serve(data_folder / FOLDER))
    assert load("cora", tmp_path / "root").num_nodes == 2708
    assert remains(tmp_path / "root") == sorted(path.name for path in (data_folder / FOLDER).iterdir())
    monkeypatch.delattr("gnnkit.datasets._files.read_url")
    assert load("cora", tmp_path / "root").num_nodes == 2708  # and needs no second download


def test_a_download_goes_through_urllib(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_geometric.datasets.Planetoid, "url", (data_folder / FOLDER).as_uri())
    assert load("cora", tmp_path / "root").num_nodes == 2708


def test_a_download_completes_a_folder_that_lacks_a_file(
    raw_copy: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (raw_copy / FOLDER / "ind.cora.graph").unlink()
    monkeypatch.setattr("gnnkit.datasets._files.read_url", serve(data_folder / FOLDER))
    assert load("cora", raw_copy).num_nodes == 2708


@pytest.mark.parametrize("error", [urllib.error.URLError("reset"), TimeoutError("slow"), KeyboardInterrupt()], ids=repr)
def test_a_download_that_breaks_half_way_leaves_no_raw_folder(
    error: BaseException, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = serve(data_folder / FOLDER)

    def breaking(url: str) -> bytes:
        if url.endswith("ind.cora.graph"):
            raise error
        return read(url)

    monkeypatch.setattr("gnnkit.datasets._files.read_url", breaking)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else FileNotFoundError
    with pytest.raises(expected):
        load("cora", tmp_path / "root")
    assert remains(tmp_path / "root") == []
    assert not (tmp_path / "root").exists()


def test_a_broken_download_leaves_the_files_that_were_there(raw_copy: Path, offline: None) -> None:
    (raw_copy / FOLDER / "ind.cora.graph").unlink()
    before = remains(raw_copy)
    with pytest.raises(FileNotFoundError):
        load("cora", raw_copy)
    assert remains(raw_copy) == before


def test_a_download_of_other_bytes_leaves_no_raw_folder(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a login page instead of a file
    monkeypatch.setattr("gnnkit.datasets._files.read_url", lambda url: b"<html>")
    with pytest.raises(FileNotFoundError, match="expected the published raw files"):
        load("cora", tmp_path / "root")
    assert remains(tmp_path / "root") == []
