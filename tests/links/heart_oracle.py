"""HeaRT's rules written plainly, one dense row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from gnnkit.links import LinkGraph

Array = np.ndarray[Any, Any]


def matrix(graph: LinkGraph) -> Array:
    """The dense matrix of a graph."""
    found = np.zeros((graph.num_nodes, graph.num_nodes))
    low, high = graph.edges.numpy()
    found[low, high] = found[high, low] = 1
    return found


def score_tables(graph: LinkGraph, x: Array | None, common: str, alpha: float, eps: float) -> list[Array]:
    """Dense tables of each score, row by anchor, in float32 as they are compared."""
    adjacency = matrix(graph)
    degree = adjacency.sum(axis=0)
    share = 1 / np.maximum(degree, 1)
    weight = share if common == "ra" else np.ones_like(degree)
    walk = adjacency / np.maximum(degree, 1)
    rank = alpha * np.linalg.inv(np.eye(len(walk)) - (1 - alpha) * walk).T
    rank[np.abs(rank) < 1e-14] = 0  # what an inverse leaves where no path leads
    rank[rank < eps * degree] = 0
    shared = adjacency @ (adjacency * weight).T
    tables = [shared * share if common == "cn/degree" else shared, rank]
    if x is not None:
        length = np.linalg.norm(x, axis=1, keepdims=True)
        unit = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
        cosines = unit @ unit.T
        tables.append(np.where(np.abs(cosines) < 1e-12, 0, cosines))
    return [table.astype(np.float32) for table in tables]


def falling_ranks(scores: Array, excluded: Array) -> Array:
    """Ranks of one row: positive scores upwards by their least rank and turned around, then 0, negative, excluded."""
    ranks = np.zeros(len(scores))
    positive = (scores > 0) & ~excluded
    last = 0.0
    if positive.any():
        upwards = rankdata(scores[positive], method="min")
        ranks[positive] = upwards.max() - upwards + 1
        last = ranks[positive].max()
    ranks[(scores == 0) & ~excluded] = last + 1
    ranks[(scores < 0) | excluded] = last + 2
    return ranks


def candidates(
    tables: list[Array], anchor: int, partner: int, known: LinkGraph | None, combine: str
) -> tuple[Array, Array, Array]:
    """The combined rank of every node, whether all its scores are 0, and whether it is excluded."""
    excluded = matrix(known)[anchor] > 0 if known is not None else np.zeros(len(tables[0]), dtype=bool)
    excluded[[anchor, partner]] = True
    ranks = [falling_ranks(table[anchor], excluded) for table in tables]
    zero = np.logical_and.reduce([table[anchor] == 0 for table in tables]) & ~excluded
    return (np.mean if combine == "mean" else np.min)(ranks, axis=0), zero, excluded
