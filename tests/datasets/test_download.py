"""Downloads from a server on this machine: continued, restarted when the file changed, refused when it is not whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import urllib.error
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from file_server import FileServer

from gnnkit.datasets import _download
from gnnkit.datasets._download import Receipt, download

CONTENT = bytes(range(256)) * 16_000  # four blocks


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(CONTENT) as made:
        yield made


def fetch(server: FileServer, path: Path, **options: Any) -> Receipt:
    return download(server.url, path, **{"pause": 0.001, "timeout": 10.0} | options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_with_size_and_checksum_and_nothing_beside_it(server: FileServer, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    receipt = fetch(server, tmp_path / "set.zip", progress=lambda have, size: told.append((have, size)))
    assert receipt == Receipt(server.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert names(tmp_path) == ["set.zip"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [have for have, _ in told] == sorted(have for have, _ in told)


def test_a_connection_that_breaks_off_goes_on_where_it_stopped(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [1_500_000, 700_000]
    assert fetch(server, tmp_path / "set.zip").size == len(CONTENT)
    assert server.asked == [(None, None), ("bytes=1500000-", '"one"'), ("bytes=2200000-", '"one"')]
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_another_process_goes_on_where_one_gave_up(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [1_500_000]
    with pytest.raises((ConnectionError, HTTPException)):
        fetch(server, tmp_path / "set.zip", attempts=1)
    assert names(tmp_path) == ["set.zip.part", "set.zip.part.json"]
    assert fetch(server, tmp_path / "set.zip").sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert server.asked[-1] == ("bytes=1500000-", '"one"')
    assert names(tmp_path) == ["set.zip"]


def test_a_file_that_changed_meanwhile_comes_from_the_beginning(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [1_500_000]
    with pytest.raises((ConnectionError, HTTPException)):
        fetch(server, tmp_path / "set.zip", attempts=1)
    server.content, server.tag = CONTENT[::-1], '"two"'
    fetch(server, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT[::-1]


def test_without_a_tag_another_size_is_noticed(server: FileServer, tmp_path: Path) -> None:
    server.breaks, server.tag = [1_500_000], ""
    with pytest.raises((ConnectionError, HTTPException)):
        fetch(server, tmp_path / "set.zip", attempts=1)
    server.content = CONTENT[::-1] + b"more"
    fetch(server, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT[::-1] + b"more"
    assert server.asked[1:] == [("bytes=1500000-", None), (None, None)]


def test_a_shorter_file_than_what_is_there_comes_from_the_beginning(server: FileServer, tmp_path: Path) -> None:
    server.breaks, server.tag = [1_500_000], ""
    with pytest.raises((ConnectionError, HTTPException)):
        fetch(server, tmp_path / "set.zip", attempts=1)
    server.content = b"short"
    fetch(server, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == b"short"


def test_a_server_without_ranges_sends_all_of_it_again(server: FileServer, tmp_path: Path) -> None:
    server.breaks, server.ranges = [1_500_000], False
    fetch(server, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_the_part_of_another_address_is_not_continued(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"x" * 100)
    (tmp_path / "set.zip.part.json").write_text(json.dumps({"url": "http://elsewhere/", "size": 200, "mark": ""}))
    fetch(server, tmp_path / "set.zip")
    assert server.asked == [(None, None)]
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_whole_part_is_taken_without_asking(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT)
    note = {"url": server.url, "size": len(CONTENT), "mark": '"one"'}
    (tmp_path / "set.zip.part.json").write_text(json.dumps(note))
    assert fetch(server, tmp_path / "set.zip").sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert server.asked == []


def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.answers = [503, 429]
    assert fetch(server, tmp_path / "set.zip").size == len(CONTENT)
    assert len(server.asked) == 3


def test_what_is_not_there_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    server.answers = [404]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(server, tmp_path / "set.zip")
    assert len(server.asked) == 1
    assert names(tmp_path) == []


def test_it_gives_up_after_as_many_attempts_without_progress(server: FileServer, tmp_path: Path) -> None:
    server.answers = [500] * 9
    with pytest.raises(urllib.error.HTTPError, match="500"):
        fetch(server, tmp_path / "set.zip", attempts=3)
    assert len(server.asked) == 3


def test_fewer_bytes_than_announced_are_not_a_file(server: FileServer, tmp_path: Path) -> None:
    server.length, server.ranges = len(CONTENT) + 7, False
    with pytest.raises(ConnectionError, match=rf"expected {len(CONTENT) + 7} bytes \(got {len(CONTENT)} before"):
        fetch(server, tmp_path / "set.zip", attempts=2)
    assert not (tmp_path / "set.zip").exists()


def test_a_server_that_is_never_content_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.length = len(CONTENT) + 7  # what is there is too short for one answer and too long for the next
    with pytest.raises(ConnectionError, match=rf"expected {len(CONTENT) + 7} bytes"):
        fetch(server, tmp_path / "set.zip", attempts=3)
    assert len(server.asked) == 3


def test_more_bytes_than_the_file_has_are_not_a_file(server: FileServer, tmp_path: Path) -> None:
    server.breaks, server.extra = [1_500_000], b"more"
    fetch(server, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    assert server.asked[2:] == [(f"bytes={len(CONTENT) + 4}-", '"one"'), (None, None)]


def test_a_size_that_is_not_told_is_no_obstacle(server: FileServer, tmp_path: Path) -> None:
    server.length = -1
    assert fetch(server, tmp_path / "set.zip").size == len(CONTENT)


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(OSError, match="timed out"):
        download(f"http://127.0.0.1:{mute.getsockname()[1]}/", tmp_path / "set.zip", timeout=0.1, attempts=2, pause=0.0)
    assert names(tmp_path) == []


def test_no_room_is_told_before_the_first_byte(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"expected 4,096,000 bytes of free space \(got 1,000\)"):
        fetch(server, tmp_path / "set.zip")
    assert names(tmp_path) == []
    assert len(server.asked) == 1


def test_one_process_at_a_time(server: FileServer, tmp_path: Path) -> None:
    with (tmp_path / "set.zip.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match=r"expected one download at a time \(got another process at it\)"):
            fetch(server, tmp_path / "set.zip")
    assert server.asked == []


def test_https_does_not_lead_to_http(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Answer:
        url, status, headers = "http://elsewhere/", 200, {}

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *args: object) -> None:
            pass

    monkeypatch.setattr(_download.urllib.request, "urlopen", lambda request, timeout: Answer())
    with pytest.raises(OSError, match=r"expected an address of https after redirections \(got http://elsewhere/\)"):
        download("https://here/", tmp_path / "set.zip")
