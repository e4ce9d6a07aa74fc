"""Negatives kept in a folder, found again by the content of what they were made of."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

_RULES = 1  # what negatives are made by; raised when they change


def kept(
    cache: str | os.PathLike[str] | None,
    tensors: Sequence[Tensor],
    settings: Mapping[str, object],
    shape: tuple[int, ...],
    make: Callable[[], Tensor],
) -> Tensor:
    """Make a tensor of node ids once, and read it where all arguments are the same.

    A file appears complete or not at all; one that is damaged leads to a warning and is made anew.

    Args:
        cache: The folder, made if it is not there; None to keep nothing.
        tensors: What the result depends on.
        settings: Further plain values that it depends on.
        shape: Of the result; a file of another is damaged.
        make: Gives int64 ids below 2^31.
    """
    if cache is None:
        return make()
    path = Path(cache) / f"heart-{_digest(tensors, settings)}.pt"
    if path.exists():
        try:
            found: Tensor = torch.load(path, weights_only=True)["negatives"].long()
            if found.shape != shape:
                raise ValueError(f"expected shape {list(shape)} (got {list(found.shape)})")
        except Exception as error:  # also whatever torch raises for damaged bytes
            warnings.warn(f"{path}: damaged ({type(error).__name__}), made anew", stacklevel=3)
        else:
            return found
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"negatives": made.int()}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    finally:
        Path(scratch).unlink(missing_ok=True)
    return made


def _digest(tensors: Sequence[Tensor], settings: Mapping[str, object]) -> str:
    """32 hexadecimal digits that tell contents apart, in every process alike."""
    total = hashlib.sha256(f"{_RULES} {sorted(settings.items())}".encode())
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{plain.dtype} {list(plain.shape)}".encode())
        total.update(plain.numpy().tobytes())
    return total.hexdigest()[:32]
