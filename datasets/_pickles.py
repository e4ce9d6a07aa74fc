"""Pickles of tensors, read so that they can run no code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch


class _TensorUnpickler(pickle.Unpickler):
    """Knows how to rebuild a tensor and nothing else that a pickle may name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage  # torch's own would unpickle whatever the bytes hold
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)


def require_tensors(path: Path) -> None:
    """Require that a pickle holds tensors, numbers, strings and collections of them alone.

    The file is read here by an unpickler that runs nothing else, so that it may then be given to one that would.

    Raises:
        ValueError: It names anything else, or is damaged.
    """
    try:
        with path.open("rb") as file:
            _TensorUnpickler(file).load()
    except Exception as error:  # damaged bytes raise whatever they lead to
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path}: expected a pickle of tensors and plain values (got {reason})") from error
