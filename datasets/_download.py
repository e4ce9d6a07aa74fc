"""Downloads that go on where they broke off, and appear complete or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
_LATER = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another one soon

Progress = Callable[[int, int | None], None]  # bytes that are there, of how many (None: the server does not say)


@dataclass(frozen=True)
class Receipt:
    """What was downloaded.

    Attributes:
        url: From where.
        size: In bytes.
        sha256: 64 hexadecimal digits.
    """

    url: str
    size: int
    sha256: str


def receipt_of(url: str, path: Path) -> Receipt:
    """Return the receipt of a file that was downloaded whole."""
    with path.open("rb") as file:
        return Receipt(url, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


class _BrokenError(Exception):
    """The network or the server failed; what is there stays."""


def download(
    url: str,
    path: Path,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
    pause: float = 1.0,
) -> Receipt:
    """Download a file; one that broke off, now or in an earlier process, goes on where it stopped.

    Bytes are collected in ``<path>.part``, which takes the name when all are there. ``<path>.part.json`` holds the
    address, the size and the server's mark of the version (ETag or date), which a continued request sends along
    (If-Range): if the file has changed, it comes from the beginning. Nothing is asked on the terminal.

    Args:
        url: ``http:``, ``https:``; a redirection from https to http is refused.
        path: Where the file belongs; its folder exists.
        progress: Told how far it is; None for a line on a terminal, nothing elsewhere.
        timeout: Seconds without a byte after which a connection is given up.
        attempts: How many connections in a row may bring nothing new.
        pause: Seconds before the second attempt; twice as many before each further one.

    Raises:
        OSError: It cannot be had (``urllib.error.URLError`` among them), another process downloads it, or there is no
            room for it.
    """
    part, failures = path.with_name(path.name + ".part"), 0
    note = part.with_name(part.name + ".json")
    with _locked(part) as file, _meter(path.name, progress) as tell:
        most = file.seek(0, os.SEEK_END)
        while True:
            try:
                _attempt(url, file, note, timeout, tell)
                break
            except _BrokenError as error:
                cause, have = error.__cause__ or error, file.seek(0, os.SEEK_END)
                failures, most = 1 if have > most else failures + 1, max(have, most)
                unreachable = type(cause) is urllib.error.URLError and not have  # no network, no such server
                if failures >= attempts or unreachable:
                    raise cause from None
                time.sleep(pause * 2 ** (failures - 1))
        file.flush()
        os.fsync(file.fileno())
        receipt = receipt_of(url, part)
        part.replace(path)
        note.unlink(missing_ok=True)
    return receipt


def _attempt(url: str, file: BufferedRandom, note: Path, timeout: float, tell: Progress) -> None:
    """Ask for what is missing and append it."""
    have, known = file.seek(0, os.SEEK_END), _read(note, url)
    if have and not known:
        have = file.truncate(0)
    if have and have == known.get("size"):
        return
    headers = {"User-Agent": "gnnkit", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known.get("mark"):
            headers["If-Range"] = known["mark"]
    with _opened(url, headers, timeout, file) as response:
        size = _size(response, have, known, file)
        have = file.seek(0, os.SEEK_END)
        tag = response.headers.get("ETag", "")
        mark = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        note.write_text(json.dumps({"url": url, "size": size, "mark": mark}))
        require_room(note.parent, (size or 0) - have)
        for block in _blocks(response):
            file.write(block)
            have += len(block)
            tell(have, size)
    if size is not None and have != size:
        raise _BrokenError from ConnectionError(
            f"{url}: expected {size} bytes (got {have} before the connection ended)"
        )


@contextmanager
def _opened(url: str, headers: dict[str, str], timeout: float, file: BufferedRandom) -> Iterator[Any]:
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what is there is longer than the file
            file.truncate(0)
        elif error.code not in _LATER:
            raise
        raise _BrokenError from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError from error
    with response:
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise OSError(f"{url}: expected an address of https after redirections (got {response.url})")
        yield response


def _size(response: Any, have: int, known: dict[str, Any], file: BufferedRandom) -> int | None:
    """Return how many bytes the whole file has; empty ``file`` if the server sends it from the beginning."""
    if response.status != 206:
        file.truncate(0)
        given = response.headers.get("Content-Length")
        return int(given) if given else None
    answer = response.headers.get("Content-Range", "")
    begin, _, rest = answer.removeprefix("bytes ").partition("-")
    total = rest.partition("/")[2]
    if begin != str(have) or total != str(known.get("size")):
        file.truncate(0)
        raise _BrokenError from ConnectionError(
            f"expected the bytes from {have} of {known.get('size')} (got {answer!r})"
        )
    return int(total)


def _blocks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            block: bytes = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError from error
        if not block:
            return
        yield block


def _read(note: Path, url: str) -> dict[str, Any]:
    """Return what is known of the part that is there; nothing if it is of another address."""
    with suppress(OSError, ValueError):
        known = json.loads(note.read_text())
        if isinstance(known, dict) and known.get("url") == url:
            return known
    return {}


@contextmanager
def _locked(part: Path) -> Iterator[BufferedRandom]:
    """Open a part for appending; the system lifts the lock when the process ends. An empty one does not stay."""
    with part.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            busy = os.fstat(file.fileno()).st_ino != part.stat().st_ino
        except (BlockingIOError, FileNotFoundError):  # another has it, or has just finished
            busy = True
        if busy:
            raise OSError(f"{part}: expected one download at a time (got another process at it)")
        try:
            yield file
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()
                part.with_name(part.name + ".json").unlink(missing_ok=True)


def require_room(folder: Path, needed: int) -> None:
    """Require free space.

    Raises:
        OSError: There is less.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        error = OSError(f"{folder}: expected {needed:,} bytes of free space (got {free:,})")
        error.errno = errno.ENOSPC
        raise error


@contextmanager
def _meter(name: str, progress: Progress | None) -> Iterator[Progress]:
    """Give what is told of the progress; by default a line on a terminal, twice a second."""
    if progress is not None:
        yield progress
        return
    last, shown = 0.0, False

    def tell(have: int, size: int | None) -> None:
        nonlocal last, shown
        if sys.stderr.isatty() and time.monotonic() > last + 0.5:
            last, shown = time.monotonic(), True
            total = f" of {size / 1e6:,.1f}" if size else ""
            print(f"\r{name}: {have / 1e6:,.1f}{total} MB", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print(file=sys.stderr)
