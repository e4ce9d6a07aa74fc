"""Models: every one builds, gives logits for every node, and treats the graph as a graph."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from gnnkit.bench import MODELS, BenchConfig, ModelConfig, recipe
from gnnkit.bench._models import ABOUT, build
from gnnkit.datasets import load, names
from gnnkit.train import override


@pytest.fixture(scope="module")
def karate() -> Any:
    """A small graph with features that differ from node to node."""
    return load("karate")


def made(name: str, data: Any, **config: Any) -> Any:
    """Build a model from a fixed seed, in evaluation mode."""
    torch.manual_seed(0)
    model = build(name, data.card, ModelConfig(hidden_channels=6, **config))
    for p in model.parameters():
        nn.init.normal_(p)  # biases begin as zeros, which would hide what they do
    return model.eval()


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_a_logit_for_every_node_and_class(name: str, num_layers: int, karate: Any) -> None:
    model = made(name, karate, num_layers=num_layers)
    out = model(karate.x, karate.edge_index)
    assert out.shape == (34, 4)
    assert bool(out.isfinite().all())
    assert len(model.layers) == num_layers
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())  # nothing is built that is not used


@pytest.mark.parametrize("name", MODELS)
def test_only_training_is_random(name: str, karate: Any) -> None:
    model = made(name, karate)
    assert torch.equal(model(karate.x, karate.edge_index), model(karate.x, karate.edge_index))
    model.train()
    assert not torch.equal(model(karate.x, karate.edge_index), model(karate.x, karate.edge_index))


@pytest.mark.parametrize("name", ["gcn", "sage", "gat", "gatv2", "gin"])
def test_a_permutation_of_the_nodes_permutes_the_logits(name: str, karate: Any) -> None:
    model = made(name, karate).double()
    twin = copy.deepcopy(model)  # a model keeps the normalised edges of the first graph it sees
    x = karate.x.double()
    order = torch.randperm(34, generator=torch.Generator().manual_seed(1))  # new node k is old node order[k]
    position = order.argsort()
    out = model(x, karate.edge_index)
    permuted = twin(x[order], position[karate.edge_index])
    assert not torch.allclose(out, permuted)
    torch.testing.assert_close(permuted, out[order])


@pytest.mark.parametrize("name", ["gcn", "sage", "gat", "gatv2", "gin"])
def test_a_graph_model_looks_at_its_neighbours(name: str, karate: Any) -> None:
    model = made(name, karate, num_layers=1)
    x = karate.x.clone().requires_grad_()
    node = 5
    (grad,) = torch.autograd.grad(model(x, karate.edge_index)[node].sum(), x)
    seen = set(grad.abs().sum(dim=1).nonzero().squeeze(1).tolist())
    neighbours = karate.edge_index[0, karate.edge_index[1] == node].tolist()
    assert seen == {node, *neighbours}


def test_the_mlp_looks_at_no_edge(karate: Any) -> None:
    model = made("mlp", karate)
    none = torch.zeros(2, 0, dtype=torch.int64)
    assert torch.equal(model(karate.x, karate.edge_index), model(karate.x, none))


def test_attention_heads_are_those_of_the_config(karate: Any) -> None:
    model = made("gat", karate, heads=3, out_heads=2, num_layers=3)
    assert [layer.heads for layer in model.layers] == [3, 3, 2]
    assert [layer.in_channels for layer in model.layers] == [34, 18, 18]


@pytest.mark.parametrize(("activation", "negative"), [("relu", False), ("elu", True)])
def test_the_activation_is_that_of_the_config(activation: Any, negative: bool, karate: Any) -> None:
    model = made("mlp", karate, activation=activation)
    hidden: list[Any] = []
    model.layers[1].register_forward_hook(lambda module, inputs, output: hidden.append(inputs[0]))
    model(karate.x, karate.edge_index)
    assert bool((hidden[0] < 0).any()) == negative


def test_every_model_is_described() -> None:
    assert list(ABOUT) == list(MODELS)


@pytest.mark.parametrize("name", ["", "GCN", "gine", "gcn "])
def test_an_unknown_model_is_a_value_error(name: str, karate: Any) -> None:
    with pytest.raises(ValueError, match=rf"model: expected one of mlp, gcn, sage, gat, gatv2, gin \(got '{name}'\)"):
        build(name, karate.card, ModelConfig())


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_channels": 0},
        {"num_layers": 0},
        {"heads": -1},
        {"out_heads": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"attention_dropout": 1.5},
        {"dropout": float("nan")},
        {"activation": "tanh"},
    ],
    ids=str,
)
def test_a_shape_out_of_range_is_a_value_error_that_names_it(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=rf"model\.{name}: expected .+ \(got "):
        ModelConfig(**changes)


# ------------------------------------------------------------------ recipes


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataset", names())
def test_there_is_a_recipe_for_every_pair(dataset: str, model: str) -> None:
    config = recipe(dataset, model)
    assert (config.dataset, config.model_name) == (dataset, model)
    assert config.recipe
    assert recipe(dataset, model) == config


def test_the_recipes_of_the_literature_are_theirs() -> None:
    gcn = recipe("cora", "gcn")
    assert (gcn.model.hidden_channels, gcn.model.dropout, gcn.model.num_layers) == (16, 0.5, 2)
    assert (gcn.train.lr, gcn.train.weight_decay, gcn.train.decay, gcn.train.max_epochs) == (0.01, 5e-4, "first", 200)
    assert gcn.features == "rows"
    gat = recipe("cora", "gat")
    assert (gat.model.hidden_channels, gat.model.heads, gat.model.out_heads) == (8, 8, 1)
    assert (gat.model.dropout, gat.model.attention_dropout, gat.model.activation) == (0.6, 0.6, "elu")
    assert (gat.train.lr, gat.train.weight_decay, gat.train.patience) == (0.005, 5e-4, 100)
    pubmed = recipe("pubmed", "gat")
    assert (pubmed.model.out_heads, pubmed.train.lr, pubmed.train.weight_decay) == (8, 0.01, 1e-3)


@pytest.mark.parametrize(("dataset", "model"), [("nope", "gcn"), ("cora", "nope")])
def test_an_unknown_pair_is_a_value_error(dataset: str, model: str) -> None:
    with pytest.raises(ValueError, match=r"\(got 'nope'\)"):
        recipe(dataset, model)


def test_features_are_as_they_are_or_scaled_by_rows() -> None:
    assert override(recipe("karate", "gcn"), "features=rows").features == "rows"
    with pytest.raises(ValueError, match=r"features: expected as_is or rows \(got 'columns'\)"):
        BenchConfig("karate", "gcn", features="columns")  # type: ignore[arg-type]


def test_every_setting_of_a_recipe_can_be_set() -> None:
    config = recipe("karate", "gat")
    for group in ("model", "train"):
        for field in dataclasses.fields(getattr(config, group)):
            value = getattr(getattr(config, group), field.name)
            assert override(config, f"{group}.{field.name}={value}") == config
