"""Random graphs with a power-law degree tail, for benchmarks and tests."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

_MAX_DRAWS_PER_EDGE = 64


def power_law(num_nodes: int, num_edges: int, exponent: float = 2.5, seed: int = 0) -> torch.Tensor:
    """Draw a directed Chung-Lu graph without self-loops and without repeated edges.

    Both endpoints are drawn independently, the node of rank r (from 0) with probability
    ∝ (r + 1)^(-1 / (exponent - 1)), which gives in- and out-degrees a tail P(degree = k) ∝ k^(-exponent)
    (Chung and Lu, *The average distances in random graphs with given expected degrees*, 2002). Loops and
    repeats are rejected. Ranks are then mapped to node ids by a random permutation, so that the hubs do not
    lie side by side in memory.

    The result depends on the arguments alone: not on the number of threads, nor on any global random state.

    Cost: O(log N) time a draw and O(E log E) to find the repeats; about 100 bytes of memory an edge.

    Args:
        num_nodes: N, at least 2.
        num_edges: E, at most half of the N (N - 1) possible edges.
        exponent: Exponent of the degree distribution, above 1; a smaller one has larger hubs.
        seed: Non-negative seed of the generator.

    Returns:
        ``edge_index`` [2, E], int64, rows source and destination, in random order.

    Raises:
        ValueError: An argument is out of its range, or the graph is so dense for its skew that rejection
            would need more than 64 draws an edge.
    """
    _check(num_nodes, num_edges, exponent)
    rng = np.random.default_rng(seed)
    ids = rng.permutation(num_nodes)
    ranks = np.arange(1, num_nodes + 1, dtype=np.float64)
    cumulative = np.cumsum(ranks ** (-1.0 / (exponent - 1.0)))

    # [E] source rank * N + destination rank, kept in the order of drawing: that order is already random.
    keys = np.empty(0, dtype=np.int64)
    drawn, rounds = 0, 0
    while keys.size < num_edges:
        if drawn > _MAX_DRAWS_PER_EDGE * num_edges + 1024:
            raise ValueError(
                f"expected a graph that rejection can draw with {_MAX_DRAWS_PER_EDGE} tries an edge: fewer "
                f"edges, more nodes or a larger exponent "
                f"(got num_nodes={num_nodes}, num_edges={num_edges}, exponent={exponent})"
            )
        # Every round sorts all keys: doubling the draws keeps the rounds few when most draws are rejected.
        count = max(2 * (num_edges - keys.size) if rounds else num_edges + num_edges // 8, 64) << rounds
        keys = _first_occurrences(np.concatenate([keys, _draw(rng, cumulative, count)]))
        drawn, rounds = drawn + count, rounds + 1

    source, destination = np.divmod(keys[:num_edges], num_nodes)
    return torch.from_numpy(np.stack([ids[source], ids[destination]]))


def _draw(rng: np.random.Generator, cumulative: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Draw ``count`` pairs of ranks by inversion and return the keys of those that are no self-loop."""
    num_nodes = cumulative.size
    # random() < 1, but its product with the total may round up to the total: hence the minimum.
    uniform = rng.random((2, count)) * cumulative[-1]
    source, destination = np.minimum(np.searchsorted(cumulative, uniform, side="right"), num_nodes - 1)
    keys: NDArray[np.int64] = (source * num_nodes + destination)[source != destination]
    return keys


def _first_occurrences(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop repeated keys and keep the order in which each was seen first."""
    _, first = np.unique(keys, return_index=True)
    kept: NDArray[np.int64] = keys[np.sort(first)]
    return kept


def _check(num_nodes: int, num_edges: int, exponent: float) -> None:
    if num_nodes < 2:
        raise ValueError(f"expected num_nodes >= 2: an edge joins two different nodes (got {num_nodes})")
    if num_edges < 0:
        raise ValueError(f"expected num_edges >= 0 (got {num_edges})")
    if not (math.isfinite(exponent) and exponent > 1):
        raise ValueError(f"expected a finite exponent > 1 (got {exponent})")
    possible = num_nodes * (num_nodes - 1)
    if num_edges > possible // 2:
        raise ValueError(
            f"expected num_edges <= {possible // 2}, half of the N (N - 1) possible edges: beyond it, "
            f"drawing edges until one is new stalls (got {num_edges})"
        )
