"""Other libraries, imported so that they work on this torch: DGL without its graphbolt.

DGL 2.1, the newest on PyPI, ships a binary of its submodule ``dgl.graphbolt`` (data loading) for each torch up to
2.2, imports it from ``dgl.distributed`` and so from ``import dgl``, and fails on any other torch. Its core, graphs and
message passing, is bound to no version of torch. What follows is a compatibility shim: it lasts for the one import.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, NoReturn

from gnnkit._optional import require

__all__ = ["import_dgl"]

_GRAPHBOLT = "dgl.graphbolt"


def import_dgl() -> ModuleType:
    """Import DGL, without ``dgl.graphbolt`` where that does not load; your own ``import dgl`` works from then on.

    A DGL that is complete, or that you have imported already, is imported as ``import dgl`` would and returned. Where
    graphbolt fails to load (its binary is made for another torch, ``torchdata.datapipes`` is gone), the rest of DGL
    is imported. ``dgl.graphbolt`` then does not exist, and what uses it (``dgl.distributed`` with
    ``use_graphbolt=True``) raises an ImportError that says why. A failed ``import dgl`` before does not matter.

    Unlike ``import dgl`` it chooses DGL's PyTorch backend without a message and a file in the home folder (a set
    ``DGLBACKEND`` is obeyed), and keeps ogb, which DGL imports where it is installed, from asking for a newer version
    over the network. What it sets for that, two environment variables and an import hook, lasts for the call.

    A process that is started by *spawn* and unpickles DGL graphs has to call this first, at the top of its main
    module.

    Returns:
        The module ``dgl``.

    Raises:
        ImportError: DGL is absent (the message holds the install command), fails to import, or uses another backend
            than PyTorch.

    Example:
        >>> from gnnkit.interop import import_dgl
        >>> dgl = import_dgl()
        >>> dgl.graph(([0, 1], [1, 2])).num_nodes()
        3
    """
    if "dgl" not in sys.modules:
        # a failed import leaves the submodules that had loaded, to which a new package object would not lead
        for name in [name for name in list(sys.modules) if name.startswith("dgl.")]:
            del sys.modules[name]
    with _graphbolt_may_fail(), _quietly():
        dgl = require("dgl", "dgl")
    backend = dgl.backend.backend_name
    if backend != "pytorch":
        raise ImportError(f"expected DGL with its PyTorch backend: set DGLBACKEND=pytorch (got {backend})")
    return dgl


@contextmanager
def _quietly() -> Iterator[None]:
    """Choose the backend, silence warnings (of old code that Python compiles), and stop ogb's request."""
    before = {name: os.environ.get(name) for name in ("DGLBACKEND", "OUTDATED_IGNORE")}
    os.environ.setdefault("DGLBACKEND", "pytorch")
    hide = "outdated" not in sys.modules  # with None there, ogb finds no such package and starts no thread
    if hide:
        sys.modules["outdated"] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if hide:
            del sys.modules["outdated"]
        for name, value in before.items():
            if value is not None:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)


@contextmanager
def _graphbolt_may_fail() -> Iterator[None]:
    """While it lasts, a ``dgl.graphbolt`` that fails to load is an `_Absent` in place of an error."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if isinstance(sys.modules.get(_GRAPHBOLT), _Absent):  # nothing is to answer to the name
            del sys.modules[_GRAPHBOLT]
            vars(sys.modules.get("dgl", ModuleType("dgl"))).pop("graphbolt", None)


class _Finder(MetaPathFinder):
    """Finds ``dgl.graphbolt`` where it is, and nothing else."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == _GRAPHBOLT else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Lenient(spec.loader)
        return spec


class _Lenient(Loader):
    """Loads a module as its own loader does, and puts an `_Absent` in the place of one that raises."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self._loader.exec_module(module)
        except Exception as error:  # FileNotFoundError, ModuleNotFoundError, ImportError, AttributeError …
            for name in [name for name in list(sys.modules) if name.startswith(f"{_GRAPHBOLT}.")]:
                del sys.modules[name]
            # the import system takes what a module leaves in its place
            sys.modules[_GRAPHBOLT] = _Absent(error)


class _Absent(ModuleType):
    """What modules of DGL hold in place of graphbolt: any use says that it is missing, and why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(_GRAPHBOLT)
        self.__reason = f"{type(error).__name__}: {error}".splitlines()[0]

    def __getattr__(self, name: str) -> NoReturn:
        message = f"expected a dgl.graphbolt that loads, for {name!r} (got {self.__reason})"
        # tools look modules up for __path__, __wrapped__ …; those it lacks like any module
        error: Any = AttributeError if name.startswith("__") else ImportError
        raise error(message)
