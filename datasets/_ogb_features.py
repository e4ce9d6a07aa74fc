"""Where the features of nodes go while they are read: to the tensor that stays, or to a file that is mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit.datasets._card import Card
from gnnkit.datasets._ogb_raw import Raw, Sink
from gnnkit.datasets._ogb_split import plain_name
from gnnkit.datasets._table import Table

_SUFFIX = ".gnnkit"


def in_memory(facts: Card) -> Sink:
    """Keep features in a tensor; float32 if they are whole numbers that do not name categories.

    Those of a set of links stay what they are, as in ogb.
    """
    floats = facts.task != "link_prediction" and facts.node_categories is None
    return lambda type_, table: table.read(floats)


@dataclass(frozen=True)
class Written:
    """What stands in place of features that a file took.

    Attributes:
        shape: ``[N, D]``.
    """

    shape: torch.Size


def to_files(folder: Path) -> Sink:
    """Write features as float32 to a file a type, some rows at a time; no table is ever in memory."""
    from gnnkit.data import write_features

    def write(type_: Any, table: Table) -> Written:
        path = folder / ("x" + ("" if type_ is None else f"-{plain_name(type_)}") + _SUFFIX)
        return Written(write_features(path, _floats(table)))

    return write


def _floats(table: Table) -> Iterator[Tensor]:
    for chunk in table.chunks():
        yield torch.tensor(chunk, dtype=torch.float32)


def drop(found: Raw) -> None:
    """Take the features out of what was read, where they lie in files."""
    for rows in found.nodes.values():
        rows.pop("x", None)


def stores(folder: Path) -> dict[str | None, Any]:
    """Open the files of features in a folder, by type; None where nodes have no types. Every checksum is compared."""
    from gnnkit.data import MemoryMapped

    paths = {path.name.removesuffix(_SUFFIX).partition("-")[2]: path for path in folder.glob(f"x*{_SUFFIX}")}
    return {type_ or None: MemoryMapped(path) for type_, path in sorted(paths.items())}
