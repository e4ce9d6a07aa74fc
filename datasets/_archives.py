"""Archives unpacked below one folder: no path out of it, no link, no more than there is room for."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from gnnkit.datasets._download import require_room

_RATIO = 100  # deflated numbers are some 3 to 10 times as large as the archive; one that blows up 100 times is no data
_SPARE = 16 << 20


def unpack(name: str, archive: Path, target: Path) -> None:
    """Unpack a ``.zip`` into a folder that is made; all members are checked before the first is written.

    Args:
        name: The dataset, for messages.
        archive: The file.
        target: The folder.

    Raises:
        ValueError: It is damaged or encrypted, or a member would lie outside the folder, is a link or a device, has
            the name of another, or all together are more than 100 times as large as the archive.
        OSError: There is not enough room.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            _check(name, archive, members)
            target.mkdir(parents=True)
            require_room(target, sum(member.file_size for member in members))
            for member in members:
                path = target / member.filename
                if member.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as source, path.open("xb") as sink:  # never more than the size it declares
                    shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{name}: expected a whole archive {archive} (got {type(error).__name__}: {error})") from error


def _check(name: str, archive: Path, members: list[zipfile.ZipInfo]) -> None:
    files: set[PurePosixPath] = set()
    folders = {PurePosixPath()}
    for member in members:
        path, kind = PurePosixPath(member.filename), stat.S_IFMT(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or any(sign in member.orig_filename for sign in "\\\0"):
            raise ValueError(
                f"{name}: expected an archive of files below its folder (got {member.orig_filename!r} in {archive})"
            )
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
            what = "an encrypted one" if member.flag_bits & 1 else f"mode {stat.filemode(member.external_attr >> 16)}"
            raise ValueError(f"{name}: expected plain files in {archive} (got {member.filename!r}, {what})")
        is_folder = member.filename.endswith("/")
        if path in files or not files.isdisjoint(path.parents) or (path in folders and not is_folder):
            raise ValueError(f"{name}: expected each name once in {archive} (got {member.filename!r} again)")
        folders.update(path.parents, {path} if is_folder else ())
        if not is_folder:
            files.add(path)
    total, most = sum(member.file_size for member in members), archive.stat().st_size * _RATIO + _SPARE
    if total > most:
        raise ValueError(
            f"{name}: expected at most {most:,} bytes in {archive}, {_RATIO} times its size (got {total:,})"
        )


def inner(folder: Path) -> Path:
    """Return the folder with ``raw``: OGB's archives hold one around it, those of ``DatasetSaver`` do not."""
    found = [path for path in folder.iterdir() if path.is_dir()]
    return found[0] if len(found) == 1 and not (folder / "raw").is_dir() else folder
