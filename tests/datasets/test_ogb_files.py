"""OGB's official sets as files of CSV: loaded, downloaded, and what is damaged is told."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import pickle
import urllib.error
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnkit.datasets import _load, _ogb, _ogb_load, load
from gnnkit.datasets._ogb_cards import CARDS

pytestmark = [
    pytest.mark.usefixtures("empty_cache", "alone"),
    pytest.mark.skipif(
        importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
    ),
]

# ------------------------------------------------------------------ official sets, as files of CSV


def write_official(root: Path, name: str = "ogbg-molesol") -> Path:
    """Write three molecules in the layout of an official set."""
    folder = root / "ogb" / name.replace("-", "_")
    tables: dict[str, list[list[float]]] = {
        "raw/edge": [[0, 1], [1, 2], [0, 1], [0, 1]],
        "raw/num-node-list": [[3], [2], [2]],
        "raw/num-edge-list": [[2], [1], [1]],
        "raw/node-feat": [[5, 0, 1, 5, 0, 0, 0, 0, 0]] * 7,
        "raw/edge-feat": [[0, 0, 0]] * 4,
        "raw/graph-label": [[0.5], [1.5], [2.5]],
        "split/scaffold/train": [[0]],
        "split/scaffold/valid": [[1]],
        "split/scaffold/test": [[2]],
    }
    for place, rows in tables.items():
        path = folder / f"{place}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", newline="") as file:
            csv.writer(file).writerows(rows)
    (folder / "RELEASE_v1.txt").write_text("a test")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card for the three molecules in place of the official one."""
    facts = replace(CARDS["ogbg-molesol"], num_graphs=3, num_nodes=7, num_edges=8)
    for cards in (_load._CARDS, _ogb_load.CARDS):
        monkeypatch.setitem(cards, "ogbg-molesol", facts)


