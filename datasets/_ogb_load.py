"""OGB's datasets by name: the official ones, and those that users write with ``ogb.io.DatasetSaver``."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gnnkit.datasets import _files, _ogb
from gnnkit.datasets._card import Card
from gnnkit.datasets._ogb_cards import CARDS
from gnnkit.datasets._ogb_custom import Submission, custom_card, submission
from gnnkit.datasets._root import cache_dir

__all__ = ["CARDS", "PREFIXES", "card", "load"]

PREFIXES = ("ogbn-", "ogbl-", "ogbg-")


def card(name: str, root: Path) -> Card | None:
    """Return the card of a dataset that ``DatasetSaver`` wrote below ``root``; None where there is none."""
    with _explained(name, root):
        found = submission(name, root)
        if found is None:
            return None
        _ogb.package(name.partition("-")[0])  # say that ogb is absent before anything else goes wrong
        folder = _folder_of(found)
    with _explained(name, folder, search=True):
        return custom_card(found, folder)


def load(name: str, root: Path) -> Any:
    """Load an official set from ``root/ogb`` or ``root``, downloading it when missing, or one of a user's own.

    A set of nodes is a ``Data`` with masks, of links a ``Data`` with OGB's ``split_edge``, of graphs a PyG dataset with
    ``split_idx``; typed nodes or edges make it a ``HeteroData``.
    """
    with _explained(name, root):
        if name in CARDS:
            facts, meta = CARDS[name], _ogb.official(name.partition("-")[0])[name]
            folder = _official(name, meta, root)
        else:
            found = submission(name, root)
            assert found is not None, "the registry has asked for its card"
            meta, folder = found.meta, _folder_of(found)
            facts = custom_card(found, folder)
        release = folder / f"RELEASE_v{meta['version']}.txt"
        if not release.is_file():  # ogb would ask on the terminal whether to remove the folder
            got = ", ".join(path.name for path in folder.glob("RELEASE_*")) or "none"
            raise ValueError(f"{name}: expected {release} (got {got}); move the folder away to download it anew")
        parts = (folder / "raw", folder / "split")
        digest = _files.digest([path for part in parts for path in part.rglob("*") if path.is_file()])
    with _explained(name, folder, search=True):
        dataset, split = _ogb.read(name, meta, folder, digest)
        data = _shaped(dataset, split, facts)
    data.raw_digest = digest
    return data


def _shaped(dataset: Any, split: dict[str, Any], facts: Card) -> Any:
    """Bring ogb's dataset into PyG's customs: classes ``[N]``, masks, ``HeteroData``."""
    if facts.task.startswith("graph"):
        dataset.split_idx = {part: ids.long() for part, ids in split.items()}
        store = dataset._data
        if facts.num_tasks is None and isinstance(store.y, torch.Tensor):
            store.y = _classes(store.y)
        for key, categories in (("x", facts.node_categories), ("edge_attr", facts.edge_categories)):
            if key in store and categories is None:
                store[key] = store[key].float()
        return dataset
    data = dataset[0]
    if "edge_index_dict" in data:
        data = _typed(data)
    if facts.task == "link_prediction":
        data.split_edge = split
        return data
    for store in data.node_stores:
        if "y" not in store:
            continue
        if facts.num_tasks is None:
            store.y = _classes(store.y)
        if "x" in store and not store.x.is_floating_point():
            store.x = store.x.float()
        for part, mask in (("train", "train_mask"), ("valid", "val_mask"), ("test", "test_mask")):
            ids = split[part][store._key] if store._key is not None else split[part]
            store[mask] = torch.zeros(store.num_nodes, dtype=torch.bool).index_fill_(0, ids.long(), True)
    return data


def _classes(y: torch.Tensor) -> torch.Tensor:
    """Turn one column of classes, NaN where unknown, into int64 ``[N]``, -1 where unknown."""
    return y.reshape(-1).nan_to_num(-1).long()


def _typed(data: Any) -> Any:
    """Turn ogb's ``Data`` of dictionaries into a ``HeteroData``."""
    from torch_geometric.data import HeteroData

    typed = HeteroData()
    for kind, number in data.num_nodes_dict.items():
        typed[kind].num_nodes = int(number)
    for key, values in data.to_dict().items():
        if isinstance(values, dict) and key != "num_nodes_dict":  # ogb writes x_dict, and edge_reltype without it
            for kind, value in values.items():
                typed[kind][key.removesuffix("_dict")] = value
    return typed


def _official(name: str, meta: dict[str, str], root: Path) -> Path:
    """Return the folder of an official set: as it lies, out of an archive that lies there, or downloaded."""
    stem, parents = name.replace("-", "_"), (root / "ogb", root)
    for parent in parents:
        for folder in (parent / f"{stem}_pyg", parent / stem):  # ogb looks for both
            if folder.is_dir():
                return folder
        if (archive := parent / f"{meta['download_name']}.zip").is_file():
            return _unpacked(name, archive)
    folder = parents[0] / stem

    def download(scratch: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=scratch, suffix=".zip") as file:
            _copy(meta["url"].replace("http://", "https://"), Path(file.name))
            inner = _unpack(name, Path(file.name), scratch / "unpacked")
        for path in inner.iterdir():
            path.rename(scratch / path.name)
        shutil.rmtree(scratch / "unpacked", ignore_errors=True)

    _files.fetch(name, folder, download, lambda parent: None, root=root)
    return folder


def _copy(url: str, path: Path) -> None:
    import urllib.request

    with urllib.request.urlopen(url, timeout=30) as response, path.open("wb") as file:
        shutil.copyfileobj(response, file, 1 << 20)


def _folder_of(found: Submission) -> Path:
    return found.folder if found.folder.is_dir() else _unpacked(found.name, found.folder.with_suffix(".zip"))


def _unpacked(name: str, archive: Path) -> Path:
    """Unpack an archive into the user's cache, once, and return the folder that holds ``raw``."""
    target = cache_dir() / "raw" / f"{name}-{_files.digest([archive])[:16]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
            _unpack(name, archive, Path(scratch) / "unpacked")
            with contextlib.suppress(OSError):  # another process was faster, with the same content
                os.rename(Path(scratch) / "unpacked", target)  # noqa: PTH104 (Path.rename replaces on some systems)
    return _inner(target)


def _unpack(name: str, archive: Path, target: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as file:
            for member in file.namelist():
                if member.startswith("/") or ".." in Path(member).parts:
                    raise ValueError(
                        f"{name}: expected an archive of files below its folder (got {member!r} in {archive})"
                    )
            file.extractall(target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{name}: expected a whole archive {archive} (got {type(error).__name__}: {error})") from error
    return _inner(target)


def _inner(folder: Path) -> Path:
    """Return the folder with ``raw``: OGB's archives hold one around it, those of ``DatasetSaver`` do not."""
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 and not (folder / "raw").is_dir() else folder


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
        first = error.__cause__ or error
        reason = " ".join(f"{type(first).__name__}: {first}".split())
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{name}: expected all of OGB's files in {folder} (got {reason})") from error
        if isinstance(error, PermissionError):
            raise PermissionError(f"{name}: expected files that this user may read (got {reason})") from error
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
