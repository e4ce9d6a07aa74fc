"""LinkPrediction: what is hidden, what is descended, what is scored."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnkit.datasets import load
from gnnkit.links import LinkSplit, random_link_split
from gnnkit.models import NCN, LinkEncoder, LinkPredictor
from gnnkit.train import LinkPrediction, TrainConfig, evaluate, fit, seed_everything
from gnnkit.train._link_scores import link_loss, link_metric, link_scores


@pytest.fixture(scope="module")
def split() -> LinkSplit:
    """The karate club's 78 edges."""
    data = load("karate")
    return random_link_split(data.edge_index, 34, seed=0)


def model() -> LinkPredictor:
    """A small NCN."""
    encoder = LinkEncoder(34, 8, num_layers=1, dropout=0.2)
    return LinkPredictor(encoder, NCN(8, 8, use_xlin=True, dropout=0.2))


class Spy(nn.Module):
    """Scores by a table of pairs, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[Tensor, Tensor | None, Tensor]] = []

    def encode(self, x: Tensor, adj: Any, keep: Tensor | None = None) -> Tensor:
        return x * self.weight

    def score(self, h: Tensor, adj: Any, pairs: Tensor, keep: Tensor | None = None) -> Tensor:
        edges = adj.to_edge_index() if keep is None else adj.to_edge_index()[:, keep]
        self.seen.append((pairs, keep, edges))
        return self.weight * (pairs[0] * 100 + pairs[1])


def pairs_of(edges: Tensor) -> set[tuple[int, int]]:
    """As tuples."""
    return set(map(tuple, edges.t().tolist()))


def task_of(split: LinkSplit, **options: Any) -> LinkPrediction:
    """The task on one-hot features."""
    return LinkPrediction(torch.eye(34), split, "hits@5", **options)


@pytest.mark.parametrize("mask", [True, False])
def test_a_batch_of_edges_is_hidden_while_it_is_learnt_and_no_other(mask: bool, split: LinkSplit) -> None:
    torch.manual_seed(0)
    spy, task = Spy(), task_of(split, batch_size=20, mask_targets=mask)
    assert len(list(task.losses(spy))) == 2  # of 48 training edges; the third batch would not be full
    train = pairs_of(task.graph.edges)
    learnt: set[tuple[int, int]] = set()
    for pairs, _, edges in spy.seen:
        batch, shown = pairs_of(pairs[:, :20]), pairs_of(edges)
        assert len(batch) == 20
        assert batch <= train
        assert not batch & learnt
        learnt |= batch
        hidden = {*batch, *((b, a) for a, b in batch)}
        assert shown == {*train, *((b, a) for a, b in train)} - (hidden if mask else set())
        for a, b in pairs_of(pairs[:, 20:]):
            assert a != b
            assert (a, b) not in train
            assert (b, a) not in train


def test_edges_fewer_than_a_batch_are_one(split: LinkSplit) -> None:
    spy = Spy()
    assert len(list(task_of(split, batch_size=1000).losses(spy))) == 1
    assert spy.seen[0][0].shape == (2, 2 * split.sizes[0])


def test_the_loss_is_that_of_the_formula() -> None:
    pos, neg = torch.tensor([0.3, -1.0]), torch.tensor([[2.0, -0.5]])
    by_hand = -sum(math.log(1 / (1 + math.exp(-s))) for s in (0.3, -1.0)) / 2
    by_hand -= sum(math.log(1 / (1 + math.exp(s))) for s in (2.0, -0.5)) / 2
    assert float(link_loss(pos, neg)) == pytest.approx(by_hand)


@pytest.mark.parametrize("valid_as_input", [True, False])
def test_validation_edges_are_input_for_test_pairs_alone_and_only_if_asked(
    valid_as_input: bool, split: LinkSplit
) -> None:
    spy = Spy()
    row = evaluate(spy, task_of(split, valid_as_input=valid_as_input, also=("hits@2",)))
    train, valid = pairs_of(split.graph().edges), pairs_of(split.valid)
    test = pairs_of(split.test)
    for pairs, _, edges in spy.seen:
        shown = pairs_of(edges)
        assert train <= shown
        assert not shown & test
        assert bool(valid & shown) == (valid_as_input and bool(pairs_of(pairs) & (test | pairs_of(split.test_neg))))
    assert {"train", "valid", "test", "valid_loss", "valid_hits@2", "test_hits@2"} == row.keys()
    scores = [100.0 * a + b for a, b in split.test.t().tolist()]
    bar = sorted((100.0 * a + b for a, b in split.test_neg.t().tolist()), reverse=True)[4]
    assert row["test"] == pytest.approx(sum(score > bar for score in scores) / len(scores))


def test_each_positive_is_ranked_among_its_own_negatives() -> None:
    pos, neg = torch.tensor([1.0, 1.0]), torch.tensor([[0.0, 2.0], [0.0, 0.5]])
    assert link_scores(pos, neg, ("mrr", "hits@1")) == {"mrr": 0.75, "hits@1": 0.5}
    y = torch.tensor([True, False, True, False])
    assert link_metric("hits@1").score(torch.tensor([3.0, 2.0, 1.0, 0.0]), y) == 0.5
    found = link_scores(torch.tensor([math.nan, 1.0]), neg, ("mrr",))
    assert math.isnan(found["mrr"])


@pytest.mark.parametrize("name", ["hits", "hits@", "hits@0", "hits@-1", "hits@1.5", "MRR", "accuracy"])
def test_an_unknown_metric_is_a_value_error(name: str, split: LinkSplit) -> None:
    with pytest.raises(ValueError, match=rf"metric: expected mrr or hits@K with K >= 1 \(got '{name}'\)"):
        LinkPrediction(torch.eye(34), split, name)
    with pytest.raises(ValueError, match="metric: expected mrr or hits@K"):
        task_of(split, also=(name,))


def test_other_arguments_that_do_not_fit_are_value_errors(split: LinkSplit) -> None:
    with pytest.raises(ValueError, match=r"x: expected a row for each of 34 nodes \(got 33\)"):
        LinkPrediction(torch.eye(34)[1:], split)
    broken = torch.eye(34)
    broken[3, 4] = math.nan
    for x in (broken, broken.to_sparse().coalesce()):
        with pytest.raises(ValueError, match=r"x: expected finite features \(got 1 NaN or infinite\)"):
            LinkPrediction(x, split)
    nothing = torch.empty(2, 0, dtype=torch.int64)
    for name in ("train", "valid", "valid_neg", "test", "test_neg"):
        with pytest.raises(ValueError, match=r"split: expected edges in all three parts, .+ \(got \("):
            task_of(replace(split, **{name: nothing}))
    for name in ("batch_size", "eval_batch_size"):
        with pytest.raises(ValueError, match=rf"{name}: expected a number >= 1"):
            task_of(split, **{name: 0})
    with pytest.raises(ValueError, match=r"mrr: expected negatives of each edge's own"):
        LinkPrediction(torch.eye(34), split, "mrr")


class StopError(Exception):
    """Ends a run as a kill would."""


def test_a_run_continued_from_a_checkpoint_is_the_unbroken_one(tmp_path: Any, split: LinkSplit) -> None:
    config = TrainConfig(lr=0.02, predictor_lr=0.01, weight_decay=0.0, max_epochs=12, checkpoint_every=5)

    def run(seed: int, **options: Any) -> Any:
        seed_everything(seed)
        net = model()
        return net, fit(net, task_of(split, batch_size=16), config, **options)

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 7:
            raise StopError

    whole, one = run(1)
    with pytest.raises(StopError):
        run(1, checkpoint=tmp_path / "state", on_epoch=stop)
    broken, two = run(99, checkpoint=tmp_path / "state")  # the checkpoint counts, not what a new process draws
    assert one.history == two.history
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))


def test_encoder_and_predictor_step_by_their_own_rates(split: LinkSplit) -> None:
    net = model()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    config = TrainConfig(lr=1e-3, predictor_lr=1e-1, weight_decay=0.0, max_epochs=1)
    fit(net, task_of(split, batch_size=1000), config)
    for name, p in net.named_parameters():
        moved = float((p.detach() - before[name]).abs().max())
        rate = 1e-1 if name.startswith("predictor") else 1e-3
        assert moved == 0 or moved == pytest.approx(rate, rel=0.05)  # Adam's first step is the rate
    assert any(name.startswith("predictor") for name in before)


def test_two_rates_need_a_predictor() -> None:
    with pytest.raises(ValueError, match=r"train.predictor_lr: expected a model with a predictor \(got Linear\)"):
        fit(nn.Linear(1, 1), None, TrainConfig(predictor_lr=0.1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"train.predictor_lr: expected a number > 0"):
        TrainConfig(predictor_lr=0.0)
