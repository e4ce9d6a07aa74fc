"""Models: every one builds, gives logits for every node, and treats the graph as a graph."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from gnnkit.bench import LINK_MODELS, MODELS, ModelConfig, recipe
from gnnkit.bench._models import ABOUT, build
from gnnkit.datasets import card, load, names
from gnnkit.train import METRICS, override


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
    assert list(ABOUT) == [*MODELS, *LINK_MODELS]


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


@pytest.mark.parametrize("dataset", [name for name in names() if card(name).metric in METRICS])
@pytest.mark.parametrize("model", MODELS)
def test_there_is_a_recipe_for_every_pair_that_fits(dataset: str, model: str) -> None:
    if card(dataset).node_type is not None:
        with pytest.raises(
            ValueError, match=rf"^{dataset}: expected nodes of one type, .+ \(got classes on 'paper'\)$"
        ):
            recipe(dataset, model)
        return
    if card(dataset).task != "node_classification" and not MODELS[model].for_graphs:
        with pytest.raises(ValueError, match="model: expected one of"):
            recipe(dataset, model)
        return
    config = recipe(dataset, model)
    assert (config.dataset, config.model_name) == (dataset, model)
    assert config.recipe
    assert recipe(dataset, model) == config


def test_the_recipes_of_the_literature_are_theirs() -> None:
    gcn = recipe("cora", "gcn")
    assert (gcn.model.hidden_channels, gcn.model.dropout, gcn.model.num_layers) == (16, 0.5, 2)
    assert (gcn.train.lr, gcn.train.weight_decay, gcn.train.decay, gcn.train.max_epochs) == (0.01, 5e-4, "first", 200)
    assert gcn.features.scale == "rows"
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
    assert override(recipe("karate", "gcn"), "features.scale=rows").features.scale == "rows"
    with pytest.raises(ValueError, match=r"features.scale: expected as_is or rows \(got 'columns'\)"):
        override(recipe("karate", "gcn"), "features.scale=columns")


def test_every_setting_of_a_recipe_can_be_set() -> None:
    config = recipe("karate", "gat")
    for group in ("model", "train"):
        for field in dataclasses.fields(getattr(config, group)):
            value = getattr(getattr(config, group), field.name)
            assert override(config, f"{group}.{field.name}={value}") == config


# ------------------------------------------------------------------ residual blocks


@pytest.mark.parametrize("name", MODELS)
def test_a_residual_model_gives_a_logit_for_every_node_and_class(name: str, karate: Any) -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden_channels=8, num_layers=3, heads=4, block="residual")
    model = build(name, karate.card, config)
    out = model(karate.x, karate.edge_index)
    assert out.shape == (34, 4)
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_residual_block_whose_last_map_is_zero_passes_its_input_on(karate: Any) -> None:
    model = build("sage", karate.card, ModelConfig(hidden_channels=8, num_layers=4, block="residual")).eval()
    for outer in model.outer:
        nn.init.zeros_(outer.weight)
        nn.init.zeros_(outer.bias)
    expected = model.last(model.norms[-1](torch.relu(model.first(karate.x))))
    torch.testing.assert_close(model(karate.x, karate.edge_index), expected)


def test_heads_that_do_not_divide_the_width_are_a_value_error(karate: Any) -> None:
    with pytest.raises(ValueError, match=r"model\.heads: expected a divisor of model\.hidden_channels=6 \(got 4\)"):
        build("gat", karate.card, ModelConfig(hidden_channels=6, heads=4, block="residual"))


# ------------------------------------------------------------------ models of whole graphs

ON_GRAPHS = ("mlp", "gcn", "gat", "gatv2", "gin")


def molecules(**facts: Any) -> Any:
    """The card of a set of graphs, as far as models read it."""
    known: dict[str, Any] = {"num_features": 3, "num_edge_features": 2, "num_classes": 2} | facts
    return dataclasses.replace(card("mutag"), **known)


def pair() -> Any:
    """Two graphs as one batch: a path of three nodes and an edge."""
    edges = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=draw)
    return x, edges, torch.randn(6, 2, generator=draw), torch.tensor([0, 0, 0, 1, 1])


@pytest.mark.parametrize("edge_features", [True, False])
@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
@pytest.mark.parametrize("name", ON_GRAPHS)
def test_a_model_of_graphs_gives_a_row_for_each_graph(name: str, pooling: Any, edge_features: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(hidden_channels=8, pooling=pooling, edge_features=edge_features)
    model = build(name, molecules(), config)
    x, edges, edge_attr, batch = pair()
    out = model(x, edges, edge_attr=edge_attr, batch=batch, batch_size=2)
    assert out.shape == (2, 2)
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ON_GRAPHS)
def test_a_graph_is_predicted_alike_alone_and_in_a_batch_and_in_any_order_of_its_nodes(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, molecules(), ModelConfig(hidden_channels=8)).double().eval()
    x, edges, edge_attr, batch = pair()
    x, edge_attr = x.double(), edge_attr.double()
    together = model(x, edges, edge_attr=edge_attr, batch=batch, batch_size=2)
    alone = model(x[:3], edges[:, :4], edge_attr=edge_attr[:4], batch=batch[:3], batch_size=1)
    torch.testing.assert_close(alone, together[:1])
    order = torch.tensor([2, 0, 1])  # new node k is old node order[k]
    permuted = model(
        x[:3][order], order.argsort()[edges[:, :4]], edge_attr=edge_attr[:4], batch=batch[:3], batch_size=1
    )
    torch.testing.assert_close(permuted, alone)


@pytest.mark.parametrize("name", ["gat", "gatv2", "gin"])
def test_edge_features_matter_where_they_are_asked_for(name: str) -> None:
    x, edges, edge_attr, batch = pair()
    for asked in (True, False):
        torch.manual_seed(0)
        model = build(name, molecules(), ModelConfig(hidden_channels=8, edge_features=asked)).eval()
        outputs = [model(x, edges, edge_attr=scale * edge_attr, batch=batch, batch_size=2) for scale in (1, 5)]
        assert torch.equal(*outputs) != asked


def test_categories_are_the_sum_of_an_embedding_of_each_column() -> None:
    torch.manual_seed(0)
    model = build("gin", molecules(num_features=2, node_categories=(4, 3)), ModelConfig(hidden_channels=8))
    ids = torch.tensor([[3, 0], [1, 2]])
    tables = [table.weight for table in model.encoder.tables]
    torch.testing.assert_close(model.encoder(ids), tables[0][ids[:, 0]] + tables[1][ids[:, 1]])
    single = build("gin", molecules(num_features=1, node_categories=(4,)), ModelConfig(hidden_channels=8))
    assert single.encoder(torch.tensor([3, 1, 0])).shape == (3, 8)  # a column may come without its axis


def test_a_model_that_does_not_fit_the_task_is_a_value_error() -> None:
    with pytest.raises(
        ValueError, match=r"model: expected one of mlp, gcn, .+ for mutag, graph_classification \(got 'sage'\)"
    ):
        recipe("mutag", "sage")
    with pytest.raises(ValueError, match=r"model: expected one of ncn, .+ for ogbl-ddi, links \(got 'gcn'\)"):
        recipe("ogbl-ddi", "gcn")
    with pytest.raises(ValueError, match=r"ogbl-vessel: expected hits@K or mrr, .+ \(got rocauc\)"):
        recipe("ogbl-vessel", "ncn")
    with pytest.raises(
        ValueError, match=r"model: expected one of mlp, gcn, .+ \(got 'ncn', which predicts links, as of \w+:link\)"
    ):
        recipe("karate", "ncn")


def test_a_set_for_regression_has_an_output_a_value_and_no_classes() -> None:
    model = build("gin", card("zinc"), recipe("zinc", "gin").model)
    out = model(
        torch.zeros(2, 1, dtype=torch.int64),
        torch.tensor([[0, 1], [1, 0]]),
        edge_attr=torch.ones(2, dtype=torch.int64),
        batch=torch.zeros(2, dtype=torch.int64),
        batch_size=1,
    )
    assert out.shape == (1, 1)
