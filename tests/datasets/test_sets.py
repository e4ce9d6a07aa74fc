"""The sets of the benchmarks: cards tell the truth, splits keep their laws, damaged files are told in one line."""

from __future__ import annotations

import os
import pickle
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from gnnkit.data import Split
from gnnkit.datasets import _pickles, card, load, names

SHCHUR = ("computers", "photo", "cs", "physics")
PLATONOV = ("roman-empire", "amazon-ratings", "minesweeper", "tolokers", "questions")
PEI = ("cornell", "texas", "wisconsin", "actor")
FILTERED = ("chameleon-filtered", "squirrel-filtered")
TU = ("mutag", "proteins", "enzymes", "nci1", "imdb-binary")
GRAPHS = (*SHCHUR, *PLATONOV, *PEI, *FILTERED)
BINARY = ("minesweeper", "tolokers", "questions")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real raw data, which may be read-only."""
    given = os.environ.get("GNNKIT_DATA")
    if not given:
        pytest.skip("needs real raw files: set GNNKIT_DATA to their folder")
    return Path(given)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which each dataset is processed once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _offline(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and no cache but that of the tests."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("GNNKIT_CACHE", str(shared_cache))


def loaded(name: str, root: Path) -> Any:
    """Load a set, or skip where its raw files are absent."""
    if not (root / str(card(name).folder)).is_dir():
        pytest.skip(f"needs {card(name).folder} in GNNKIT_DATA")
    return load(name, root)


def parts(split: Split) -> list[set[int]]:
    return [set(ids.tolist()) for ids in (split.train, split.valid, split.test)]


# ------------------------------------------------------------------ cards


def test_the_sets_are_listed() -> None:
    assert {*GRAPHS, *TU, "zinc"} <= set(names())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_what_its_card_says(name: str, data_folder: Path) -> None:
    data = loaded(name, data_folder)
    facts = card(name)
    assert data.card is facts
    assert facts.task == "node_classification"
    assert facts.metric == ("roc_auc" if name in BINARY else "accuracy")
    assert data.x.shape == (facts.num_nodes, facts.num_features)
    assert data.x.dtype == torch.float32
    assert data.edge_index.shape == (2, facts.num_edges)
    assert data.y.unique().tolist() == list(range(facts.num_classes))
    assert data.is_undirected() == (name not in PEI)  # links of the web have a direction
    assert len(data.raw_digest) == 64


@pytest.mark.parametrize("name", TU)
def test_a_set_of_graphs_is_what_its_card_says(name: str, data_folder: Path) -> None:
    dataset = loaded(name, data_folder)
    facts = card(name)
    assert (facts.task, facts.metric, facts.out_channels) == ("graph_classification", "accuracy", facts.num_classes)
    graphs = list(dataset)
    assert len(graphs) == facts.num_graphs
    assert sum(graph.num_nodes for graph in graphs) == facts.num_nodes
    assert sum(graph.num_edges for graph in graphs) == facts.num_edges
    assert {graph.x.shape[1] for graph in graphs} == {facts.num_features}
    widths = {graph.edge_attr.shape[1] if "edge_attr" in graph else 0 for graph in graphs}
    assert widths == {facts.num_edge_features}
    assert dataset.y.unique().tolist() == list(range(facts.num_classes))


def test_the_degrees_of_imdb_are_its_features(data_folder: Path) -> None:
    graph = loaded("imdb-binary", data_folder)[3]
    degree = torch.bincount(graph.edge_index[0], minlength=graph.num_nodes)
    assert torch.equal(graph.x.argmax(dim=1), degree)
    assert bool((graph.x.sum(dim=1) == 1).all())


def test_zinc_is_what_its_card_says(data_folder: Path) -> None:
    dataset = loaded("zinc", data_folder)
    facts = card("zinc")
    assert (facts.task, facts.metric, facts.out_channels) == ("graph_regression", "mae", 1)
    assert len(dataset) == facts.num_graphs == 12_000
    assert "same raw files" in facts.splits  # the training file has no known checksum
    assert dataset.y.shape == (12_000,)
    assert 22 < len(dataset.x) / 12_000 < 24  # as its makers say, 23.2 and 49.8 a graph
    assert 48 < dataset.edge_index.shape[1] / 12_000 < 52
    assert facts.node_categories is not None
    assert facts.edge_categories is not None
    assert 0 <= int(dataset.x.min()) <= int(dataset.x.max()) < facts.node_categories[0]
    assert 1 <= int(dataset.edge_attr.min()) <= int(dataset.edge_attr.max()) < facts.edge_categories[0]
    split, other = facts.split(dataset, 0), facts.split(dataset, 7)
    assert split.sizes == (10_000, 1_000, 1_000)
    assert parts(split) == parts(other)


# ------------------------------------------------------------------ splits


@pytest.mark.parametrize("name", SHCHUR)
def test_twenty_and_thirty_nodes_a_class(name: str, data_folder: Path) -> None:
    data = loaded(name, data_folder)
    split, other = data.card.split(data, 0), data.card.split(data, 1)
    assert data.y[split.train].bincount().tolist() == [20] * data.card.num_classes
    assert data.y[split.valid].bincount().tolist() == [30] * data.card.num_classes
    assert sum(split.sizes) == data.num_nodes
    assert parts(split) != parts(other)


@pytest.mark.parametrize("name", [*PLATONOV, *PEI, *FILTERED])
def test_ten_fixed_splits_by_the_seed_modulo_ten(name: str, data_folder: Path) -> None:
    data = loaded(name, data_folder)
    splits = [parts(data.card.split(data, seed)) for seed in range(10)]
    assert all(splits[a] != splits[b] for a in range(10) for b in range(a))
    assert parts(data.card.split(data, 23)) == splits[3]
    for number, (train, _, test) in enumerate(splits):
        assert train == set(data.train_mask[:, number].nonzero().squeeze(1).tolist())
        assert test == set(data.test_mask[:, number].nonzero().squeeze(1).tolist())
        assert len(set.union(*splits[number])) == data.num_nodes


@pytest.mark.parametrize("name", TU)
def test_ten_folds_test_every_graph_once_and_validate_on_others(name: str, data_folder: Path) -> None:
    dataset = loaded(name, data_folder)
    splits = [dataset.card.split(dataset, seed) for seed in range(10)]
    assert sorted(torch.cat([split.test for split in splits]).tolist()) == list(range(len(dataset)))
    for split in splits:
        train, valid, test = parts(split)
        assert len(train | valid | test) == len(dataset)
        assert sum(split.sizes) == len(dataset)
        shares = torch.stack(
            [dataset.y[ids].bincount() / ids.numel() for ids in (split.train, split.valid, split.test)]
        )
        assert float((shares - dataset.y.bincount() / len(dataset)).abs().max()) < 0.06  # one graph of 19


# ------------------------------------------------------------------ raw files that are missing or damaged


@pytest.mark.parametrize("name", [*GRAPHS, *TU, "zinc"])
def test_missing_files_without_a_network_are_told_in_one_line(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with pytest.raises(FileNotFoundError) as error:
        load(name, root)
    message = str(error.value)
    assert str(root / str(card(name).folder)) in message
    assert message.endswith(f"gnnkit datasets {name} --download --root {root}")
    assert "\n" not in message
    assert not root.exists()


def copied(name: str, data_folder: Path, root: Path) -> Path:
    """Copy the raw files of a set to another root, and return their folder."""
    folder = str(card(name).folder)
    if not (data_folder / folder).is_dir():
        pytest.skip(f"needs {folder} in GNNKIT_DATA")
    shutil.copytree(data_folder / folder, root / folder)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root / folder


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("photo", "amazon_electronics_photo.npz"),
        ("minesweeper", "minesweeper.npz"),
        ("cornell", "out1_graph_edges.txt"),
        ("squirrel-filtered", "squirrel_filtered.npz"),
        ("mutag", "MUTAG_A.txt"),
        ("mutag", "MUTAG_graph_labels.txt"),
        ("proteins", "PROTEINS_graph_indicator.txt"),
        ("zinc", "val.pickle"),
        ("zinc", "test.index"),
    ],
)
@pytest.mark.parametrize("damage", ["half", "empty"])
def test_a_truncated_file_is_a_value_error_of_one_line(
    name: str, file: str, damage: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(name, data_folder, tmp_path / "root") / file
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="expected") as error:
        load(name, tmp_path / "root")
    assert "(got " in str(error.value)
    assert str(tmp_path / "root") in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").rglob("*.pt"))  # nothing half-made is kept
    if name != "zinc":  # which takes seconds
        path.write_bytes(content)
        assert load(name, tmp_path / "root").card.name == name


def test_an_archive_is_unpacked_by_name(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data_folder / str(card("mutag").folder)
    if not folder.is_dir():
        pytest.skip("needs TUDataset/MUTAG in GNNKIT_DATA")
    archive = make_archive({f"MUTAG/{path.name}": path.read_bytes() for path in folder.iterdir()} | {"../evil": b"x"})
    monkeypatch.setattr("gnnkit.datasets._files.read_url", lambda url: archive)
    assert len(load("mutag", tmp_path / "root")) == 188
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_truncated_archive_is_told_in_one_line(keep: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_archive({"MUTAG/MUTAG_A.txt": bytes(range(256)) * 40})
    monkeypatch.setattr("gnnkit.datasets._files.read_url", lambda url: archive[: int(keep * len(archive))])
    with pytest.raises(FileNotFoundError, match="the download failed: BadZipFile") as error:
        load("mutag", tmp_path / "root")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "root").exists()


def make_archive(files: dict[str, bytes]) -> bytes:
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


# ------------------------------------------------------------------ pickles


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.mark,)


class Hidden:
    """Looks like a tensor's storage, and carries another pickle inside."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> Any:
        return torch.storage._load_from_bytes, (self.content,)  # type: ignore[attr-defined]


def test_a_pickle_of_tensors_passes(tmp_path: Path) -> None:
    path = tmp_path / "good.pickle"
    path.write_bytes(pickle.dumps([{"num_atom": 3, "atom_type": torch.arange(3), "y": torch.tensor([0.5])}]))
    _pickles.require_tensors(path)


@pytest.mark.parametrize("hidden", [False, True])
def test_no_code_of_a_pickle_runs(hidden: bool, data_folder: Path, tmp_path: Path) -> None:
    folder = copied("zinc", data_folder, tmp_path / "root")
    mark = tmp_path / "the-code-has-run"
    evil = pickle.dumps(Evil(mark))
    content = pickle.dumps(Hidden(evil)) if hidden else evil
    (folder / "train.pickle").write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.pickle: expected a pickle of tensors and plain values \(got "):
        load("zinc", tmp_path / "root")
    assert not mark.exists()
    pickle.loads(evil)  # the negative control
    assert mark.exists()
