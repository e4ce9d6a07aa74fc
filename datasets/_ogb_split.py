"""OGB's splits: ids in files of CSV or of torch, pairs with their negatives in files of torch, read without code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit._optional import require

_PARTS = ("train", "valid", "test")


def read_split(folder: Path, kind: str, typed: bool) -> dict[str, Any]:
    """Return what lies in ``split/<protocol>``, by part.

    For nodes and graphs that is ids, with types of nodes ``{type: ids}``. For links it is what ogb stores: ``edge``
    ``[P, 2]`` and ``edge_neg``; ``source_node``, ``target_node``, ``target_node_neg`` ``[P, K]``; ``head``,
    ``relation``, ``tail``, ``head_neg``, ``tail_neg`` and lists of the names ``head_type``, ``tail_type``.

    Args:
        folder: Of the protocol.
        kind: ogbn, ogbl or ogbg.
        typed: Whether nodes have types.
    """
    if (path := folder / "split_dict.pt").is_file():
        split = _load(path)
        if not isinstance(split, dict) or not set(_PARTS) <= split.keys():
            raise ValueError(f"{path.name}: expected a dict of {', '.join(_PARTS)} (got {type(split).__name__})")
    elif kind == "ogbl":
        split = {part: _load(folder / f"{part}.pt") for part in _PARTS}
    elif typed:
        types = _csv(folder / "nodetype-has-split.csv.gz", header=0)
        split = {
            part: {name: _ids(folder / plain_name(name) / f"{part}.csv.gz") for name in types if types[name][0]}
            for part in _PARTS
        }
    else:
        split = {part: _ids(folder / f"{part}.csv.gz") for part in _PARTS}
    return {part: split[part] if kind == "ogbl" else _long(split[part]) for part in _PARTS}


def plain_name(name: str) -> str:
    """Return the name of a type if it names a folder beside others, not one elsewhere."""
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0"):
        raise ValueError(f"types: expected names of folders (got {name!r})")
    return name


def _load(path: Path) -> Any:
    with readable():
        return tensors(torch.load(path, weights_only=True))


def _csv(path: Path, header: int | None) -> Any:
    return require("pandas", "ogb").read_csv(path, compression="gzip", header=header)


def _ids(path: Path) -> Tensor:
    return torch.tensor(_csv(path, header=None)[0].to_numpy(), dtype=torch.int64)


def _long(ids: Any) -> Any:
    return {name: each.long() for name, each in ids.items()} if isinstance(ids, dict) else ids.long()


def tensors(value: Any) -> Any:
    """Turn the NumPy arrays in nested dictionaries into tensors; lists of names stay."""
    if isinstance(value, dict):
        return {key: tensors(each) for key, each in value.items()}
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Let ``torch.load`` with ``weights_only=True`` read NumPy's arrays of numbers, which ogb's splits hold.

    Nothing else that a pickle may name, so nothing that runs code. What a user has allowed stays allowed.
    """
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    rebuild, scalar = multiarray._reconstruct, multiarray.scalar
    kinds = ("bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64", "S1", "U1")
    wanted: list[Any] = [
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
        *((rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),  # NumPy 1 and 2
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    ]
    known = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals([each for each in wanted if each not in known]):
        yield
