"""Training on samples: what a step sees, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gnnkit
from gnnkit.bench import ModelConfig
from gnnkit.bench._models import build
from gnnkit.data import Cached, InMemory, Split
from gnnkit.datasets import load
from gnnkit.train import NodeClassification, SampledNodeClassification, TrainConfig, fit, seed_everything


@pytest.fixture(scope="module")
def karate() -> Any:
    data = load("karate")
    adj = gnnkit.Adjacency.from_edge_index(data.edge_index, num_nodes=data.num_nodes)
    return data, data.card.split(data, 0), adj


def sampled(karate: Any, **options: Any) -> SampledNodeClassification:
    data, split, adj = karate
    return SampledNodeClassification(options.pop("features", InMemory(data.x)), adj, data.y, split, **options)


@pytest.mark.parametrize("name", ["sage", "gat", "gin"])
def test_all_neighbours_in_one_step_give_the_loss_and_scores_of_the_whole_graph(karate: Any, name: str) -> None:
    data, split, _ = karate
    torch.manual_seed(1)
    model = build(name, data.card, ModelConfig(hidden_channels=8, heads=2, dropout=0.0), one_graph=False).eval()
    whole, task = NodeClassification(data, split), sampled(karate, fanout=[-1, -1])
    with torch.no_grad():
        (loss,) = task.losses(model)
        (expected,) = whole.losses(model)
        torch.testing.assert_close(loss, expected)
        assert task.scores(model) == pytest.approx(whole.scores(model))


def test_steps_are_even_and_hold_every_training_node_once(karate: Any) -> None:
    data, split, _ = karate
    train = split.train.numel()  # 4
    seen: list[Tensor] = []

    class Model(nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            seen.append(x.argmax(1))  # karate's features are the identity
            return torch.zeros(len(x), 4, requires_grad=True)

    task = sampled(karate, fanout=[2], batch_size=3)
    assert len(list(task.losses(Model()))) == 2
    assert sorted(torch.cat([nodes[: train // 2] for nodes in seen]).tolist()) == sorted(split.train.tolist())
    assert all(len(nodes) > train // 2 for nodes in seen)
    assert data.num_nodes > max(len(nodes) for nodes in seen)


def test_no_step_is_left_with_the_rest(karate: Any) -> None:
    data, _, adj = karate
    split = Split(torch.arange(21), torch.tensor([21]), torch.tensor([22]))
    task = SampledNodeClassification(InMemory(data.x), adj, data.y, split, fanout=[2], batch_size=4)
    assert [batch.batch_size for batch in task.loader] == [4, 4, 4, 3, 3, 3]  # fours alone would leave a one


def test_a_cache_announced_by_the_loader_changes_no_weight(karate: Any) -> None:
    data, _, adj = karate
    weights = []
    for features in (InMemory(data.x), Cached(InMemory(data.x), "hybrid", 10 * 34 * 4, adj=adj, window=3)):
        seed_everything(0)
        model = build("sage", data.card, ModelConfig(hidden_channels=8), one_graph=False)
        task = sampled(karate, features=features, fanout=[3, 2], batch_size=2, num_workers=2, window=3)
        fit(model, task, TrainConfig(max_epochs=5))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    assert isinstance(features, Cached)
    assert features.stats().hits > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"features": InMemory(torch.ones(3, 2))},
            r"features: expected floating-point rows \[34, D\] \(got torch.float32",
        ),
        ({"features": InMemory(torch.ones(34, 2).long())}, r"features: expected floating-point rows .*torch.int64"),
        ({"batch_size": 0}, r"batch_size: expected a number >= 1"),
        ({"metric": "best"}, r"\(got 'best'\)"),
        ({"fanout": [-2]}, r"\(got .*-2"),
    ],
)
def test_what_does_not_fit_is_refused(karate: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampled(karate, **options)


def test_targets_and_splits_that_do_not_fit_are_refused(karate: Any) -> None:
    data, split, adj = karate
    with pytest.raises(ValueError, match=r"y: expected an int64 class for each of 34 nodes"):
        SampledNodeClassification(InMemory(data.x), adj, data.y.float(), split)
    with pytest.raises(ValueError, match=r"y: expected classes >= 0 on the split \(got -3\)"):
        SampledNodeClassification(InMemory(data.x), adj, data.y - 3, split)
    small = gnnkit.Adjacency.from_edge_index(torch.tensor([[0], [1]]), num_nodes=2)
    with pytest.raises(ValueError, match=r"split: expected node ids in \[0, 2\)"):
        SampledNodeClassification(InMemory(data.x[:2]), small, data.y[:2], split)
