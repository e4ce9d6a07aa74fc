"""The one place that chooses a backend."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from torch import Tensor

_DEVICES = {"torch": None, "numba": "cpu"}  # the device type a backend is bound to


def backend_name(tensor: Tensor) -> str:
    """Return which backend an operation on ``tensor`` runs on: ``"numba"`` or ``"torch"``.

    CPU tensors are served by Numba, all others by the PyTorch reference. The environment variable
    ``GNNKIT_BACKEND``, read at every call, asks for one by name.

    Raises:
        ValueError: ``GNNKIT_BACKEND`` names an unknown backend or one that cannot serve the device.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import backend_name
        >>> backend_name(torch.ones(1, device="meta"))
        'torch'
    """
    device = tensor.device.type
    name = os.environ.get("GNNKIT_BACKEND") or ("numba" if device == "cpu" else "torch")
    if name not in _DEVICES:
        raise ValueError(f"GNNKIT_BACKEND: expected one of {', '.join(_DEVICES)} (got {name!r})")
    if _DEVICES[name] not in (None, device):
        raise ValueError(f"GNNKIT_BACKEND={name}: expected {_DEVICES[name]} tensors (got {device})")
    return name


def backend(tensor: Tensor) -> ModuleType:
    """Return the private module that implements the operations for ``tensor``."""
    return importlib.import_module(f"gnnkit.kernels._{backend_name(tensor)}")
