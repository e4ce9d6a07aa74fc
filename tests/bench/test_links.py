"""Links in the benchmark: protocols by name, models, recipes, the best epoch of each metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gnnkit.bench import LinkConfig, find_runs, recipe, run_benchmark, summarise
from gnnkit.bench._heuristics import HEURISTICS
from gnnkit.bench._link_models import ABOUT
from gnnkit.bench._links import best_of_each, build_link
from gnnkit.datasets import card, load
from gnnkit.links import hits_at
from gnnkit.models import NCNC

SHORT = ("train.max_epochs=3", "link.hidden_channels=8", "train.batch_size=16")


def run(out: Path, dataset: str = "karate:link", model: str = "ncn", **options: Any) -> Any:
    """Some epochs of the karate club."""
    return run_benchmark(dataset, model, seeds=[0, 1], device="cpu", out=out, overrides=SHORT, **options)


@pytest.mark.parametrize("model", ABOUT)
def test_every_model_is_trained_and_gives_its_numbers_again(model: str, tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, model=model) for name in "ab")
    assert [row["test"] for row in one.results] == [row["test"] for row in two.results]
    assert one.spec["metric"] == "hits@100"
    assert {"hits@20", "hits@50"} == one.results[0]["also"].keys()
    assert one.folder.name.startswith(f"karate-link-{model}-")


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_heuristic_is_scored_by_the_protocol_without_training(name: str, tmp_path: Path) -> None:
    record = run_benchmark("digits:link", name, seeds=[0, 1], device="cpu", out=tmp_path)
    data = load("digits:link")
    for row in record.results:
        split = data.card.split(data, row["seed"])
        graph, function = split.graph(), HEURISTICS[name][1]
        expected = hits_at(function(graph, split.test), function(graph, split.test_neg), 100)
        assert (row["test"], row["epochs_run"], row["parameters"]) == (expected, 0, 0)
        assert row["also"]["hits@20"]["test"] <= expected
        assert 0 < expected < 1
        assert row["also"].keys() == {"hits@20", "hits@50"}
    assert summarise(find_runs([tmp_path])[0]).seeds == [0, 1]


def test_a_heuristic_reads_the_validation_edges_where_the_protocol_lets_it(tmp_path: Path) -> None:
    scores = []
    for also in ("false", "true"):
        overrides = [f"link.valid_as_input={also}"]
        record = run_benchmark("digits:link", "cn", seeds=[0], device="cpu", out=tmp_path, overrides=overrides)
        scores.append((record.results[0]["valid"], record.results[0]["test"]))
    assert scores[0][0] == scores[1][0]
    assert scores[0][1] != scores[1][1]


@pytest.mark.parametrize(
    ("dataset", "model", "setting", "said"),
    [
        ("karate:link", "ncn", "model.hidden_channels=8", "link.…"),
        ("karate:link", "ncn", "accelerate=true", "link.…"),
        ("karate:link", "cn", "link.hidden_channels=8", "nothing for cn"),
        ("karate:link", "katz", "train.max_epochs=8", "nothing for katz"),
        ("karate", "gcn", "link.hidden_channels=8", "model.…"),
    ],
)
def test_a_setting_without_effect_is_refused(dataset: str, model: str, setting: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"--set {setting.partition('=')[0]}: expected .*{said}.*without effect"):
        run_benchmark(dataset, model, out=tmp_path, overrides=[setting])
    assert not list(tmp_path.iterdir())


def test_hard_negatives_are_ranked_and_the_split_is_the_same_for_every_seed(tmp_path: Path) -> None:
    overrides = ("train.max_epochs=1", "link.hidden_channels=4")
    record = run_benchmark("digits:heart", "gae", seeds=[0], device="cpu", out=tmp_path, overrides=overrides)
    assert record.spec["metric"] == "mrr"
    assert {"hits@1", "hits@3", "hits@10"} == record.results[0]["also"].keys()
    data = load("digits:heart")
    first, second = data.card.split(data, 0), data.card.split(data, 1)
    assert torch.equal(first.test_neg, second.test_neg)
    assert first.test_neg.shape == (2, first.test.shape[1], 500)


def test_a_seed_draws_its_split() -> None:
    data = load("karate:link")
    assert data.card.task == "link_prediction"
    splits = [data.card.split(data, seed) for seed in (0, 0, 1)]
    assert torch.equal(splits[0].test, splits[1].test)
    assert not torch.equal(splits[0].test, splits[2].test)
    assert set(splits[0].leaks().values()) == {0}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("karate:links", r"dataset: expected karate:link or karate:heart \(got 'karate:links'\)"),
        ("karate:", r"dataset: expected karate:link or karate:heart \(got 'karate:'\)"),
        ("kerate:link", r"did you mean 'karate'"),
        ("mutag:link", r"dataset: expected one graph with classes of its nodes .* \(got graph_classification\)"),
        ("ogbl-ddi:link", r"dataset: expected one graph with classes of its nodes .* \(got link_prediction\)"),
        ("ogbn-mag:link", r"dataset: expected one graph with classes of its nodes"),
    ],
)
def test_a_protocol_that_is_none_is_a_value_error(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        card(name)


def test_recipes_are_those_of_the_authors() -> None:
    cora, pubmed, ddi = (recipe(name, "ncnc") for name in ("cora:link", "pubmed:link", "ogbl-ddi"))
    assert (cora.train.lr, cora.train.predictor_lr, cora.train.max_epochs) == (0.0043, 0.0024, 100)
    assert (cora.link.input_dropout, cora.link.output_dropout, cora.link.pool_edge_dropout) == (0.7, 0.3, 0.4)
    assert (cora.link.scale, cora.link.offset, cora.link.probability, cora.link.alpha) == (4.3, 2.8, 0.75, 1.0)
    assert (pubmed.train.batch_size, pubmed.train.lr, pubmed.train.predictor_lr) == (2048, 0.0097, 0.002)
    assert (ddi.link.encoder, ddi.link.hidden_channels, ddi.link.tail_activation) == ("puresum", 224, False)
    assert recipe("karate:link", "ncn").recipe == "gnnkit defaults"
    assert "begins with a trained NCN" in ddi.recipe
    assert "begins" not in recipe("ogbl-ddi", "ncn").recipe
    assert all(each.train.weight_decay == 0 for each in (cora, pubmed, ddi))


@pytest.mark.parametrize(
    ("dataset", "model", "layers", "dropout", "lr", "weight_decay"),
    [
        ("cora", "ncn", 3, 0.1, 0.01, 1e-7),
        ("cora", "ncnc", 2, 0.1, 0.01, 0.0),
        ("citeseer", "ncn", 1, 0.3, 0.001, 0.0),
        ("citeseer", "ncnc", 1, 0.5, 0.001, 1e-7),
        ("pubmed", "ncn", 2, 0.1, 0.001, 1e-7),
        ("pubmed", "ncnc", 1, 0.1, 0.001, 0.0),
    ],
)
def test_hearts_recipes_are_those_of_its_authors(
    dataset: str, model: str, layers: int, dropout: float, lr: float, weight_decay: float
) -> None:
    config = recipe(f"{dataset}:heart", model)
    assert (config.link.num_layers, config.link.dropout, config.link.predictor_dropout) == (layers, dropout, dropout)
    assert (config.train.lr, config.train.predictor_lr, config.train.weight_decay) == (lr, None, weight_decay)
    assert (config.train.eval_every, config.train.patience, config.train.batch_size) == (5, 50, 1024)
    assert config.link.scale == recipe(f"{dataset}:link", model).link.scale


@pytest.mark.parametrize(
    ("dataset", "dropout", "lr"), [("cora", 0.5, 0.001), ("citeseer", 0.5, 0.01), ("pubmed", 0.3, 0.01)]
)
def test_hearts_auto_encoder_is_one_convolution_under_an_mlp(dataset: str, dropout: float, lr: float) -> None:
    config = recipe(f"{dataset}:heart", "gae")
    encoder = (config.link.encoder, config.link.num_layers, config.link.input_dropout, config.link.dropout)
    assert encoder == ("puregcn", 1, 0, 0)
    assert (config.link.predictor_norm, config.link.predictor_dropout, config.train.lr) == (False, dropout, lr)
    assert not any(
        isinstance(each, torch.nn.LayerNorm) for each in build_link("gae", load("karate:link"), config.link).modules()
    )


def test_settings_reach_the_model() -> None:
    data = load("karate:link")
    config = LinkConfig(hidden_channels=8, depth=2, alpha=0.4, probability=0.3, scale=2.0, offset=1.0, train_degree=3)
    predictor = build_link("ncnc", data, config).predictor
    assert isinstance(predictor, NCNC)
    assert (predictor.depth, predictor.train_degree, predictor.test_degree) == (2, 3, None)
    assert build_link("ncn", data, LinkConfig(hidden_channels=8)).encoder.in_channels == 34


def test_the_best_epoch_of_each_metric_is_its_own() -> None:
    rows: list[dict[str, float]] = [
        {"valid": 0.1, "valid_loss": 1.0, "valid_hits@2": 0.5, "test_hits@2": 0.4},
        {"valid": 0.2, "valid_loss": 1.0, "valid_hits@2": 0.5, "test_hits@2": 0.9},
        {"valid": 0.3, "valid_loss": 1.0, "valid_hits@2": 0.3, "test_hits@2": 0.7},
    ]
    assert best_of_each(rows) == {"also": {"hits@2": {"valid": 0.5, "test": 0.4}}}
    assert best_of_each([{"loss": 2.0}, *rows, {"loss": 1.0}]) == best_of_each(rows)  # not every epoch is evaluated
    assert best_of_each([{"valid": 0.1, "valid_loss": 1.0}]) == {}


@pytest.mark.parametrize("setting", ["link.encoder=gat", "train.batch_size=0", "link.num_layers=-1", "link.depth=-1"])
def test_settings_out_of_range_are_value_errors(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"link\.\w+: expected .+ \(got .+\)|expected .+ \(got"):
        run_benchmark("karate:link", "ncn", out=tmp_path, overrides=[setting])
