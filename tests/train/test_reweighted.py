"""ReweightedLinkPredictor: when edges are scored, what messages then weigh, what is hidden, what a checkpoint holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from gnnkit.datasets import load
from gnnkit.links import LinkGraph, LinkSplit, random_link_split
from gnnkit.models import NCN, LinkEncoder
from gnnkit.train import LinkPrediction, ReweightedLinkPredictor, TrainConfig, fit, seed_everything


@pytest.fixture(scope="module")
def split() -> LinkSplit:
    """The karate club's 78 edges."""
    data = load("karate")
    return random_link_split(data.edge_index, 34, seed=0)


def make(graph: LinkGraph, seed: int = 0, **options: Any) -> ReweightedLinkPredictor:
    """A small model without dropout."""
    torch.manual_seed(seed)
    options = {"strength": 2.0, "warm_up": 0, **options}
    return ReweightedLinkPredictor(LinkEncoder(34, 8, 1), NCN(8, 8), graph.adj.num_edges, **options)


def test_messages_weigh_their_share_of_the_scores_on_top(split: LinkSplit) -> None:
    graph, x = split.graph(), torch.eye(34)
    model = make(graph).eval()
    before = model.encode(x, graph.adj)
    expected = model.score(before, graph.adj, graph.edges).sigmoid()
    model.begin_epoch(x, graph, batch_size=7)
    assert_close(model.scores[graph.entries], expected.expand(2, -1))
    shares = torch.zeros(34, 34)  # row i: what i hears of j
    shares[graph.edges[0], graph.edges[1]] = expected
    shares = shares + shares.t()
    shares = 2.0 * shares / shares.sum(1, keepdim=True).clamp(min=1e-30)
    assert_close(model.encode(x, graph.adj), before + shares @ model.encoder.entry(x))


def test_an_edge_that_is_held_back_leaves_no_trace(split: LinkSplit) -> None:
    graph, x = split.graph(), torch.eye(34)
    numbers = torch.tensor([3, 8, 20])
    models = [make(graph).eval() for _ in range(2)]
    for model in models:
        model.begin_epoch(x, graph)
    models[1].scores[graph.entries[:, numbers]] = 0.123  # whatever was made of it
    keep = graph.keep(numbers)
    assert torch.equal(*(model.encode(x, graph.adj, keep) for model in models))
    assert not torch.equal(*(model.encode(x, graph.adj) for model in models))


@pytest.mark.parametrize(("every", "warm_up", "due"), [(1, 0, [0, 1, 2, 3, 4]), (2, 1, [1, 3]), (3, 2, [2])])
def test_edges_are_scored_every_so_many_epochs_after_the_warm_up(
    every: int, warm_up: int, due: list[int], split: LinkSplit
) -> None:
    graph, x = split.graph(), torch.eye(34)
    model = make(graph, every=every, warm_up=warm_up)
    scored = []
    for epoch in range(5):
        model.scores.fill_(0.5)
        model.begin_epoch(x, graph)
        scored += [epoch] if bool((model.scores != 0.5).all()) else []
    assert scored == due
    assert all(module.training for module in model.modules())


def test_only_training_edges_have_a_part_in_it(split: LinkSplit) -> None:
    other = replace(split, valid=split.valid.flip(1)[:, :3], test=split.test.flip(1)[:, :3])
    weights = []
    for each in (split, other):
        task = LinkPrediction(torch.eye(34), each, "hits@5", batch_size=16)
        seed_everything(0)
        model = make(each.graph())
        fit(model, task, TrainConfig(max_epochs=3))
        list(task.losses(model))
        weights.append(model.scores)
    assert torch.equal(*weights)


def test_without_strength_it_is_the_plain_model(split: LinkSplit) -> None:
    graph, x = split.graph(), torch.eye(34)
    model = make(graph, strength=0.0).eval()
    before = model.encode(x, graph.adj)
    model.begin_epoch(x, graph)
    assert_close(model.encode(x, graph.adj), before)


def test_a_run_goes_on_from_a_checkpoint_with_its_scores(split: LinkSplit, tmp_path: Path) -> None:
    config = TrainConfig(max_epochs=6, checkpoint_every=3)
    task = LinkPrediction(torch.eye(34), split, "hits@5", batch_size=16)
    seed_everything(0)
    whole = fit(make(split.graph(), every=4), task, config).history

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 5:
            raise KeyboardInterrupt

    seed_everything(0)
    with pytest.raises(KeyboardInterrupt):
        fit(make(split.graph(), every=4), task, config, checkpoint=tmp_path / "c", on_epoch=stop)
    seed_everything(1)
    again = fit(make(split.graph(), seed=5, every=4), task, config, checkpoint=tmp_path / "c").history
    assert again == whole


@pytest.mark.parametrize(
    "option", [{"strength": -1.0}, {"strength": float("nan")}, {"every": 0}, {"warm_up": -1}], ids=str
)
def test_arguments_out_of_range_are_refused(option: dict[str, Any], split: LinkSplit) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(option))}: expected a number .+ \(got"):
        make(split.graph(), **option)


def test_another_graph_is_refused(split: LinkSplit) -> None:
    model = make(split.graph())
    larger = split.graph(include_valid=True)
    with pytest.raises(ValueError, match=r"adj: expected the \d+ entries of the training graph \(got \d+\)"):
        model.encode(torch.eye(34), larger.adj)
