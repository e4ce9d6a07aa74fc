"""Graph tasks: mini-batches learn, score each part on its own graphs, and continue exactly after a kill."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINConv, global_add_pool

from gnnkit.data import Split
from gnnkit.train import GraphPrediction, TrainConfig, evaluate, fit, seed_everything


def ring(size: int, y: Tensor, chord: bool) -> Data:
    """A ring of nodes, with a chord or without."""
    nodes = torch.arange(size)
    edges = torch.stack([nodes, (nodes + 1) % size])
    if chord:
        edges = torch.cat([edges, torch.tensor([[0], [size // 2]])], dim=1)
    return Data(x=torch.ones(size, 1), edge_index=torch.cat([edges, edges.flip(0)], dim=1), y=y)


@pytest.fixture(scope="module")
def graphs() -> list[Data]:
    """Sixty rings; the class says whether there is a chord."""
    return [ring(5 + k % 7, torch.tensor([k % 2]), chord=k % 2 == 1) for k in range(60)]


SPLIT = Split(torch.arange(40), torch.arange(40, 50), torch.arange(50, 60))


class Net(nn.Module):
    """Two graph isomorphism layers with dropout, batch normalisation and a sum over each graph."""

    def __init__(self, out_channels: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(GINConv(nn.Linear(a, 8)) for a in (1, 8))
        self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, *, edge_attr: Any, batch: Tensor, batch_size: int) -> Tensor:
        for layer in self.layers:
            x = nn.functional.dropout(layer(x, edge_index).relu(), 0.1, self.training)
        return self.head(global_add_pool(self.norm(x), batch, size=batch_size))


class Recorder(nn.Module):
    """Gives constant outputs and notes the sizes of the batches that it is called with."""

    def __init__(self, outputs: list[float]) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.tensor(outputs))
        self.sizes: list[int] = []

    def forward(self, x: Tensor, edge_index: Tensor, *, edge_attr: Any, batch: Tensor, batch_size: int) -> Tensor:
        self.sizes.append(batch_size)
        return self.outputs.expand(batch_size, -1)


# ------------------------------------------------------------------ learning


def test_a_task_on_graphs_is_learnt(graphs: list[Data]) -> None:
    seed_everything(0)
    result = fit(Net(), GraphPrediction(graphs, SPLIT, batch_size=8), TrainConfig(lr=0.02, max_epochs=40))
    assert result.best["test"] >= 0.9


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_values_are_learnt_and_less_is_better(metric: str) -> None:
    data = [ring(5 + k % 7, torch.tensor([float(5 + k % 7)]), chord=False) for k in range(60)]
    seed_everything(0)
    task = GraphPrediction(data, SPLIT, metric, batch_size=8)
    result = fit(Net(1), task, TrainConfig(lr=0.02, max_epochs=40))
    assert result.best["valid"] == min(row["valid"] for row in result.history)
    assert result.best["test"] < 1.0  # sizes spread over 5 … 11


def test_an_epoch_sees_every_training_graph_once_in_nearly_equal_batches(graphs: list[Data]) -> None:
    for batch_size, expected in ((32, [20, 20]), (39, [20, 20]), (40, [40]), (7, [7, 7, 7, 7, 6, 6]), (100, [40])):
        model = Recorder([0.0, 0.0])
        list(GraphPrediction(graphs, SPLIT, batch_size=batch_size).losses(model))
        assert model.sizes == expected


def test_batches_are_drawn_anew_from_the_global_generator(graphs: list[Data]) -> None:
    def first_batches(seed: int) -> list[list[int]]:
        seen: list[list[int]] = []

        def model(x: Tensor, edge_index: Tensor, batch: Tensor, batch_size: int, edge_attr: Any) -> Tensor:
            seen.append(torch.bincount(batch).tolist())
            return torch.zeros(batch_size, 2)

        seed_everything(seed)
        task = GraphPrediction(graphs, SPLIT, batch_size=10)
        for _ in range(2):
            list(task.losses(model))  # type: ignore[arg-type]
        return seen

    assert first_batches(0) == first_batches(0)
    assert first_batches(0) != first_batches(1)
    assert first_batches(0)[:4] != first_batches(0)[4:]


# ------------------------------------------------------------------ scores


def test_each_part_is_scored_on_its_own_graphs(graphs: list[Data]) -> None:
    split = Split(torch.arange(0, 40, 2), torch.arange(43, 60, 2), torch.tensor([40, 41, 42, 44]))
    scores = evaluate(Recorder([1.0, 0.0]), GraphPrediction(graphs, split))  # always class 0
    assert (scores["train"], scores["valid"], scores["test"]) == (1.0, 0.0, 0.75)
    assert scores["valid_loss"] == pytest.approx(math.log(1 + math.e))


def test_scores_do_not_depend_on_how_graphs_are_batched(graphs: list[Data], monkeypatch: pytest.MonkeyPatch) -> None:
    seed_everything(0)
    model = Net()
    together = evaluate(model, GraphPrediction(graphs, SPLIT))
    monkeypatch.setattr("gnnkit.train._graph._SCORED_AT_ONCE", 3)
    apart = evaluate(model, GraphPrediction(graphs, SPLIT))
    assert apart == pytest.approx(together, rel=1e-5)


def test_an_unknown_label_takes_no_part_in_the_loss_and_its_gradient() -> None:
    nan = math.nan
    rows = torch.tensor([[1.0, nan], [0.0, 1.0], [1.0, 0.0], [nan, 1.0], [0.0, nan], [1.0, nan]])
    data = [ring(5, row[None], chord=False) for row in rows]
    split = Split(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4, 5]))
    model = Recorder([0.5, -1.0])
    (loss,) = GraphPrediction(data, split, "roc_auc").losses(model)
    logits = torch.tensor([0.5, 0.5, -1.0])  # graph 0: task 0; graph 1: both
    expected = nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0, 1.0]))
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert bool(model.outputs.grad is not None and model.outputs.grad.isfinite().all())


def test_an_evaluator_takes_the_place_of_the_metric(graphs: list[Data]) -> None:
    seen: list[tuple[int, int]] = []

    def evaluator(y_true: Tensor, y_pred: Tensor) -> float:
        seen.append((y_true.numel(), len(y_pred)))
        return 0.125

    scores = evaluate(Recorder([0.0, 0.0]), GraphPrediction(graphs, SPLIT, evaluator=evaluator))
    assert (scores["train"], scores["valid"], scores["test"]) == (0.125, 0.125, 0.125)
    assert seen == [(40, 40), (10, 10), (10, 10)]


# ------------------------------------------------------------------ interruption and continuation


class Killed(Exception):  # noqa: N818 (no error of anybody)
    """Ends a run in the middle."""


@pytest.mark.parametrize("epoch", [1, 3, 4, 7])
def test_a_continued_run_equals_an_unbroken_one_bit_for_bit(epoch: int, graphs: list[Data], tmp_path: Path) -> None:
    config = TrainConfig(lr=0.02, max_epochs=8, checkpoint_every=3)

    def start(on_epoch: Any = None, checkpoint: Path | None = None) -> Any:
        seed_everything(5)
        model = Net()
        task = GraphPrediction(graphs, SPLIT, batch_size=8)
        return fit(model, task, config, checkpoint=checkpoint, on_epoch=on_epoch), model.state_dict()

    def kill(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise Killed

    unbroken, weights = start()
    with pytest.raises(Killed):
        start(kill, tmp_path / "ckpt")
    torch.rand(7)  # whatever else the process draws
    continued, others = start(checkpoint=tmp_path / "ckpt")
    assert continued.history == unbroken.history
    assert continued.best == unbroken.best
    assert all(torch.equal(weights[name], others[name]) for name in weights)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, r"graph 3: expected features x \[N, D\] \(got NoneType\)"),
        ({"x": torch.ones(8)}, r"graph 3: expected features x \[N, D\] \(got torch\.float32 of shape \[8\]\)"),
        ({"x": torch.full((8, 1), math.nan)}, r"graph 3: expected finite features \(got 8 NaN or infinite\)"),
        ({"y": None}, r"graph 3: expected a class y \[1\] or targets y \[1, T\] \(got NoneType\)"),
        ({"y": torch.ones(2, 3)}, r"graph 3: expected a class y \[1\] or targets .+ of shape \[2, 3\]\)"),
        ({"y": torch.tensor([-1])}, r"graph 3: expected one class >= 0 \(got \[-1\]\)"),
        ({"y": torch.tensor([0, 1])}, r"graph 3: expected one class >= 0 \(got \[0, 1\]\)"),
    ],
    ids=str,
)
def test_a_graph_that_does_not_fit_is_a_value_error_that_names_it(
    change: dict[str, Any], message: str, graphs: list[Data]
) -> None:
    broken = [graph.clone() for graph in graphs]
    for name, value in change.items():
        broken[3][name] = value
    with pytest.raises(ValueError, match=message):
        GraphPrediction(broken, SPLIT)


def test_a_split_or_setting_that_does_not_fit_is_a_value_error(graphs: list[Data]) -> None:
    with pytest.raises(ValueError, match=r"split: expected numbers of graphs in \[0, 59\) \(got 0 to 59\)"):
        GraphPrediction(graphs[:59], SPLIT)
    with pytest.raises(ValueError, match=r"metric: expected one of .+ \(got 'f1'\)"):
        GraphPrediction(graphs, SPLIT, "f1")
    with pytest.raises(ValueError, match=r"batch_size: expected .+ \(got 0\)"):
        GraphPrediction(graphs, SPLIT, batch_size=0)


def test_a_dataset_of_pyg_serves_as_well_as_a_list(graphs: list[Data]) -> None:
    model = Recorder([0.3, 0.1])
    assert evaluate(model, GraphPrediction(Batch.from_data_list(graphs).to_data_list(), SPLIT)) == evaluate(
        model, GraphPrediction(tuple(graphs), SPLIT)
    )
