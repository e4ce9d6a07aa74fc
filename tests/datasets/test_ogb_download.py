"""OGB's sets downloaded by name: without a question, whole or not at all, and the same ones the next time."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from file_server import FileServer
from ogb_archives import write_official, zip_folder

from gnnkit.datasets import _download, _ogb_files, load

NAME = "ogbg-molesol"

pytestmark = [
    pytest.mark.usefixtures("empty_cache", "small"),
    pytest.mark.skipif(
        importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
    ),
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server of the three molecules, at OGB's address."""
    zip_folder(write_official(tmp_path / "there"), tmp_path / "archive", inside="esol/")

    def no_keyboard(*args: Any) -> str:
        raise AssertionError(f"a question was asked: {args}")

    with FileServer((tmp_path / "archive").read_bytes()) as made:
        monkeypatch.setattr("builtins.input", no_keyboard)
        monkeypatch.setattr(_ogb_files, "address", lambda meta: made.url)
        monkeypatch.setattr(_download.time, "sleep", lambda seconds: None)
        yield made


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "ogb").iterdir())


def test_the_address_is_ogbs_by_https() -> None:
    from gnnkit.datasets import _ogb

    found = _ogb_files.address(_ogb.official("ogbg")[NAME])
    assert found == "https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/esol.zip"


def test_a_missing_set_is_downloaded_once_with_a_record(server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "here"
    for _ in range(2):
        assert len(load(NAME, root)) == 3
    assert len(server.asked) == 1
    assert names(root) == ["ogbg_molesol", "ogbg_molesol.download.json"]
    inside = sorted(path.name for path in (root / "ogb" / "ogbg_molesol").iterdir())
    assert inside == ["RELEASE_v1.txt", "raw", "split"]
    record = json.loads((root / "ogb" / "ogbg_molesol.download.json").read_text())
    assert (record["url"], record["size"]) == (server.url, len(server.content))
    assert {key: len(record[key]) for key in ("sha256", "files")} == {"sha256": 64, "files": 64}
    assert record["files"] == load(NAME, root).raw_digest


def test_files_that_change_after_the_download_are_told(server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "here"
    load(NAME, root)
    path = root / "ogb" / "ogbg_molesol" / "split" / "scaffold" / "train.csv.gz"
    path.write_bytes((path.parent / "test.csv.gz").read_bytes())
    with pytest.raises(ValueError, match=rf"^{NAME}: expected the files as they were downloaded, .* \(got \w+…\)$"):
        load(NAME, root)
    (root / "ogb" / "ogbg_molesol.download.json").unlink()
    dataset = load(NAME, root)  # accepted
    assert torch.equal(dataset.split_idx["train"], dataset.split_idx["test"])


def test_another_archive_than_the_first_is_refused(server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "here"
    load(NAME, root)
    shutil.rmtree(root / "ogb" / "ogbg_molesol")
    (tmp_path / "there" / "ogb" / "ogbg_molesol" / "LICENCE").write_text("new")
    zip_folder(tmp_path / "there" / "ogb" / "ogbg_molesol", tmp_path / "archive", inside="esol/")
    server.content = (tmp_path / "archive").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"expected the archive that was downloaded first, .*\(got \w+…\)"):
        load(NAME, root)
    assert names(root) == ["ogbg_molesol.download.json"]
    (root / "ogb" / "ogbg_molesol.download.json").unlink()
    assert len(load(NAME, root)) == 3


def test_a_record_that_is_none_is_told(server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "here"
    load(NAME, root)
    for content in ("", "[]", "{}"):
        (root / "ogb" / "ogbg_molesol.download.json").write_text(content)
        with pytest.raises(ValueError, match=rf"^{NAME}: expected the record of a download in .*\.json \(got \w+\)"):
            load(NAME, root)


def test_a_download_that_broke_off_goes_on_at_the_next_load(server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "here"
    server.breaks, server.answers = [1000], []
    server.length = len(server.content)
    original, server.breaks = server.content, [1000, 0, 0, 0, 0, 0]
    with pytest.raises(FileNotFoundError, match=rf"^{NAME}: .* the download failed: "):
        load(NAME, root)
    assert names(root) == [".ogbg_molesol.zip.part", ".ogbg_molesol.zip.part.json"]
    server.breaks, server.length = [], None
    assert len(load(NAME, root)) == 3
    assert server.asked[-1][0] == "bytes=1000-"
    assert server.content == original


def test_an_archive_that_found_no_room_is_not_downloaded_again(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gnnkit.datasets import _archives

    root, require_room = tmp_path / "here", _archives.require_room
    with monkeypatch.context() as full:
        full.setattr(_archives, "require_room", lambda folder, needed: require_room(folder, 1 << 60))
        with pytest.raises(FileNotFoundError, match=r"expected [\d,]+ bytes of free space \(got "):
            load(NAME, root)
    assert names(root) == [".ogbg_molesol.zip"]
    assert len(load(NAME, root)) == 3
    assert len(server.asked) == 1
    assert names(root) == ["ogbg_molesol", "ogbg_molesol.download.json"]
    record = json.loads((root / "ogb" / "ogbg_molesol.download.json").read_text())
    assert (record["url"], record["size"]) == (server.url, len(server.content))


def test_a_damaged_archive_is_downloaded_again_whatever_it_raised(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: Any) -> None:
        raise OSError("Invalid data stream")  # bzip2's

    with monkeypatch.context() as once:
        once.setattr(_ogb_files, "unpack", damaged)
        with pytest.raises(FileNotFoundError, match="Invalid data stream"):
            load(NAME, tmp_path / "here")
    assert len(load(NAME, tmp_path / "here")) == 3
    assert len(server.asked) == 2


@pytest.mark.parametrize("damage", ["cut", "page"])
def test_what_is_no_whole_archive_leaves_nothing(server: FileServer, tmp_path: Path, damage: str) -> None:
    server.content = server.content[:-100] if damage == "cut" else b"<html>sign in first</html>"
    with pytest.raises(FileNotFoundError, match=rf"^{NAME}: .*BadZipFile") as error:
        load(NAME, tmp_path / "here")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "here").exists() or not list((tmp_path / "here").rglob("*.*"))


def test_an_archive_with_paths_out_of_its_folder_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("../../evil.txt", "x")
    server.content = content.getvalue()
    with pytest.raises(FileNotFoundError, match=r"expected an archive of files below its folder \(got '\.\./\.\./evil"):
        load(NAME, tmp_path / "here")
    assert not list(tmp_path.rglob("evil.txt"))
