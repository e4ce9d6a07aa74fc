"""A file that is written beside its place, and the removal of such files where their writer died."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from contextlib import suppress
from io import FileIO
from pathlib import Path


def create(path: Path) -> tuple[Path, FileIO]:
    """Open a new file ``.<name>.<process>-<number>.partial`` beside ``path``, after removing what dead writers left.

    A writer holds a lock on its file until it is closed, and the system drops the lock of a process that dies: so a
    file without a lock has no writer any more, whatever process has its number now, and on whatever machine.
    """
    _remove_abandoned(path)
    while True:
        partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        file = partial.open("xb", buffering=0)
        with suppress(OSError):  # no locks on this file system: then nobody can take it for abandoned either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return partial, file
        file.close()  # somebody took it for abandoned before it was locked


def _remove_abandoned(path: Path) -> None:
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+-[0-9a-f]{{8}}\.partial")
    for left in path.parent.iterdir():
        if name.fullmatch(left.name):
            with suppress(OSError), left.open("r+b") as file:  # it is locked, or no longer there, or not ours
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
