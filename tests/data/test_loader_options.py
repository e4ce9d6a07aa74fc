"""Options of NodeLoader and NeighborLoader that have to do with processes, modes and copies, and those refused."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data import InMemory, NeighborLoader
from gnnkit.datasets.synthetic import power_law

NUM_NODES = 300


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    edge_index = power_law(NUM_NODES, 3000)
    return Data(
        x=torch.randn(NUM_NODES, 40, generator=draw),
        y=torch.arange(NUM_NODES) % 4,
        edge_index=edge_index,
        edge_attr=torch.arange(edge_index.shape[1]).float(),
        train_mask=torch.arange(NUM_NODES) % 3 == 0,
    )


def tensors(batch: Any) -> dict[str, Tensor]:
    return {name: value for name, value in batch.to_dict().items() if isinstance(value, Tensor)}


def assert_same(one: Any, other: Any) -> None:
    assert tensors(one).keys() == tensors(other).keys()
    for name, value in tensors(one).items():
        assert torch.equal(value, tensors(other)[name]), name


def test_options_of_processes() -> None:
    data = graph()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in NeighborLoader(
            data,
            [2],
            num_workers=50,
            persistent_workers=True,
            pin_memory=True,
            multiprocessing_context="spawn",
            batch_size=300,
            prefetch_factor=1,
        ):
            pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"worker_init_fn": print}, r"worker_init_fn: .*\(got a function\)"),
        ({"batch_size": None}, r"batch_size: .*\(got None\)"),
        ({"prefetch": -1}, r"prefetch: .*\(got -1\)"),
        ({"prefetch": 1.5}, r"prefetch: .*\(got 1.5\)"),
        ({"window": -1}, r"window: .*\(got -1\)"),
        ({"seed": "a"}, r"seed: .*\(got 'a'\)"),
        ({"features": torch.ones(3)}, r"features: expected a store .*\(got Tensor\)"),
        ({"features": InMemory(torch.ones(3))}, r"features: expected 300 rows as x \(got 3\)"),
        ({"input_time": torch.ones(300)}, r"input_time: .*\(got times\)"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighborLoader(graph(), [2], **options)
    loader = NeighborLoader(graph(), [2])
    for refused in (loader.enable_cpu_affinity, loader.enable_multithreading):
        with pytest.raises(ValueError, match="expected worker processes"):
            refused()


def test_directed_is_pygs_old_word() -> None:
    with pytest.warns(DeprecationWarning, match="induced"):
        loader = NeighborLoader(graph(), [2], directed=False)
    assert loader.node_sampler.subgraph_type.value == "induced"


@pytest.mark.parametrize("prefetch", [0, 2])
def test_inference_mode_ends_with_its_block(prefetch: int) -> None:
    data = graph()
    loader = NeighborLoader(data, [3], batch_size=100, prefetch=prefetch)
    with torch.inference_mode():
        list(loader)
    weight = torch.ones(40, requires_grad=True)
    for batch in loader:
        (batch.x * weight).sum().backward()


def test_an_order_without_length() -> None:
    loader = NeighborLoader(graph(), [3], batch_sampler=iter([[1, 2], [3]]))
    assert [batch.input_id.tolist() for batch in loader] == [[1, 2], [3]]


def test_a_loader_can_be_pickled() -> None:
    loader = NeighborLoader(graph(), [2], batch_size=100, seed=3)
    other = pickle.loads(pickle.dumps(loader))
    for one, two in zip(loader, other, strict=True):
        assert_same(one, two)
