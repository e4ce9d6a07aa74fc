"""Where the raw files of an OGB set lie: as they are, in an archive, or downloaded, with a record of what came."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gnnkit.datasets import _files
from gnnkit.datasets._archives import inner, unpack
from gnnkit.datasets._download import Receipt, download, receipt_of
from gnnkit.datasets._ogb_custom import Submission
from gnnkit.datasets._root import cache_dir


def official(name: str, meta: dict[str, str], root: Path) -> Path:
    """Return the folder of an official set: as it lies, out of an archive that lies there, or downloaded."""
    stem, parents = name.replace("-", "_"), (root / "ogb", root)
    for parent in parents:
        for folder in (parent / f"{stem}_pyg", parent / stem):  # ogb looks for both
            if folder.is_dir():
                return folder
        if (archive := parent / f"{meta['download_name']}.zip").is_file():
            return _unpacked(name, archive)
    folder = parents[0] / stem
    came: list[Receipt] = []

    def fill(scratch: Path) -> None:
        archive = folder.with_name(f".{stem}.zip")  # beside the scratch folder, where a broken download stays
        # a whole one is there where the disk had no room to unpack it, or the process was killed meanwhile
        receipt = receipt_of(address(meta), archive) if archive.is_file() else download(address(meta), archive)
        try:
            _require_same(name, receipt, _record(folder))
            unpack(name, archive, scratch / "unpacked")
        except Exception as error:
            if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                archive.unlink()
            raise
        for path in inner(scratch / "unpacked").iterdir():
            path.rename(scratch / path.name)
        shutil.rmtree(scratch / "unpacked", ignore_errors=True)
        archive.unlink(missing_ok=True)
        came.append(receipt)

    _files.fetch(name, folder, fill, lambda scratch: None, root=root)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _write(_record(folder), vars(came[0]) | {"files": raw_digest(folder), "downloaded": now})
    return folder


def address(meta: dict[str, str]) -> str:
    """Return where ogb says that an archive is, by https."""
    return meta["url"].replace("http://", "https://")


def folder_of(found: Submission) -> Path:
    """Return the folder of a user's own set, unpacked where ``DatasetSaver`` left an archive alone."""
    return found.folder if found.folder.is_dir() else _unpacked(found.name, found.folder.with_suffix(".zip"))


def raw_digest(folder: Path) -> str:
    """Return the SHA-256 over what is read of a set."""
    parts = (folder / "raw", folder / "split")
    return _files.digest([path for part in parts for path in part.rglob("*") if path.is_file()])


def require_recorded(name: str, folder: Path, digest: str) -> None:
    """Require the files that were downloaded, where there is a record of them.

    Raises:
        ValueError: They have changed since.
    """
    record = _record(folder)
    if record.is_file() and (expected := _recorded(name, record)["files"]) != digest:
        raise ValueError(
            f"{name}: expected the files as they were downloaded, SHA-256 {expected[:16]}…, in {folder}; remove the "
            f"folder to download it again, or {record} to accept them (got {digest[:16]}…)"
        )


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.download.json")


def _require_same(name: str, receipt: Receipt, record: Path) -> None:
    """Require the archive of the first download: OGB publishes no checksums, so the first one is trusted."""
    if record.is_file() and (expected := _recorded(name, record)["sha256"]) != receipt.sha256:
        raise ValueError(
            f"{name}: expected the archive that was downloaded first, SHA-256 {expected[:16]}…; remove {record} if its "
            f"makers have changed it (got {receipt.sha256[:16]}…)"
        )


def _recorded(name: str, record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text())
        return {key: str(content[key]) for key in ("files", "sha256")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{name}: expected the record of a download in {record} (got {type(error).__name__})"
        ) from error


def _write(path: Path, content: dict[str, Any]) -> None:
    scratch = path.with_name(f".{path.name}")
    scratch.write_text(json.dumps(content, indent=1) + "\n")
    scratch.replace(path)


def _unpacked(name: str, archive: Path) -> Path:
    """Unpack an archive into the user's cache, once, and return the folder that holds ``raw``."""
    target = cache_dir() / "raw" / f"{name}-{_files.digest([archive])[:16]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
            unpack(name, archive, Path(scratch) / "unpacked")
            with contextlib.suppress(OSError):  # another process was faster, with the same content
                os.rename(Path(scratch) / "unpacked", target)  # noqa: PTH104 (Path.rename replaces on some systems)
    return inner(target)
