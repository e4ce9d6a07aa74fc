"""Raw files are checked before use, and a failed download leaves nothing behind."""

from __future__ import annotations

import pickle
import shlex
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch_geometric.datasets
from small_sets import FOLDER, PLANETOID

from gnnkit.datasets import card, load

pytestmark = pytest.mark.usefixtures("known_cache")

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
