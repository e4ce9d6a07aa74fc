"""OGB's official sets as files of CSV: loaded, and what is damaged is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from ogb_archives import write_official, zip_folder

from gnnkit.datasets import _ogb_load, load

pytestmark = [
    pytest.mark.usefixtures("empty_cache", "alone"),
    pytest.mark.skipif(
        importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
    ),
]


@pytest.mark.usefixtures("small")
def test_a_set_of_molecules_loads_twice_from_a_folder_that_stays_as_it_is(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_official(tmp_path)
    before = sorted(map(str, folder.rglob("*")))
    first = load("ogbg-molesol", tmp_path)
    monkeypatch.setattr(_ogb_load, "read_plain", None)  # the second time is cached
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
    (path,) = (empty_cache / "processed").rglob("content.pt")
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
