"""Archives: nothing leaves the folder, no links, no bombs, nothing half-unpacked under the final name."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from gnnkit.datasets._archives import inner, unpack


def pack(path: Path, members: dict[str, str], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # as it is: ZipInfo cleans names
            info.external_attr = mode << 16
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def test_an_archive_is_unpacked_and_the_folder_around_it_is_found(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "a.zip", {"set/raw/": "", "set/raw/x.csv": "1", "set/split/y.csv": "2", "set/LICENCE": "3"}
    )
    unpack("ogbn-x", archive, tmp_path / "out")
    assert inner(tmp_path / "out") == tmp_path / "out" / "set"
    found = {str(path.relative_to(tmp_path / "out")): path.read_text() for path in tmp_path.rglob("out/**/*.csv")}
    assert found == {"set/raw/x.csv": "1", "set/split/y.csv": "2"}


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a/..", "..\\evil", "c:\\evil"])
def test_a_path_out_of_the_folder_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"fine": "1", name: "evil"})
    with pytest.raises(ValueError, match=r"^ogbn-x: expected an archive of files below its folder \(got "):
        unpack("ogbn-x", archive, tmp_path / "in" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip"]
    assert not Path("/evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(kind: int, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"raw": str(tmp_path)}, kind | 0o777)
    with pytest.raises(ValueError, match=r"^ogbn-x: expected plain files in .*a\.zip \(got 'raw', mode [lpc]rwx"):
        unpack("ogbn-x", archive, tmp_path / "out")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"raw": "1"})
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected plain files in .* \(got 'raw', an encrypted one\)"):
        unpack("ogbn-x", archive, tmp_path / "out")


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("raw", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("raw", "2")
    with pytest.raises(ValueError, match=r"expected each name once in .* \(got 'raw' again\)"):
        unpack("ogbn-x", tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("names", [("a", "a/"), ("a", "a/b"), ("a/b", "a"), ("a/", "a"), ("a", "./a"), (".",), ("",)])
def test_a_file_with_the_name_of_a_folder_is_refused_unread(names: tuple[str, ...], tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", dict.fromkeys(names, ""))
    with pytest.raises(ValueError, match=r"expected each name once in .* \(got '.*' again\)"):
        unpack("ogbn-x", archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_blows_up_is_refused_unread(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {f"{number}": "\0" * (1 << 23) for number in range(8)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"expected at most .* 100 times its size \(got 67,108,864\)"):
        unpack("ogbn-x", archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_size_that_is_a_lie_writes_no_more_than_it_says(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"raw": "0" * 50_000})
    content = archive.read_bytes().replace((50_000).to_bytes(4, "little"), (7).to_bytes(4, "little"))
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"^ogbn-x: expected a whole archive .*Bad CRC"):
        unpack("ogbn-x", archive, tmp_path / "out")
    assert (tmp_path / "out" / "raw").stat().st_size <= 7


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    content = pack(tmp_path / "a.zip", {"raw": "".join(map(str, range(9999)))}).read_bytes()
    for damaged in (content[:-30], content[:500] + b"x" + content[501:], b""):
        (tmp_path / "a.zip").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^ogbn-x: expected a whole archive "):
            unpack("ogbn-x", tmp_path / "a.zip", tmp_path / "out")
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(tmp_path / "a.zip", {"raw": "0" * 5_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"expected 5,000 bytes of free space \(got 100\)"):
        unpack("ogbn-x", archive, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []  # noqa: PTH208
