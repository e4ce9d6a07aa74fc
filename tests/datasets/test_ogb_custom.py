"""Datasets that users write with ``ogb.io.DatasetSaver``: found, described, loaded and trained by name."""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from gnnkit.bench import run_benchmark, summarise
from gnnkit.datasets import _ogb, _ogb_load, card, load
from gnnkit.train import GraphPrediction, NodeClassification

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds nothing yet, and nobody at the keyboard."""

    def no_keyboard(*args: Any) -> str:
        raise AssertionError(f"a question was asked: {args}")

    monkeypatch.setattr("builtins.input", no_keyboard)
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ------------------------------------------------------------------ loading


def test_a_set_of_nodes(ogb_sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ogb_sets.nodes(tmp_path)
    before = sorted(map(str, folder.rglob("*")))
    first = load("ogbn-ring", tmp_path)
    monkeypatch.setattr(_ogb_load, "read_plain", None)  # the second time is cached
    second = load("ogbn-ring", tmp_path)
    assert sorted(map(str, folder.rglob("*"))) == before
    for data in (first, second):
        assert (data.num_nodes, data.num_edges, data.num_features) == (12, 24, 4)
        assert data.y.tolist() == [0, 1, 2] * 4
        split = data.card.split(data, seed=5)
        assert [ids.tolist() for ids in (split.train, split.valid, split.test)] == [
            [*range(6)],
            [*range(6, 9)],
            [*range(9, 12)],
        ]
    facts = first.card
    assert (facts.task, facts.metric, facts.num_classes) == ("node_classification", "accuracy", 3)
    assert facts == card("ogbn-ring", tmp_path)
    task = NodeClassification(first, first.card.split(first, 0), facts.metric, evaluator=facts.evaluator)
    perfect = torch.nn.functional.one_hot(first.y, 3).float()
    assert task.scores(lambda x, edge_index: perfect)["test"] == 1.0  # type: ignore[arg-type]


def test_a_set_of_links(ogb_sets: Any, tmp_path: Path) -> None:
    ogb_sets.links(tmp_path)
    for _ in range(2):
        data = load("ogbl-ring", tmp_path)
        assert (data.num_nodes, data.num_edges) == (12, 24)
        shapes = {
            part: {name: tuple(edges.shape) for name, edges in data.split_edge[part].items()}
            for part in data.split_edge
        }
        assert shapes == {
            "train": {"edge": (16, 2)},
            "valid": {"edge": (4, 2), "edge_neg": (4, 2)},
            "test": {"edge": (4, 2), "edge_neg": (4, 2)},
        }
        assert all(isinstance(edges, torch.Tensor) for part in data.split_edge.values() for edges in part.values())
    assert (data.card.task, data.card.metric) == ("link_prediction", "hits@3")
    assert data.card.evaluator(torch.tensor([9.0, 0.0]), torch.arange(5.0)) == 0.5


@pytest.mark.parametrize("metric", ["rocauc", "acc", "rmse"])
def test_a_set_of_graphs(ogb_sets: Any, tmp_path: Path, metric: str) -> None:
    ogb_sets.graphs(tmp_path, metric=metric)
    for _ in range(2):
        dataset = load("ogbg-rings", tmp_path)
        assert [graph.num_nodes for graph in dataset[:3]] == [3, 4, 5]
        assert dataset.card.split(dataset, seed=1).sizes == (6, 3, 3)
    facts = dataset.card
    assert (facts.num_graphs, facts.num_nodes, facts.num_edges) == (12, 48, 96)
    assert (facts.node_categories, facts.edge_categories) == ((4, 4), (3,))
    assert facts.task == ("graph_regression" if metric == "rmse" else "graph_classification")
    assert facts.num_tasks == (None if metric == "acc" else 1)
    assert dataset[1].y.shape == ((1,) if metric == "acc" else (1, 1))
    task = GraphPrediction(dataset, dataset.card.split(dataset, 0), facts.metric, evaluator=facts.evaluator)

    def oracle(x: Any, edge_index: Any, edge_attr: Any, batch: Any, batch_size: int) -> torch.Tensor:
        truth = [float(dataset[int(i)].y) for i in order.pop(0)]
        values = torch.tensor(truth)[:, None]
        return torch.cat([1 - values, values], dim=1) if metric == "acc" else values

    split = dataset.card.split(dataset, 0)
    order = [split.train, split.valid, split.test]
    assert task.scores(oracle)["test"] == (0.0 if metric == "rmse" else 1.0)  # type: ignore[arg-type]


def test_a_set_of_typed_nodes_is_a_hetero_data(ogb_sets: Any, tmp_path: Path) -> None:
    ogb_sets.typed(tmp_path)
    for _ in range(2):
        data = load("ogbn-typed", tmp_path)
        assert data.node_types == ["author", "paper"]
        assert (data["author"].num_nodes, data["paper"].x.shape) == (3, (6, 5))
        assert data["author", "wrote", "paper"].edge_index.tolist() == [[0, 1, 2, 0, 1, 2], [*range(6)]]
        assert data["paper"].y.tolist() == [0, 1] * 3
        assert data["paper"].val_mask.nonzero().flatten().tolist() == [2, 3]
    assert (data.card.num_nodes, data.card.num_edges, data.card.num_features) == (9, 6, 5)
    assert data.card.node_type == "paper"
    assert data.card.split(data, seed=0).test.tolist() == [4, 5]


def test_whole_numbers_as_features_of_nodes_become_floats(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.nodes(tmp_path)
    import numpy as np

    with np.load(folder / "ring" / "raw" / "data.npz") as file:
        content = dict(file)
    content["node_feat"] = np.arange(48).reshape(12, 4)
    np.savez_compressed(folder / "ring" / "raw" / "data.npz", **content)
    assert load("ogbn-ring", tmp_path).x[1].tolist() == [4.0, 5.0, 6.0, 7.0]


# ------------------------------------------------------------------ where it is found


def test_the_root_may_be_the_folder_itself_or_hold_it_in_ogb(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.nodes(tmp_path / "a")
    (tmp_path / "b").mkdir()
    shutil.copytree(folder, tmp_path / "b" / "ogb" / "mine_ogbn_ring")
    for root in (folder, tmp_path / "a", tmp_path / "b", tmp_path / "b" / "ogb"):
        assert load("ogbn-ring", root).num_nodes == 12


def test_what_was_zipped_and_cleaned_up_is_unpacked_into_the_cache(ogb_sets: Any, tmp_path: Path, cache: Path) -> None:
    folder = ogb_sets.nodes(tmp_path)
    with redirect_stdout(io.StringIO()):
        shutil.make_archive(str(folder / "ring"), "zip", folder / "ring")  # as DatasetSaver.zip does
        shutil.rmtree(folder / "ring")
    for _ in range(2):
        assert load("ogbn-ring", tmp_path).num_nodes == 12
    assert sorted(path.name for path in folder.iterdir()) == ["meta_dict.pt", "ring.zip"]
    assert len(list((cache / "raw").iterdir())) == 1


def test_a_changed_set_is_not_taken_for_the_old_one(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.nodes(tmp_path)
    old = load("ogbn-ring", tmp_path)
    split = {"train": torch.arange(4), "valid": torch.arange(4, 8), "test": torch.arange(8, 12)}
    torch.save(split, folder / "ring" / "split" / "order" / "split_dict.pt")
    new = load("ogbn-ring", tmp_path)
    assert new.card.split(new, 0).sizes == (4, 4, 4)
    assert new.raw_digest != old.raw_digest


# ------------------------------------------------------------------ bad input: one clear line


def told(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which must be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


def test_two_folders_of_one_name_are_told(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.nodes(tmp_path)
    shutil.copytree(folder, tmp_path / "other_ogbn_ring")
    with pytest.raises(ValueError, match=r"^ogbn-ring: expected one folder with this dataset \(got .*other_ogbn_ring"):
        load("ogbn-ring", tmp_path)


def test_another_folder_of_a_longer_name_is_not_taken(ogb_sets: Any, tmp_path: Path) -> None:
    ogb_sets.nodes(tmp_path, name="ogbn-large-ring")
    assert load("ogbn-large-ring", tmp_path).num_nodes == 12
    with pytest.raises(ValueError, match=r"^dataset: expected a name that .*\(got 'ogbn-ring'\)"):
        load("ogbn-ring", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no pickle", {"version": 1}, [1]], ids=["empty", "text", "part", "list"])
def test_a_damaged_description_is_told(ogb_sets: Any, tmp_path: Path, content: Any) -> None:
    path = ogb_sets.nodes(tmp_path) / "meta_dict.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"^ogbn-ring: expected what ogb\.io\.DatasetSaver writes in ") as error:
        load("ogbn-ring", tmp_path)
    assert str(path) in told(error)


def test_a_description_that_points_elsewhere_is_refused(ogb_sets: Any, tmp_path: Path) -> None:
    path = ogb_sets.nodes(tmp_path) / "meta_dict.pt"
    meta = torch.load(path, weights_only=True)
    torch.save(meta | {"download_name": "../../etc"}, path)
    with pytest.raises(ValueError, match=r"expected the name of a folder .*\(got download_name='\.\./\.\./etc'\)"):
        load("ogbn-ring", tmp_path)


def test_a_missing_release_note_is_an_error_and_no_question(ogb_sets: Any, tmp_path: Path) -> None:
    folder = ogb_sets.nodes(tmp_path)
    (folder / "ring" / "RELEASE_v1.txt").unlink()
    with pytest.raises(ValueError, match=r"^ogbn-ring: expected .*RELEASE_v1\.txt \(got none\)"):
        load("ogbn-ring", tmp_path)


def test_a_truncated_archive_of_arrays_is_named(ogb_sets: Any, tmp_path: Path) -> None:
    path = ogb_sets.nodes(tmp_path) / "ring" / "raw" / "data.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"^ogbn-ring: expected whole files of OGB") as error:
        load("ogbn-ring", tmp_path)
    assert str(path) in told(error)


def test_neither_folder_nor_archive_is_told(ogb_sets: Any, tmp_path: Path) -> None:
    shutil.rmtree(ogb_sets.nodes(tmp_path) / "ring")
    with pytest.raises(FileNotFoundError, match=r"^ogbn-ring: expected all of OGB's files .*ring\.zip"):
        load("ogbn-ring", tmp_path)


def test_regression_of_nodes_is_refused_by_name(ogb_sets: Any, tmp_path: Path) -> None:
    path = ogb_sets.nodes(tmp_path) / "meta_dict.pt"
    meta = torch.load(path, weights_only=True)
    torch.save(meta | {"task type": "regression", "num classes": -1}, path)
    with pytest.raises(ValueError, match=r"^ogbn-ring: expected classification of nodes \(got regression\)$"):
        card("ogbn-ring", tmp_path)


# ------------------------------------------------------------------ training


@pytest.mark.parametrize(("writer", "name", "model"), [("nodes", "ogbn-ring", "gcn"), ("graphs", "ogbg-rings", "gin")])
def test_a_users_own_set_is_trained_by_name(ogb_sets: Any, tmp_path: Path, writer: str, name: str, model: str) -> None:
    getattr(ogb_sets, writer)(tmp_path)

    def run() -> Any:
        return run_benchmark(
            name,
            model,
            seeds=[0, 1],
            root=str(tmp_path),
            device="cpu",
            overrides=["train.max_epochs=3"],
            out=tmp_path / "runs",
        )

    record, again = run(), run()
    assert record.results == again.results
    assert summarise(record).dataset == name
    for row in record.results:
        assert row["parameters"] > 10
        assert {"ogb", "pandas"} <= row["versions"].keys()


def test_links_are_trained_by_models_of_links(ogb_sets: Any, tmp_path: Path) -> None:
    ogb_sets.links(tmp_path)
    with pytest.raises(
        ValueError, match=r"^model: expected one of ncn, .* for ogbl-ring, links \(got 'gcn'\)$"
    ) as error:
        run_benchmark("ogbl-ring", "gcn", root=str(tmp_path), out=tmp_path / "runs")
    told(error)
    assert not (tmp_path / "runs").exists()
    short = ("train.max_epochs=2", "link.hidden_channels=8")
    record = run_benchmark("ogbl-ring", "ncn", seeds=[0], root=str(tmp_path), out=tmp_path / "runs", overrides=short)
    assert 0 <= record.results[0]["test"] <= 1


def test_typed_nodes_are_not_trained_by_the_benchmark(ogb_sets: Any, tmp_path: Path) -> None:
    ogb_sets.typed(tmp_path)
    with pytest.raises(ValueError, match=r"^ogbn-typed: expected nodes of one type, .* \(got classes on 'paper'\)$"):
        run_benchmark("ogbn-typed", "gcn", root=str(tmp_path), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# ------------------------------------------------------------------ documentation


@pytest.mark.usefixtures("ogb_sets")  # skips without ogb
def test_the_example_in_the_documentation_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ogb.package("ogbn")
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "ogb.md").read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mapping").mkdir()
    (tmp_path / "mapping" / "README.md").write_text("none")
    exec(block, {})
    assert "# " + capsys.readouterr().out.splitlines()[-1] == block.splitlines()[-1]
