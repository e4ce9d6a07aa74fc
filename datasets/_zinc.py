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
_PICKLES = ("val.pickle", "test.pickle", "train.pickle")  # the small ones first
_INDICES = tuple(f"{part}.index" for part in _SIZES)


def _split(dataset: Any, seed: int) -> Split:
    """Return the official split, the same for every seed."""
    return Split(torch.arange(10_000), torch.arange(10_000, 11_000), torch.arange(11_000, 12_000))


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
        for part, size in _SIZES.items():
            _require_numbers(folder / f"{part}.index", size)
        for file in _PICKLES:
            _pickles.require_tensors(folder / file)
    parts = [_files.processed(ZINC, name, digest, root=str(root / "ZINC"), subset=True, split=part) for part in _SIZES]
    dataset = InMemoryDataset()
    dataset.data, dataset.slices = dataset.collate([graph for graphs in parts for graph in graphs])
    dataset.raw_digest = digest
    return dataset


def _require_numbers(path: Path, size: int) -> None:
    """Require a file of so many whole numbers, between commas."""
    numbers = [text.strip() for text in path.read_text().split(",")]
    if len(numbers) != size or not all(text.isdecimal() for text in numbers):
        raise ValueError(f"{path}: expected {size} whole numbers between commas (got {len(numbers)} texts)")
