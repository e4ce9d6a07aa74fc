"""What the ogb package itself reads out of a raw folder."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from gnnkit.datasets import _ogb
from gnnkit.datasets._ogb_split import readable


def read_by_ogb(folder: Path, name: str, meta: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """Return ogb's own PyG dataset of a folder, where it writes its files, and its split."""
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    kind = name.partition("-")[0]
    classes = {"ogbn": "PygNodePropPredDataset", "ogbl": "PygLinkPropPredDataset", "ogbg": "PygGraphPropPredDataset"}
    cls = getattr(_ogb.package(kind), classes[kind])
    told = {key: str(value) for key, value in (meta or _ogb.official(kind)[name]).items()} | {"dir_path": str(folder)}
    quiet = io.StringIO()
    with (
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        warnings.catch_warnings(),
        readable(),
        torch.serialization.safe_globals([DataEdgeAttr, DataTensorAttr, GlobalStorage]),
    ):
        warnings.simplefilter("ignore")
        dataset = cls(name, root=str(folder), meta_dict=told)
        return dataset, dataset.get_edge_split() if kind == "ogbl" else dataset.get_idx_split()
