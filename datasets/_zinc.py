"""ZINC, the subset of 12,000 molecules."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from gnnkit.data import Split
from gnnkit.datasets import _files, _pickles
from gnnkit.datasets._card import Card

_SIZES = {"train": 10_000, "val": 1_000, "test": 1_000}
_PICKLES = tuple(f"{part}.pickle" for part in _SIZES)
_INDICES = tuple(f"{part}.index" for part in _SIZES)


def _split(dataset: Any, seed: int) -> Split:
    """Return the official split, the same for every seed."""
    train, valid, test = torch.arange(len(dataset)).split(list(_SIZES.values()))
    return Split(train, valid, test)


CARDS = {
    "zinc": Card(
        name="zinc",
        title="ZINC-12k",
        task="graph_regression",
        metric="mae",
        num_graphs=12_000,
        num_nodes=None,  # 23 and 50 a graph
        num_edges=None,
        num_features=1,
        num_edge_features=1,
        num_classes=0,
        num_tasks=1,
        node_categories=(28,),  # kinds of heavy atoms, as the makers of the subset number them
        edge_categories=(4,),  # kinds of bonds, from 1 on
        splits="official: 10,000 train, 1,000 validate, 1,000 test; seeds vary the model only. "
        "The training file has no known checksum: compare numbers only with runs on the same raw files",
        split=_split,
        source="Irwin et al. 2012; target (constrained solubility) and subset: Dwivedi et al. 2023",
        licence="free to use, redistribution restricted (ZINC); files of the subset: MIT",
        folder="ZINC/raw",
    )
}


def load(name: str, root: Path) -> Any:
    """Load the three parts, in their order, from ``root/ZINC/raw``, downloading the archive when files are missing.

    The files are pickles of tensors. They are read once by an unpickler that knows tensors alone, and only then
    given to PyG, which trusts them.
    """
    from torch_geometric.data import InMemoryDataset
    from torch_geometric.datasets import ZINC

    folder = root / str(CARDS[name].folder)
    files = [folder / file for file in (*_PICKLES, *_INDICES)]

    def download(scratch: Path) -> None:
        with zipfile.ZipFile(io.BytesIO(_files.read_url(ZINC.url))) as content:
            for file in _PICKLES:  # by name: no path of the archive is believed
                (scratch / file).write_bytes(content.read(f"molecules/{file}"))
        for part in _SIZES:
            (scratch / f"{part}.index").write_bytes(_files.read_url(ZINC.split_url.format(part)))

    if not all(path.is_file() for path in files):
        _files.fetch(name, folder, download, lambda scratch: None, root)
    digest = _files.digest(files)
    if not _files.is_processed(name, digest):
        for file in _PICKLES:
            _pickles.require_tensors(folder / file)
    parts = [_files.processed(ZINC, name, digest, root=str(root / "ZINC"), subset=True, split=part) for part in _SIZES]
    sizes = {part: len(graphs) for part, graphs in zip(_SIZES, parts, strict=True)}
    if sizes != _SIZES:
        raise ValueError(f"{name}: expected {_SIZES} graphs in {folder} (got {sizes})")
    dataset = InMemoryDataset()
    dataset.data, dataset.slices = dataset.collate([graph for graphs in parts for graph in graphs])
    dataset.raw_digest = digest
    return dataset
