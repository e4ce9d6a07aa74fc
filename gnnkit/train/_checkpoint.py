"""Checkpoints: whole or absent on disk, loaded without unpickling code."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

_DIGEST_BYTES = 32


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a checkpoint atomically: a process killed at any moment leaves the old one or the new one.

    The bytes go to a neighbouring file, end with their SHA-256, are forced to disk, and take the name in one
    step.

    Args:
        path: The file.
        state: Tensors, numbers, strings, and dicts and lists of them.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.tmp")
    with scratch.open("w+b") as file:
        torch.save(state, file)
        file.seek(0)
        file.write(_digest(file.read()))  # reading has moved to the end
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint; tensors and plain values only, so an untrusted file can run no code.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is damaged or is no checkpoint.
    """
    if Path(path).is_dir():
        raise ValueError(f"{path}: expected a checkpoint (got a folder)")
    content = Path(path).read_bytes()
    payload, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if digest != _digest(payload):
        raise ValueError(
            f"{path}: expected a checkpoint; remove the file to start anew (got a damaged or foreign file)"
        )
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for content that it refuses
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path}: expected a checkpoint; remove the file to start anew (got {reason})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: expected a checkpoint (got a {type(state).__name__})")
    return state


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()


def sync_folder(folder: Path) -> None:
    """Force a renamed file's new name to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
