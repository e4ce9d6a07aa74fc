"""The networks of `gnnkit.pipeline.adapters.MODELS`: their layers' plain model, and training at every depth."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from same_numbers import NUM_NODES, edges_of_a_graph, rows, same_with_gradients, stirred
from torch import Tensor, nn

from gnnkit import Adjacency
from gnnkit.pipeline import HopShape, PipelineTrainer, inspect, plan
from gnnkit.pipeline.adapters import MODELS


@pytest.fixture
def edge_index() -> Tensor:
    return edges_of_a_graph()


def plain(name: str, network: Any, x: Tensor, edge_index: Tensor, dropout: float) -> Tensor:
    """Compute a network of `MODELS` from its PyG layers, as papers and PyG's examples write it."""
    training = network.training

    def drop(h: Tensor) -> Tensor:
        return F.dropout(h, dropout, training)

    (first,), (last,) = (
        [m for m in part.modules() if isinstance(m, nn.Linear)] for part in (network.first, network.last)
    )
    if name == "resgcn":
        h = first(x)
        for hop in network.layers:
            norm = next(m for m in hop.modules() if isinstance(m, nn.LayerNorm))
            h = h + hop.conv(drop(norm(h).relu()), edge_index)
        norm = next(m for m in network.last.modules() if isinstance(m, nn.LayerNorm))
        return last(drop(norm(h).relu()))
    h = start = first(drop(x)).relu()
    for hop in network.layers:
        h = hop.conv(drop(h), start, edge_index) if name == "gcnii" else hop.conv(drop(h), edge_index)
        h = F.elu(h) if name == "gat" else h.relu()
    return last(drop(h))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_network_is_the_plain_model_of_its_layers(name: str, training: bool, edge_index: Tensor) -> None:
    network = stirred(MODELS[name](8, 12, 5, num_layers=4).double()).train(training)
    same_with_gradients(lambda x: network(x, edge_index), lambda x: plain(name, network, x, edge_index, 0.5), network)


@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_of_one_chunk_trains_it_as_it_is_and_infers_exactly_with_any(name: str, edge_index: Tensor) -> None:
    network = stirred(MODELS[name](8, 12, 3, num_layers=4, dropout=0.0).double())
    alone, adj = copy.deepcopy(network), Adjacency.from_edge_index(edge_index, NUM_NODES)
    x, y, train = rows(8).detach(), torch.arange(NUM_NODES) % 3, torch.arange(0, NUM_NODES, 2)

    def trainer_of(trained: Any, **options: int) -> PipelineTrainer:
        cut = plan(adj, 4, partitioner="builtin", **options)
        return PipelineTrainer(trained, cut, edge_index, x, y, train, optimizer=torch.optim.Adam)

    out = trainer_of(copy.deepcopy(network), stages=2, chunks=3, ways=2).infer()
    assert out is not None
    torch.testing.assert_close(out, alone.eval()(x, edge_index), rtol=1e-10, atol=1e-12)
    trainer, optimizer = trainer_of(network), torch.optim.Adam(alone.train().parameters())
    for _ in range(3):
        trainer.train_epoch()
        optimizer.zero_grad()
        F.cross_entropy(alone(x, edge_index)[train], y[train]).backward()
        optimizer.step()
    for (key, found), (_, expected) in zip(network.named_parameters(), alone.named_parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=lambda text, k=key: f"{k}: {text}")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("num_layers", [4, 128])
def test_networks_train_without_nan(name: str, num_layers: int, edge_index: Tensor) -> None:
    torch.manual_seed(0)
    network = MODELS[name](8, 16, 3, num_layers=num_layers, dropout=0.1)
    shapes = inspect(network, 8)
    assert shapes[-1] == HopShape(16, 16, 16, 0, True, shapes[-1].parameters)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    x, y = rows(8).detach().float(), torch.arange(NUM_NODES) % 3
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x, edge_index), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert torch.tensor(losses).isfinite().all()
    if num_layers == 4 or name in ("resgcn", "gcnii"):  # made for depth
        assert losses[-1] < losses[0]


def test_gcnii_maps_less_at_deeper_hops_and_may_have_two_weights() -> None:
    network: Any = MODELS["gcnii"](8, 16, 3, num_layers=3, alpha=0.3, theta=1.0, shared_weights=False)
    assert network.shares
    betas = torch.tensor([hop.conv.beta for hop in network.layers])
    torch.testing.assert_close(betas, (1 / torch.tensor([1.0, 2.0, 3.0]) + 1).log())
    assert all(hop.conv.alpha == 0.3 and hop.conv.weight2 is not None for hop in network.layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, r"^num_layers: expected a number >= 1 \(got 0\)$"),
        ({"hidden_channels": 2.5}, r"^hidden_channels: expected a number >= 1 \(got 2.5\)$"),
        ({"in_channels": True}, r"^in_channels: expected a number >= 1 \(got True\)$"),
        ({"dropout": 1.0}, r"^dropout: expected a number in \[0, 1\) \(got 1.0\)$"),
        ({"heads": 5}, r"^heads: expected a divisor of hidden_channels=16 \(got 5\)$"),
        ({"attention_dropout": -0.1}, r"^attention_dropout: expected a number in \[0, 1\) \(got -0.1\)$"),
        ({"alpha": 1.5}, r"^alpha: expected a number in \[0, 1\] \(got 1.5\)$"),
        ({"theta": 0}, r"^theta: expected a positive number \(got 0\)$"),
    ],
)
def test_sizes_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    make = MODELS["gat" if {"heads", "attention_dropout"} & options.keys() else "gcnii"]
    sizes = {"in_channels": 8, "hidden_channels": 16, "out_channels": 3, "num_layers": 2}
    with pytest.raises(ValueError, match=message):
        make(**{**sizes, **options})
