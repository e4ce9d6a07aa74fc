"""The one place that chooses a backend."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

_DEVICES = {"torch": None, "numba": "cpu", "cupy": "cuda"}  # the device type a backend is bound to


def backend_name(tensor: Tensor) -> str:
    """Return which backend an operation on ``tensor`` runs on: ``"numba"``, ``"cupy"`` or ``"torch"``.

    CPU tensors are served by Numba, CUDA tensors by our CUDA sources, which CuPy compiles and runs. Where CuPy is not
    installed, CUDA tensors are served by the PyTorch reference, and a warning says so once; all other tensors are
    served by it too. The environment variable ``GNNKIT_BACKEND``, read at every call, asks for one by name.

    Raises:
        ValueError: ``GNNKIT_BACKEND`` names an unknown backend or one that cannot serve the device.
        ImportError: ``GNNKIT_BACKEND=cupy`` asks for a CuPy that is not installed.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import backend_name
        >>> backend_name(torch.ones(1, device="meta"))
        'torch'
    """
    device = tensor.device.type
    name = os.environ.get("GNNKIT_BACKEND") or _default(device)
    if name not in _DEVICES:
        raise ValueError(f"GNNKIT_BACKEND: expected one of {', '.join(_DEVICES)} (got {name!r})")
    if _DEVICES[name] not in (None, device):
        raise ValueError(f"GNNKIT_BACKEND={name}: expected {_DEVICES[name]} tensors (got {device})")
    if name == "cupy" and not _has_cupy():
        raise ImportError(f"GNNKIT_BACKEND=cupy: expected the package cupy: {_install_line()} (got none)")
    return name


def backend(tensor: Tensor) -> ModuleType:
    """Return the private module that implements the operations for ``tensor``."""
    return importlib.import_module(f"gnnkit.kernels._{backend_name(tensor)}")


def _default(device: str) -> str:
    if device == "cuda":
        if _has_cupy():
            return "cupy"
        _warn_once()
    return "numba" if device == "cpu" else "torch"


@cache
def _has_cupy() -> bool:
    return importlib.util.find_spec("cupy") is not None


@cache
def _warn_once() -> None:
    warnings.warn(
        f"CUDA tensors are served by the PyTorch reference, which is slow and large: {_install_line()}", stacklevel=2
    )


def _install_line() -> str:
    major = (torch.version.cuda or "13").split(".")[0]
    return f"pip install 'gnnkit[cuda{major}]'"
