"""A multilevel partitioner in NumPy and SciPy.

The way of Meyerhenke, Sanders and Schulz, *Partitioning complex networks via size-constrained clustering*, 2014
(arXiv 1402.3281): cluster by labels that spread along edges while a cluster has room, make each cluster a node, and so
on; cut the small graph; then take it apart level by level and let the parts' labels spread in the same way. The small
graph is cut in two, and each half again, by growing one side from a node by what lowers the cut most (Karypis and
Kumar, *A fast and high quality multilevel scheme for partitioning irregular graphs*, 1998).

In place of one node at a time, an eighth of them chooses at once: a step is then a product of sparse matrices. Those
that gain most are served first while there is room.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

SLACK = 0.03  # how much more than the mean a part may hold
_CLUSTERS = 14  # clusters of at most a 14th of a part
_SMALL = 20  # nodes a part of the graph that is cut at last
_EIGHTHS = 8
_SPREADS, _REFINEMENTS, _TRIES = 4, 10, 16


def cut(graph: Any, work: NDArray[np.int64], parts: int, seed: int) -> Labels:
    """Cut a graph into parts of even work with few edges between them; a part may come out empty.

    Args:
        graph: A symmetric SciPy CSR ``[N, N]`` of ones, without loops.
        work: ``[N]``, of each node.
        parts: How many.
        seed: Of the random choices.

    Returns:
        ``[N]``, the part of each node.
    """
    draw, amount = np.random.default_rng(seed), work.astype(np.float64)
    mean = amount.sum() / parts
    levels: list[tuple[Any, Floats, Labels]] = []
    while len(amount) > max(_SMALL * parts, 200):
        label = _clusters(graph, amount, mean / _CLUSTERS, draw)
        num = int(label.max()) + 1
        if num > 0.95 * len(amount):
            break
        levels.append((graph, amount, label))
        members = _members(label, num)
        graph, amount = (members.T @ graph @ members).tocsr(), _loads(label, amount, num)
        graph.setdiag(0)
        graph.eliminate_zeros()
    part, cap = _bisect(graph, amount, parts, draw), np.full(parts, (1 + SLACK) * mean)
    part = _spread(graph, amount, part, cap, _REFINEMENTS, draw)
    for graph, amount, label in reversed(levels):
        part = _spread(graph, amount, part[label], cap, _REFINEMENTS, draw)
    return part


def _members(label: Labels, num: int) -> Any:
    """Give the matrix of zeros and ones of which node has which label."""
    from scipy.sparse import csr_array

    n = len(label)
    return csr_array((np.ones(n), label.astype(np.int32), np.arange(n + 1, dtype=np.int32)), shape=(n, num))


def _loads(label: Labels, work: Floats, num: int) -> Floats:
    """Sum the work of each label."""
    return np.asarray(np.bincount(label, work, num), np.float64)


def _before(amount: Floats, group: Labels) -> Floats:
    """Sum for each entry what the earlier ones of its group amount to; a group's entries lie side by side."""
    first = np.ones(len(group), bool)
    first[1:] = group[1:] != group[:-1]
    sums = np.cumsum(amount) - amount
    return sums - sums[np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))]


def _spread(graph: Any, work: Floats, label: Labels, cap: Floats, sweeps: int, draw: np.random.Generator) -> Labels:
    """Give nodes the label that most of their edges lead to, as long as no label's work exceeds its ``cap``.

    Between equals the lighter label wins. Nodes whose label is above its cap leave at a loss too, until it is not.
    """
    label, num = label.copy(), len(cap)
    load = _loads(label, work, num)
    turn = draw.permutation(len(work)) % _EIGHTHS
    eighths = [(ids, graph[ids]) for ids in (np.flatnonzero(turn == number) for number in range(_EIGHTHS))]
    for _ in range(sweeps):
        moved = 0
        for ids, rows in eighths:
            near, own, w = rows @ _members(label, num), label[ids], work[ids]
            target, gain = _wishes(near, own, w, load, cap, draw)
            ease = load[own] / cap[own] - (load[target] + w) / cap[target]
            wish = (gain > 0) | ((gain == 0) & (ease > 0)) | (load[own] > cap[own])
            go = np.flatnonzero(wish & (target != own))
            go = go[np.lexsort((-gain[go], target[go]))]
            go = go[load[target[go]] + _before(w[go], target[go]) + w[go] <= cap[target[go]]]
            go = go[np.lexsort((-gain[go] / w[go], own[go]))]
            go = go[(gain[go] >= 0) | (_before(w[go], own[go]) < load[own[go]] - cap[own[go]])]
            label[ids[go]] = target[go]
            load += _loads(target[go], w[go], num) - _loads(own[go], w[go], num)
            moved += len(go)
        if moved <= len(work) // 500 and not (load > cap).any():
            break
    return label


