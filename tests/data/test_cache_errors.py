"""Cached: what it refuses, in which words, and that a refusal changes nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gnnkit import Adjacency
from gnnkit.data import Cached, InMemory, outstanding_accesses

ROWS = 23
TABLE = torch.arange(2.0 * ROWS).view(ROWS, 2)
GRAPH = Adjacency.from_edge_index(torch.tensor([[0], [1]]), num_nodes=ROWS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": "mru"}, r"policy: expected one of .* \(got 'mru'\)"),
        ({"policy": "degree"}, r"scores: expected a score for each row"),
        ({"capacity_bytes": -1}, r"capacity_bytes: expected a whole number >= 0 \(got -1\)"),
        ({"capacity_bytes": 1.5}, r"capacity_bytes: expected a whole number"),
        ({"window": -1}, r"window: expected a whole number"),
        ({"outstanding": -1}, r"outstanding: expected a whole number"),
        ({"victim_bytes": 8}, r"victim_bytes: expected .* 0 for a policy without a window \(got 8 for lru"),
        ({"victim_bytes": 99, "policy": "lookahead"}, r"victim_bytes: expected at most capacity_bytes = 64"),
        ({"store": torch.ones(2)}, r"store: expected a feature store .* \(got float32 tensor"),
        ({"scores": torch.ones(ROWS), "adj": GRAPH}, r"not both"),
        ({"adj": Adjacency.from_edge_index(torch.tensor([[0], [1]]))}, r"adj: expected a graph with 23 sources"),
    ],
)
def test_what_is_wrong_at_construction_is_said(options: dict[str, Any], said: str) -> None:
    right = {"store": InMemory(TABLE), "policy": "lru", "capacity_bytes": 64}
    with pytest.raises(ValueError, match=said):
        Cached(**{**right, **options})


@pytest.mark.parametrize("act", ["announce", "read"])
@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (torch.tensor([0, ROWS]), r"\(got 23"),
        (torch.tensor([-1]), r"\(got -1"),
        (torch.ones(2), r"ids: expected a 1-D int32 or int64 tensor"),
        ([0], r"ids: expected a 1-D int32 or int64 tensor \(got list\)"),
    ],
)
def test_ids_that_are_none_are_refused(act: str, ids: Any, said: str) -> None:
    cached = Cached(InMemory(TABLE), "lru", 32)
    with pytest.raises(ValueError, match=said):
        getattr(cached, act)(ids)
    assert torch.equal(cached.read(torch.tensor([3])), TABLE[3:4])
    assert cached.stats().reads == 1


def test_an_out_that_does_not_fit_is_refused_before_anything_is_read() -> None:
    cached = Cached(InMemory(TABLE), "lru", 32)
    with pytest.raises(ValueError, match="out: expected"):
        cached.read(torch.tensor([1, 2]), torch.empty(3, 2))
    assert cached.stats().storage_calls == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fraction": 1.0}, r"fraction: expected a number in \[0, 1\) \(got 1.0\)"),
        ({"bandwidth": 0.0}, r"bandwidth: expected a number above 0 \(got 0.0\)"),
        ({"storage_latency": -1.0}, r"storage_latency: expected seconds, at least 0 \(got -1.0\)"),
        ({"devices": 0}, r"devices: expected a number above 0 \(got 0\)"),
    ],
)
def test_what_is_wrong_with_a_disk_is_said(arguments: dict[str, Any], said: str) -> None:
    right = {"fraction": 0.9, "bandwidth": 1e9, "storage_latency": 1e-4}
    with pytest.raises(ValueError, match=said):
        outstanding_accesses(**{**right, **arguments})


def test_outstanding_accesses_are_gids_formula() -> None:
    # in GIDS's units: 0.9 * 7 GB/s * 100 µs * 4 disks / 4096 bytes / 0.1
    assert outstanding_accesses(0.9, 7e9, 60e-6, 40e-6, devices=4) == math.ceil(9 * 7e9 * 1e-4 * 4 / 4096) == 6153
    assert outstanding_accesses(0.0, 7e9, 60e-6) == 0
