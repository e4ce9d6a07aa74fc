"""OGB's datasets by name: the official ones, and those that users write with ``ogb.io.DatasetSaver``."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gnnkit.datasets import _files, _ogb, _ogb_files
from gnnkit.datasets._card import Card
from gnnkit.datasets._ogb_cards import CARDS
from gnnkit.datasets._ogb_custom import custom_card, submission
from gnnkit.datasets._ogb_features import drop, in_memory, stores, to_files
from gnnkit.datasets._ogb_raw import Options, Raw, read_plain
from gnnkit.datasets._ogb_split import plain_name, read_split
from gnnkit.datasets._ogb_typed import read_typed
from gnnkit.datasets._root import cache_dir

__all__ = ["CARDS", "PREFIXES", "card", "load"]

PREFIXES = ("ogbn-", "ogbl-", "ogbg-")
_FORMAT = 1  # of what is kept in the cache; another number leaves the old ones behind


def card(name: str, root: Path) -> Card | None:
    """Return the card of a dataset that ``DatasetSaver`` wrote below ``root``; None where there is none."""
    with _explained(name, root):
        found = submission(name, root)
        if found is None:
            return None
        _ogb.package(name.partition("-")[0])  # say that ogb is absent before anything else goes wrong
        folder = _ogb_files.folder_of(found)
    with _explained(name, folder, search=True):
        return custom_card(found, folder)


def load(name: str, root: Path, features: str = "memory") -> Any:
    """Load an official set from ``root/ogb`` or ``root``, downloading it when missing, or one of a user's own.

    A set of nodes is a ``Data`` with masks, of links a ``Data`` with OGB's ``split_edge``, of graphs a PyG dataset with
    ``split_idx``; typed nodes or edges make it a ``HeteroData``.
    """
    with _explained(name, root):
        if name in CARDS:
            facts, meta = CARDS[name], _ogb.official(name.partition("-")[0])[name]
            folder = _ogb_files.official(name, meta, root)
        else:
            found = submission(name, root)
            assert found is not None, "the registry has asked for its card"
            meta, folder = found.meta, _ogb_files.folder_of(found)
            facts = custom_card(found, folder)
        release = folder / f"RELEASE_v{meta['version']}.txt"
        if not release.is_file():
            got = ", ".join(path.name for path in folder.glob("RELEASE_*")) or "none"
            raise ValueError(f"{name}: expected {release} (got {got}); move the folder away to download it anew")
        digest = _ogb_files.raw_digest(folder)
        if name in CARDS:
            _ogb_files.require_recorded(name, folder, digest)
    with _explained(name, folder, search=True):
        data = _read(meta, folder, digest, facts, mapped=features == "memmap")
    data.raw_digest = digest
    return data


def _read(meta: dict[str, Any], folder: Path, digest: str, facts: Card, mapped: bool) -> Any:
    """Read raw files into PyG's objects, by way of the user's cache."""
    from gnnkit.datasets._ogb_data import shape

    kind = facts.name.partition("-")[0]
    typed = str(meta.get("is hetero")) == "True"  # sets of graphs do not say

    def make(target: Path) -> tuple[Raw, dict[str, Any], Any]:
        read = read_typed if typed else read_plain
        sink = to_files(target) if mapped else in_memory(facts)
        found = read(folder / "raw", Options(kind, meta, sink))
        if mapped:
            drop(found)
        split = read_split(folder / "split" / plain_name(str(meta["split"])), kind, typed)
        _files.save({"raw": vars(found), "split": split}, target / "content.pt")
        return found, split, None

    def again(target: Path) -> tuple[Raw, dict[str, Any], Any]:
        content = torch.load(target / "content.pt", weights_only=True)
        return Raw(**content["raw"]), content["split"], stores(target)

    label = f"{facts.name}-format{_FORMAT}-pandas{version('pandas')}{'-memmap' * mapped}"
    found, split, rows = _files.kept(label, digest, make, again)
    data = shape(found, split, facts)
    if mapped:  # opened where they stay
        for type_, store in (stores(_files.place(label, digest)) if rows is None else rows).items():
            (data if type_ is None else data[type_]).features = store
    return data


@contextlib.contextmanager
def _explained(name: str, folder: Path, search: bool = False) -> Iterator[None]:
    """Turn what the libraries underneath raise for missing, forbidden or damaged files into one line with the name.

    With ``search`` the damaged file is looked for in ``folder``.
    """
    try:
        yield
    except (ImportError, AssertionError):
        raise
    except Exception as error:  # gzip, zlib, zipfile, pickle, pandas and ogb each raise kinds of their own
        if str(error).startswith((f"{name}:", "dataset:")):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{name}: expected all of OGB's files in {folder} (got {reason})") from error
        if isinstance(error, PermissionError):
            raise PermissionError(f"{name}: expected files that this user may read (got {reason})") from error
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            places = f"to read below {folder} and to write below {cache_dir()}"
            raise OSError(f"{name}: expected {places} (got {reason})") from error
        damaged = _damaged(folder) if search else None
        where = f"a damaged {damaged}: " if damaged else ""
        raise ValueError(f"{name}: expected whole files of OGB in {folder} (got {where}{reason})") from error


def _damaged(folder: Path) -> Path | None:
    """Return the first compressed file that cannot be read to its end."""
    for path in sorted(folder.rglob("*.[gn][zp]*")):
        try:
            if path.suffix == ".gz":
                with gzip.open(path) as file:
                    while file.read(1 << 20):
                        pass
            else:
                with zipfile.ZipFile(path) as archive:
                    if archive.testzip() is not None:
                        return path
        except Exception:
            return path
    return None
