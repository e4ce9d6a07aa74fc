"""Checks of pairs and edges, shared by everything that predicts links."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gnnkit.kernels import _check


def size(num_nodes: object) -> int:
    """Require a number of nodes whose pairs can be numbered in 63 bits, and return it."""
    _check.count("num_nodes", num_nodes)
    assert isinstance(num_nodes, int)
    if num_nodes > 2**31:
        raise ValueError(f"num_nodes: expected at most 2^31 nodes (got {num_nodes})")
    return num_nodes


def pairs(name: str, value: Any, num_nodes: int) -> Tensor:
    """Require pairs of nodes ``[2, P]`` and return them as int64; a node may be paired with itself."""
    if not _check.is_dense(value, (2,), _check.INDEX_DTYPES) or value.shape[0] != 2:
        raise ValueError(f"{name}: expected an int32 or int64 tensor of shape [2, P] (got {_check.describe(value)})")
    _check.ids(name, value, num_nodes)
    long: Tensor = value.long()
    return long


def negatives(name: str, value: Any, num_nodes: int, num_positives: int) -> Tensor:
    """Require pairs ``[2, Q]`` for all positives, or ``[2, P, K]``, and return them as int64."""
    if not _check.is_dense(value, (2, 3), _check.INDEX_DTYPES) or value.shape[0] != 2:
        expected = "an int32 or int64 tensor of shape [2, Q] or [2, P, K]"
        raise ValueError(f"{name}: expected {expected} (got {_check.describe(value)})")
    if value.dim() == 3 and value.shape[1] != num_positives:
        raise ValueError(f"{name}: expected rows for {num_positives} positives (got {value.shape[1]})")
    _check.ids(name, value, num_nodes)
    long: Tensor = value.long()
    return long
