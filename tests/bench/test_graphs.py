"""The benchmark on sets of graphs, and on accelerated layers: the same protocol, the same promises."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch_geometric.data import Data, InMemoryDataset

from gnnkit.bench import Progress, RunRecord, run_benchmark, summarise
from gnnkit.data import Split
from gnnkit.datasets import Card, _load

SHORT = (
    "train.max_epochs=12",
    "train.checkpoint_every=5",
    "model.hidden_channels=8",
    "train.batch_size=8",
    "train.lr=0.02",
)


def rings() -> Any:
    """Forty rings of 4 … 8 nodes; the target is the number of nodes."""
    graphs = []
    for size in [4 + k % 5 for k in range(40)]:
        nodes = torch.arange(size)
        edges = torch.stack([nodes, (nodes + 1) % size])
        edges = torch.cat([edges, edges.flip(0)], dim=1)
        graphs.append(Data(x=torch.zeros(size, 1).long(), edge_index=edges, y=torch.tensor([float(size)])))
    dataset = InMemoryDataset()
    dataset.data, dataset.slices = dataset.collate(graphs)
    return dataset


CARD = Card(
    name="rings",
    title="Rings",
    task="graph_regression",
    metric="mae",
    num_graphs=40,
    num_nodes=240,
    num_edges=480,
    num_features=1,
    num_classes=0,
    num_tasks=1,
    node_categories=(1,),
    splits="fixed",
    split=lambda dataset, seed: Split(torch.arange(24), torch.arange(24, 32), torch.arange(32, 40)),
    source="this test",
    licence="none",
)


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry know the rings."""
    family: Any = SimpleNamespace(CARDS={"rings": CARD}, load=lambda name, root: rings())
    monkeypatch.setattr(_load, "_FAMILIES", (*_load._FAMILIES, family))
    monkeypatch.setitem(_load._CARDS, "rings", CARD)
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))


def bench(out: Path, model: str = "gin", **more: Any) -> RunRecord:
    return run_benchmark("rings", model, seeds=[0, 1], device="cpu", out=out, overrides=SHORT, **more)


def numbers(record: RunRecord) -> list[tuple[float, ...]]:
    names = ("seed", "test", "valid", "train", "best_epoch", "epochs_run")
    return [tuple(row[name] for name in names) for row in record.results]


@pytest.mark.parametrize("model", ["mlp", "gcn", "gat", "gatv2", "gin"])
def test_every_model_of_graphs_is_trained(model: str, tmp_path: Path) -> None:
    record = bench(tmp_path, model)
    summary = summarise(record)
    assert (summary.metric, summary.seeds) == ("mae", [0, 1])
    assert summary.test_mean < 5  # an untrained model is wrong by about the size, 6


def test_the_best_epoch_is_that_of_the_smallest_validation_error(tmp_path: Path) -> None:
    for row in bench(tmp_path).results:
        history = bench(tmp_path).history(row["seed"])
        assert row["valid"] == min(epoch["valid"] for epoch in history)
        assert row["test"] == history[row["best_epoch"] - 1]["test"]


class Killed(BaseException):
    """Ends a process in the middle, as far as a run can tell."""


def test_a_killed_run_continues_to_the_numbers_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = bench(tmp_path / "unbroken")

    def kill(seed: int, row: dict[str, float]) -> None:
        if (seed, row["epoch"]) == (1, 8):
            raise Killed

    with pytest.raises(Killed):
        bench(tmp_path / "killed", progress=Progress(epoch=kill))
    torch.rand(3)
    continued = bench(tmp_path / "killed")
    assert numbers(continued) == numbers(unbroken)
    for seed in (0, 1):
        assert continued.history(seed) == unbroken.history(seed)


def test_rows_of_graphs_are_not_scaled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features.scale=rows: expected a dataset of one graph \(got rings\)"):
        run_benchmark("rings", "gin", device="cpu", out=tmp_path, overrides=["features.scale=rows"])


def test_other_raw_files_make_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench(tmp_path)
    family = _load._FAMILIES[-1]

    def other(name: str, root: Path) -> Any:
        dataset = rings()
        dataset.raw_digest = "0" * 64
        return dataset

    monkeypatch.setattr(family, "load", other)
    second = bench(tmp_path)
    assert first.folder != second.folder
    assert (first.spec["data"], second.spec["data"]) == ("", "0" * 64)


@pytest.mark.parametrize("model", ["gcn", "sage", "gat"])
def test_accelerated_layers_come_to_the_same_scores_and_are_named(model: str, tmp_path: Path) -> None:
    def run(accelerate: str) -> RunRecord:
        overrides = ["train.max_epochs=5", f"accelerate={accelerate}", "model.dropout=0", "model.attention_dropout=0"]
        return run_benchmark("karate", model, seeds=[0], device="cpu", out=tmp_path, overrides=overrides)

    plain, fast = run("false"), run("true")
    assert (plain.spec["backend"], fast.spec["backend"]) == ("torch-geometric", "gnnkit")
    assert (plain.results[0]["backend"], fast.results[0]["backend"]) == ("torch-geometric", "gnnkit")
    for a, b in zip(plain.history(0), fast.history(0), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