def _wishes(
    near: Any, own: Labels, work: Floats, load: Floats, cap: Floats, draw: np.random.Generator
) -> tuple[Labels, Floats]:
    """Choose for each row of ``near``, edges to labels, the label with most edges that has room, and what it gains.

    A node above its label's cap that finds none chooses the lightest label. Equals are drawn.
    """
    row, to = np.repeat(np.arange(len(own)), np.diff(near.indptr)), near.indices
    here = to == own[row]
    home = np.zeros(len(own))
    home[row[here]] = near.data[here]
    room = ~here & (load[to] + work[row] <= cap[to])
    row, to, edges = row[room], to[room], near.data[room]
    score = edges + draw.random(len(edges)) / 2  # numbers of edges are whole
    best = np.full(len(own), -np.inf)
    np.maximum.at(best, row, score)
    chosen = score == best[row]
    target, gain = own.copy(), -home
    target[row[chosen]] = to[chosen]
    gain[row[chosen]] += edges[chosen]
    lightest = (load / cap).argmin()
    pushed = (target == own) & (load[own] > cap[own]) & (load[lightest] + work <= cap[lightest])
    target[pushed] = lightest
    return target, gain


def _clusters(graph: Any, work: Floats, cap: float, draw: np.random.Generator) -> Labels:
    """Cluster nodes up to a work of ``cap``; labels from 0 without gaps.

    Where few found a cluster with room (the leaves of a hub, nodes without edges), those left alone join each other if
    most of their edges lead to the same cluster.
    """
    n = len(work)
    label = _spread(graph, work, np.arange(n), np.full(n, cap), _SPREADS, draw)
    sizes = np.bincount(label, minlength=n)
    if np.count_nonzero(sizes) > 0.6 * n:
        alone = np.flatnonzero(sizes[label] == 1)
        rows = graph[alone]
        row = np.repeat(np.arange(len(alone)), np.diff(rows.indptr))
        most = np.zeros(len(alone))
        np.maximum.at(most, row, rows.data)
        chosen = rows.data == most[row]
        near = np.full(len(alone), n)  # without an edge
        np.minimum.at(near, row[chosen], label[rows.indices[chosen]])
        order = np.argsort(near, kind="stable")
        alone, near = alone[order], near[order]
        group = (_before(work[alone], near) // cap).astype(np.int64)
        _, first, which = np.unique(np.stack([near, group]), axis=1, return_index=True, return_inverse=True)
        label[alone] = alone[first[which]]
    _, label = np.unique(label, return_inverse=True)
    return label


def _bisect(graph: Any, work: Floats, parts: int, draw: np.random.Generator) -> Labels:
    """Cut a small graph in two and each side again, keeping the best of a few tries."""
    n, low = len(work), parts // 2
    if parts == 1 or n < 2:
        return np.zeros(n, np.int64)
    goal = work.sum() * np.array([low, parts - low]) / parts
    row = np.repeat(np.arange(n), np.diff(graph.indptr))
    tries = [_grow(graph, work, goal[0], int(start)) for start in draw.integers(n, size=_TRIES)]
    side = min(tries, key=lambda side: graph.data[side[row] != side[graph.indices]].sum())
    side = _spread(graph, work, side, (1 + SLACK) * goal, _REFINEMENTS, draw)
    part = np.empty(n, np.int64)
    for number, (count, first) in enumerate(((low, 0), (parts - low, low))):
        ids = np.flatnonzero(side == number)
        part[ids] = first + _bisect(graph[ids][:, ids], work[ids], count, draw)
    return part


def _grow(graph: Any, work: Floats, goal: float, start: int) -> Labels:
    """Grow side 0 from a node to a work of ``goal``, by the node that adds least to the cut; the others are side 1."""
    side, load = np.ones(len(work), np.int64), 0.0
    degree = graph.sum(axis=1)
    lowers = np.full(len(work), -np.inf)  # by how much a node that touches side 0 lowers the cut
    node = start
    while load + work[node] / 2 <= goal:
        side[node], load, lowers[node] = 0, load + work[node], -np.inf
        entries = slice(graph.indptr[node], graph.indptr[node + 1])
        ids, edges = graph.indices[entries], graph.data[entries]
        ids, edges = ids[side[ids] == 1], edges[side[ids] == 1]
        lowers[ids] = np.where(np.isinf(lowers[ids]), -degree[ids], lowers[ids]) + 2 * edges
        node = int(lowers.argmax())
        if np.isinf(lowers[node]):  # another component
            if side.all() or not side.any():
                break
            node = int(side.argmax())
    return side