@pytest.mark.usefixtures("small")
def test_a_set_of_molecules_loads_twice_from_a_folder_that_stays_as_it_is(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_official(tmp_path)
    before = sorted(map(str, folder.rglob("*")))
    first = load("ogbg-molesol", tmp_path)
    monkeypatch.setattr(_ogb.package("ogbg").PygGraphPropPredDataset, "process", None)  # the second time is cached
    second = load("ogbg-molesol", tmp_path)
    assert sorted(map(str, folder.rglob("*"))) == before
    assert len(list((empty_cache / "processed").iterdir())) == 1
    for dataset in (first, second):
        assert [graph.num_nodes for graph in dataset] == [3, 2, 2]
        assert [graph.y.tolist() for graph in dataset] == [[[0.5]], [[1.5]], [[2.5]]]
        assert dataset[0].edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
        assert (dataset[0].x.dtype, dataset[0].edge_attr.shape) == (torch.int64, (4, 3))
        assert dataset.card.split(dataset, seed=3).sizes == (1, 1, 1)
        assert dataset.card.name == "ogbg-molesol"


@pytest.mark.usefixtures("small")
def test_a_damaged_cache_is_made_anew(tmp_path: Path, empty_cache: Path) -> None:
    write_official(tmp_path)
    first = load("ogbg-molesol", tmp_path)
    (path,) = (empty_cache / "processed").rglob("geometric_data_processed.pt")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged .*made anew"):
        second = load("ogbg-molesol", tmp_path)
    assert torch.equal(first._data.x, second._data.x)
    assert second.raw_digest == first.raw_digest


@pytest.mark.usefixtures("small")
def test_a_root_as_ogb_itself_uses_it_is_understood(tmp_path: Path) -> None:
    write_official(tmp_path)
    assert len(load("ogbg-molesol", tmp_path / "ogb")) == 3
    (tmp_path / "ogb" / "ogbg_molesol").rename(tmp_path / "ogb" / "ogbg_molesol_pyg")
    assert len(load("ogbg-molesol", tmp_path)) == 3


@pytest.mark.usefixtures("small")
def test_an_archive_in_the_root_is_unpacked_into_the_cache(tmp_path: Path, empty_cache: Path) -> None:
    folder = write_official(tmp_path / "elsewhere")
    zip_folder(folder, tmp_path / "esol.zip", inside="esol/")
    for _ in range(2):
        assert len(load("ogbg-molesol", tmp_path)) == 3
    assert [path.name.rpartition("-")[0] for path in (empty_cache / "raw").iterdir()] == ["ogbg-molesol"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "elsewhere", "esol.zip"]


def zip_folder(folder: Path, archive: Path, inside: str = "") -> None:
    """Pack a folder's files."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            if path.is_file():
                file.write(path, inside + str(path.relative_to(folder)))


class Download:
    """What urlopen gives: an archive."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> Any:
        return io.BytesIO(self.content)

    def __exit__(self, *args: object) -> None:
        pass


@pytest.mark.usefixtures("small")
def test_a_missing_set_is_downloaded_over_https_without_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_official(tmp_path / "there")
    zip_folder(folder, tmp_path / "archive", inside="esol/")
    asked = []

    def urlopen(url: str, timeout: float) -> Download:
        asked.append(url)
        return Download((tmp_path / "archive").read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    for _ in range(2):
        assert len(load("ogbg-molesol", tmp_path / "here")) == 3
    assert asked == ["https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/esol.zip"]
    assert sorted(path.name for path in (tmp_path / "here" / "ogb" / "ogbg_molesol").iterdir()) == [
        "RELEASE_v1.txt",
        "raw",
        "split",
    ]


# ------------------------------------------------------------------ bad input: one clear line


def told(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which must be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


def test_no_network_names_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no network in this test") as error:
        load("ogbn-arxiv", tmp_path)
    assert f"gnnkit datasets ogbn-arxiv --download --root {tmp_path}" in told(error)
    assert not (tmp_path / "ogb" / "ogbn_arxiv").exists()


def test_a_truncated_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zip_folder(write_official(tmp_path / "there"), tmp_path / "archive", inside="esol/")
    content = (tmp_path / "archive").read_bytes()[:-100]
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Download(content))
    with pytest.raises(FileNotFoundError, match=r"ogbg-molesol: .*BadZipFile") as error:
        load("ogbg-molesol", tmp_path / "here")
    told(error)
    assert not [path for path in tmp_path.glob("here/**/*") if path.is_file()]


def test_a_truncated_archive_in_the_root_is_told(tmp_path: Path) -> None:
    zip_folder(write_official(tmp_path / "there"), tmp_path / "archive", inside="esol/")
    (tmp_path / "esol.zip").write_bytes((tmp_path / "archive").read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"^ogbg-molesol: expected a whole archive .*esol\.zip \(got BadZipFile"
    ) as error:
        load("ogbg-molesol", tmp_path)
    told(error)


@pytest.mark.parametrize("place", ["raw/edge", "raw/node-feat", "split/scaffold/valid"])
@pytest.mark.usefixtures("small")
def test_a_truncated_file_is_named(place: str, tmp_path: Path) -> None:
    folder = write_official(tmp_path)
    path = folder / f"{place}.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"^ogbg-molesol: expected whole files of OGB") as error:
        load("ogbg-molesol", tmp_path)
    assert str(path) in told(error)


@pytest.mark.parametrize("place", ["raw/edge", "raw/num-node-list", "split/scaffold/train"])
@pytest.mark.usefixtures("small")
def test_a_missing_file_is_told(place: str, tmp_path: Path) -> None:
    folder = write_official(tmp_path)
    (folder / f"{place}.csv.gz").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=r"^ogbg-molesol: expected ") as error:
        load("ogbg-molesol", tmp_path)
    told(error)


def test_another_release_is_an_error_and_no_question(tmp_path: Path) -> None:
    folder = write_official(tmp_path)
    (folder / "RELEASE_v1.txt").rename(folder / "RELEASE_v0.txt")
    with pytest.raises(ValueError, match=r"^ogbg-molesol: expected .*RELEASE_v1\.txt \(got RELEASE_v0\.txt\)") as error:
        load("ogbg-molesol", tmp_path)
    told(error)
    assert folder.exists()


def test_other_sizes_than_the_cards_are_told(tmp_path: Path) -> None:
    write_official(tmp_path)
    with pytest.raises(ValueError, match=r"'num_graphs': 1128, .*'num_graphs': 3,") as error:
        load("ogbg-molesol", tmp_path)
    told(error)


def test_a_file_in_place_of_the_root_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=r"^ogbn-arxiv: .*not writable: ") as error:
        load("ogbn-arxiv", tmp_path / "file")
    told(error)


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-own"])
def test_a_root_without_permission_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(PermissionError, match=f"^{name}: expected files that this user may read .*denied") as error:
        load(name, tmp_path)
    told(error)


def test_an_archive_that_climbs_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "esol.zip", "w") as file:
        file.writestr("../../evil.txt", "x")
    with pytest.raises(ValueError, match=r"expected an archive of files below its folder \(got '\.\./\.\./evil\.txt'"):
        load("ogbg-molesol", tmp_path)
    assert not list(tmp_path.rglob("evil.txt"))


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_link_split_that_would_run_code_is_refused(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.links(tmp_path)
    torch.save({"train": Evil(tmp_path / "evil")}, folder / "ring" / "split" / "order" / "split_dict.pt")
    with pytest.raises(ValueError, match=r"^ogbl-ring: expected whole files .*UnpicklingError") as error:
        load("ogbl-ring", tmp_path)
    told(error)
    assert not (tmp_path / "evil").exists()


def test_pickles_of_older_numpy_are_read(tmp_path: Path) -> None:
    """Official link splits were written by NumPy 1, whose arrays name another module."""
    path = tmp_path / "split.pt"
    torch.save(np.arange(3), path, pickle_protocol=2)
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for member in file.namelist():
            content = file.read(member)
            assert (b"numpy._core.multiarray" in content) == member.endswith("data.pkl")
            old.writestr(member, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    with _ogb.readable():
        assert torch.load(tmp_path / "old.pt").tolist() == [0, 1, 2]
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "old.pt")
