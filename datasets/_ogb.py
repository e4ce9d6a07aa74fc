"""The ogb package, called so that it asks nothing, phones nobody and leaves nothing behind (ogb 1.3.6)."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit._optional import require
from gnnkit.datasets import _files

_ABSENT: Any = object()
_CLASSES = {"ogbn": "PygNodePropPredDataset", "ogbl": "PygLinkPropPredDataset", "ogbg": "PygGraphPropPredDataset"}


def package(kind: str) -> ModuleType:
    """Import ``ogb.nodeproppred``, ``ogb.linkproppred`` or ``ogb.graphproppred`` for ogbn, ogbl or ogbg.

    Raises:
        ImportError: ogb is absent; the message holds the install command.
    """
    with alone():
        if kind == "ogbn":
            return require("ogb.nodeproppred", "ogb")
        return require("ogb.linkproppred", "ogb") if kind == "ogbl" else require("ogb.graphproppred", "ogb")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Import ogb without its side effects.

    It starts a thread that asks PyPI for a newer version when it finds the package ``outdated``, sets an environment
    variable, and imports DGL where that is installed. None in ``sys.modules`` makes a package look absent, which ogb
    provides for. A DGL that the user has imported stays visible.
    """
    hidden = ["outdated"] + ["dgl"] * ("dgl" not in sys.modules)
    modules = {name: sys.modules.get(name, _ABSENT) for name in hidden}
    variable = os.environ.get("OUTDATED_IGNORE")
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, module in modules.items():
            del sys.modules[name]
            if module is not _ABSENT:
                sys.modules[name] = module
        os.environ.pop("OUTDATED_IGNORE", None)
        if variable is not None:
            os.environ["OUTDATED_IGNORE"] = variable


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Let ``torch.load`` with ``weights_only=True``, torch's default, read what ogb writes, and nothing that runs code.

    That is PyG's storages in processed files, NumPy's arrays in link splits. What a user has allowed stays allowed.
    """
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    rebuild, scalar = multiarray._reconstruct, multiarray.scalar
    kinds = ("bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64", "S1", "U1")
    wanted: list[Any] = [
        DataEdgeAttr,
        DataTensorAttr,
        GlobalStorage,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
        *((rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),  # NumPy 1 and 2
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    ]
    known = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals([each for each in wanted if each not in known]):
        yield


@cache
def official(kind: str) -> dict[str, dict[str, str]]:
    """Return what ogb knows of each of its datasets of a kind, by name: URL, version, split, number of tasks, …"""
    file = package(kind).__file__
    assert file is not None
    rows = list(csv.reader(Path(file).with_name("master.csv").read_text().splitlines()))
    return {name: {row[0]: row[column] for row in rows[1:]} for column, name in enumerate(rows[0]) if column}


def read(name: str, meta: dict[str, Any], folder: Path, digest: str) -> tuple[Any, dict[str, Any]]:
    """Read a dataset that lies raw in ``folder``; return ogb's PyG dataset and its split.

    Processed files go to the user's cache, so ``folder`` may be read-only. ogb is never left to download or to ask.

    Args:
        name: ``ogbn-…``, ``ogbl-…`` or ``ogbg-…``.
        meta: What ogb has to know: an entry of `official`, or what ``DatasetSaver`` wrote.
        folder: The one with ``raw/`` and ``split/``.
        digest: That of the raw files.
    """
    kind = name.partition("-")[0]
    cls = getattr(package(kind), _CLASSES[kind], None)
    if cls is None:
        raise ImportError(f"expected a package ogb that works with this PyG (got one without {_CLASSES[kind]})")
    cls = type(cls.__name__, (cls,), {"download": _refuse})
    meta = {key: str(value) for key, value in meta.items()} | {"dir_path": str(folder)}
    label = f"{name}-ogb{version('ogb')}-pandas{version('pandas')}"
    with readable(), _silent():
        dataset = _files.processed(cls, label, digest, root=str(folder), name=name, meta_dict=meta)
        split = dataset.get_edge_split() if kind == "ogbl" else dataset.get_idx_split()
    return dataset, tensors(split)


def _refuse(dataset: Any) -> None:
    missing = [path for path in dataset.raw_paths if not Path(path).is_file()]
    raise FileNotFoundError(f"{dataset.name}: expected raw files in {dataset.raw_dir} (got none at {missing[0]})")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep ogb's prints off the terminal, and what pandas, NumPy and torch say of ogb's code.

    pandas 3 hands out read-only arrays, of which torch warns; ogb only copies from the tensors that it makes of them.
    """
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        yield


def tensors(value: Any) -> Any:
    """Turn the NumPy arrays in nested dictionaries into tensors; lists of names stay."""
    if isinstance(value, dict):
        return {key: tensors(each) for key, each in value.items()}
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class OGBEvaluator:
    """ogb's own ``Evaluator`` of a dataset as a function.

    For nodes and graphs ``(y_true, y_pred)``: classes ``[P]`` and logits ``[P, C]``, or ``[P, T]`` each.
    For links ``(y_pred_pos, y_pred_neg)``: scores of the true and of the false ones.

    Attributes:
        name: The dataset.
        metric: In ogb's words: acc, rocauc, ap, rmse, hits@K, mrr.
        num_tasks: T.

    Raises:
        ImportError: ogb is absent.
        ValueError: ogb refuses the input; the message says why.
    """

    name: str
    metric: str
    num_tasks: int = 1

    def __call__(self, first: Tensor, second: Tensor) -> float:
        if not bool(second.isfinite().all()):
            return math.nan  # a diverged model: the loop says so at the next loss
        first, second = first.detach().cpu(), second.detach().cpu()
        if self.name.startswith("ogbl-"):
            inputs = {"y_pred_pos": first, "y_pred_neg": second}
        else:
            if self.metric == "acc":  # ogb compares classes; one logit a task says yes where it is positive
                second = second.argmax(dim=-1) if first.dim() == 1 else (second > 0).to(first.dtype)
            elif first.dim() == 1 and second.shape[-1] == 2:  # ogb ranks by one number a row
                second = second[:, 1] - second[:, 0]
            inputs = {"y_true": first.reshape(-1, self.num_tasks), "y_pred": second.reshape(-1, self.num_tasks)}
        try:
            scores = _evaluator(self.name, self.metric, self.num_tasks).eval(inputs)
        except RuntimeError as error:
            raise ValueError(f"{self.name}: expected input that ogb's Evaluator takes (got: {error})") from error
        if self.metric == "mrr":
            return float(scores["mrr_list"].mean())
        return float(scores[self.metric])


@cache
def _evaluator(name: str, metric: str, num_tasks: int) -> Any:
    kind = name.partition("-")[0]
    base = package(kind).Evaluator
    if name in official(kind):
        return base(name)

    class Custom(base):  # type: ignore[misc, valid-type]
        """ogb's, for a dataset that is not in ogb's list: only the look-up is left out."""

        def __init__(self) -> None:
            self.name, self.eval_metric, self.num_tasks = name, metric, num_tasks
            if metric.startswith("hits@"):
                self.K = int(metric.removeprefix("hits@"))

    return Custom()
