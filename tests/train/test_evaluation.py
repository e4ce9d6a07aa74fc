"""Evaluation leaves everything as it was, and scores each part on its own nodes."""

from __future__ import annotations

import pytest
import torch
from small_runs import GENERATORS, Net
from torch import Tensor, nn
from torch_geometric.data import Data

from gnnkit.data import Split
from gnnkit.train import METRICS, NodeClassification, TrainConfig, evaluate, fit, seed_everything

# ------------------------------------------------------------------ evaluation


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_mode_generator_and_gradients_alone(training: bool, karate: NodeClassification) -> None:
    model = Net().train(training)
    before = torch.get_rng_state()
    first = evaluate(model, karate)
    assert [module.training for module in model.modules()] == [training] * len(list(model.modules()))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()
    assert evaluate(model, karate) == first  # without dropout, no chance is involved


def test_evaluation_leaves_the_mode_of_a_frozen_part_alone(karate: NodeClassification) -> None:
    model = Net().train()
    model.layers[0].eval()
    evaluate(model, karate)
    assert model.training
    assert not model.layers[0].training


def test_evaluation_takes_no_part_in_training(karate: NodeClassification) -> None:
    def history(evaluations: int) -> list[float]:
        seed_everything(2)
        model = Net()

        def look(row: dict[str, float]) -> None:
            for _ in range(evaluations):
                evaluate(model, karate)

        return [row["loss"] for row in fit(model, karate, TrainConfig(max_epochs=5), on_epoch=look).history]

    assert history(0) == history(3)


def test_seed_everything_seeds_python_numpy_and_torch() -> None:
    def draws(seed: int) -> tuple[float, ...]:
        seed_everything(seed)
        return tuple(draw() for draw in GENERATORS.values())

    assert draws(4) == draws(4)
    assert all(left != right for left, right in zip(draws(4), draws(5), strict=True))


# ------------------------------------------------------------------ node classification


class Fixed(nn.Module):
    """Logits that look at nothing."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.logits


def test_node_classification_scores_each_part_on_its_own_nodes() -> None:
    logits = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randint(4, (30,), generator=torch.Generator().manual_seed(1))
    split = Split(torch.arange(5), torch.arange(5, 12), torch.arange(12, 30))
    data = Data(x=torch.ones(30, 1), edge_index=torch.zeros(2, 0, dtype=torch.int64), y=y)
    task, model = NodeClassification(data, split), Fixed(logits)
    scores = evaluate(model, task)
    for name, ids in (("train", split.train), ("valid", split.valid), ("test", split.test)):
        assert scores[name] == METRICS["accuracy"].score(logits[ids], y[ids])
    log_p = logits.log_softmax(dim=1)[torch.arange(30), y]  # [N]
    assert scores["valid_loss"] == pytest.approx(-float(log_p[split.valid].mean()), rel=1e-5)
    (loss,) = task.losses(model)
    assert loss.item() == pytest.approx(-float(log_p[split.train].mean()), rel=1e-5)
    loss.backward()
    seen = model.logits.grad.abs().sum(dim=1).nonzero().squeeze(1)
    assert torch.equal(seen, split.train)  # no gradient from a validation or test label


def test_a_node_outside_the_split_may_lack_a_label() -> None:
    data = Data(x=torch.ones(4, 1), edge_index=torch.zeros(2, 0, dtype=torch.int64), y=torch.tensor([0, 1, 0, -1]))
    split = Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    assert evaluate(Fixed(torch.zeros(4, 2)), NodeClassification(data, split))["train"] == 1.0
