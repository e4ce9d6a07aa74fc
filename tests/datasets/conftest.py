"""Small datasets written by OGB's own ``DatasetSaver``, raw files of real ones, and caches for both."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnnkit.datasets import _load, _ogb, _ogb_load, _table
from gnnkit.datasets._ogb_cards import CARDS

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share
from small_sets import FOLDER

_NODES = 12


def _ring(nodes: int) -> Any:
    ids = np.arange(nodes)
    return np.stack([np.concatenate([ids, (ids + 1) % nodes]), np.concatenate([(ids + 1) % nodes, ids])])


def write(root: Path, name: str, fill: Callable[[Any], None], typed: bool = False) -> Path:
    """Write a dataset below ``root`` and return its folder, the one with ``meta_dict.pt``."""
    _ogb.package("ogbn")  # without ogb's look at PyPI
    from ogb.io import DatasetSaver

    mapping = root / "mapping"
    mapping.mkdir(parents=True, exist_ok=True)
    (mapping / "README.md").write_text("none")
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saver = DatasetSaver(name, is_hetero=typed, version=1, root=str(root / "submission"))
        fill(saver)
        saver.copy_mapping_dir(str(mapping))
        saver.get_meta_dict()
    return Path(saver.submission_dir)


def write_nodes(root: Path, name: str = "ogbn-ring") -> Path:
    """Write a ring of 12 nodes with classes of 3."""

    def fill(saver: Any) -> None:
        features = np.random.default_rng(0).random((_NODES, 4), dtype=np.float32)
        saver.save_graph_list([{"edge_index": _ring(_NODES), "num_nodes": _NODES, "node_feat": features}])
        saver.save_target_labels(np.arange(_NODES)[:, None] % 3)
        parts = {"train": (0, 6), "valid": (6, 9), "test": (9, 12)}
        saver.save_split({part: np.arange(*ids, dtype=np.int32) for part, ids in parts.items()}, split_name="order")
        saver.save_task_info(task_type="multiclass classification", eval_metric="acc", num_classes=3)

    return write(root, name, fill)


def write_links(root: Path, name: str = "ogbl-ring") -> Path:
    """Write a ring of 12 nodes whose edges are to be predicted, hits@3."""

    def fill(saver: Any) -> None:
        saver.save_graph_list([{"edge_index": _ring(_NODES), "num_nodes": _NODES}])
        pairs = _ring(_NODES).T
        split = {
            "train": {"edge": pairs[:16]},
            "valid": {"edge": pairs[16:20], "edge_neg": pairs[:4] + 3},
            "test": {"edge": pairs[20:], "edge_neg": pairs[4:8] + 3},
        }
        saver.save_split(split, split_name="order")
        saver.save_task_info(task_type="link prediction", eval_metric="hits@3")

    return write(root, name, fill)


def write_graphs(root: Path, name: str = "ogbg-rings", metric: str = "rocauc") -> Path:
    """Write 12 rings of 3 to 5 nodes with categories on nodes and edges, to be classified or, by rmse, measured."""

    def fill(saver: Any) -> None:
        rng, graphs = np.random.default_rng(0), []
        for number in range(12):
            nodes = 3 + number % 3
            edges = _ring(nodes)
            feats = {"node_feat": rng.integers(0, 4, (nodes, 2)), "edge_feat": rng.integers(0, 3, (edges.shape[1], 1))}
            graphs.append({"edge_index": edges, "num_nodes": nodes, **feats})
        graphs[0]["node_feat"][0] = 3
        graphs[0]["edge_feat"][0] = 2
        saver.save_graph_list(graphs)
        classes = np.arange(12)[:, None] % 2
        saver.save_target_labels(classes * 1.5 if metric == "rmse" else classes)
        split = {"train": np.arange(6), "valid": np.arange(6, 9), "test": np.arange(9, 12)}
        saver.save_split(split, split_name="order")
        task = "regression" if metric == "rmse" else "binary classification"
        saver.save_task_info(task_type=task, eval_metric=metric, num_classes=None if metric == "rmse" else 2)

    return write(root, name, fill)


def write_typed(root: Path, name: str = "ogbn-typed") -> Path:
    """Write papers with classes, and authors who wrote them."""

    def fill(saver: Any) -> None:
        wrote = np.stack([np.arange(6) % 3, np.arange(6)])
        graph = {
            "edge_index_dict": {("author", "wrote", "paper"): wrote},
            "num_nodes_dict": {"author": 3, "paper": 6},
            "node_feat_dict": {"paper": np.ones((6, 5), dtype=np.float32)},
        }
        saver.save_graph_list([graph])
        saver.save_target_labels({"paper": np.arange(6)[:, None] % 2})
        parts = {"train": [0, 1], "valid": [2, 3], "test": [4, 5]}
        saver.save_split({part: {"paper": np.array(ids)} for part, ids in parts.items()}, split_name="order")
        saver.save_task_info(task_type="multiclass classification", eval_metric="acc", num_classes=2)

    return write(root, name, fill, typed=True)


@pytest.fixture(scope="session")
def ogb_sets() -> SimpleNamespace:
    """The writers of small sets: ``nodes``, ``links``, ``graphs``, ``typed``, each called with a folder."""
    if importlib.util.find_spec("ogb") is None:
        pytest.skip("needs the package ogb: pip install 'gnnkit[ogb]'")
    return SimpleNamespace(nodes=write_nodes, links=write_links, graphs=write_graphs, typed=write_typed)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real raw data, which may be read-only."""
    given = os.environ.get("GNNKIT_DATA")
    if not given or not (Path(given) / "Planetoid").is_dir():
        pytest.skip("needs the Planetoid raw files: set GNNKIT_DATA to the folder that holds Planetoid/")
    return Path(given)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which each dataset is processed once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def known_cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared cache, unless a test asks for an empty one."""
    monkeypatch.setenv("GNNKIT_CACHE", str(shared_cache))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds nothing yet."""
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: whoever opens an address gets an error."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def raw_copy(data_folder: Path, tmp_path: Path) -> Path:
    """A writable data root with a copy of Cora's raw files."""
    root = tmp_path / "root"
    shutil.copytree(data_folder / FOLDER, root / FOLDER)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and nobody at the keyboard."""

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network in this test")

    def no_keyboard(*args: Any) -> str:
        raise AssertionError(f"a question was asked: {args}")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr("builtins.input", no_keyboard)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card for the three molecules in place of the official one."""
    facts = replace(CARDS["ogbg-molesol"], num_graphs=3, num_nodes=7, num_edges=8)
    for cards in (_load._CARDS, _ogb_load.CARDS):
        monkeypatch.setitem(cards, "ogbg-molesol", facts)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards that do not tell how many nodes the official sets have, and chunks smaller than the small ones."""
    monkeypatch.setattr(_table, "CHUNK", 40)
    for name in list(CARDS):
        free: dict[str, Any] = dict.fromkeys(("num_graphs", "num_nodes", "num_edges"))
        for cards in (_load._CARDS, _ogb_load.CARDS):
            monkeypatch.setitem(cards, name, replace(CARDS[name], **free))
