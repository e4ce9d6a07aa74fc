"""Random splits of the edges of a graph: NCN's 70/10/20, and the one 85/5/10 of HeaRT."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.data import negative_edges
from gnnkit.kernels import _check
from gnnkit.links._graph import LinkGraph
from gnnkit.links._split import LinkSplit

_HEART_SEED = 0


def random_link_split(edges: Tensor, num_nodes: int, seed: int, *, valid: float = 0.1, test: float = 0.2) -> LinkSplit:
    """Split the undirected edges of a graph at random, by default 70/10/20 as NCN's protocol does in every run.

    Of M edges, ``⌊test M⌋`` test and as many are drawn again, of which ``⌊⌊test M⌋ valid / test⌋`` validate and the
    others go back to training: how 10 percent arises in the code of Wang, Yang and Zhang (arXiv 2302.00890). Negatives
    are distinct unordered pairs that are neither edges nor self-loops, uniform among all such, ``⌊test M⌋`` for
    validation, as were drawn for it, and as many for test: Hits@K of the two are among as many. They share none.

    Cost: O(M log M). The draw depends on the seed alone.

    Args:
        edges: ``[2, M]`` in any direction; treated as by `LinkGraph.from_edges`.
        num_nodes: Number of nodes.
        seed: Seed of the draw, in [0, 2^63).
        valid: Share of the edges that validate, at most ``test``.
        test: Share of the edges that test, below 0.5.

    Returns:
        Pairs with the smaller node first, sorted.

    Raises:
        ValueError: The shares leave a part without edges, or there are too few pairs that are no edges.

    Example:
        >>> import torch
        >>> from gnnkit.links import random_link_split
        >>> path = torch.stack([torch.arange(10), torch.arange(10) + 1])
        >>> split = random_link_split(path, 11, seed=1)
        >>> split.sizes, split.test_neg.shape
        ((7, 1, 2), torch.Size([2, 2]))
    """
    if not (isinstance(valid, float) and isinstance(test, float) and 0 < valid <= test < 0.5):
        raise ValueError(f"valid and test: expected shares 0 < valid <= test < 0.5 (got {valid!r} and {test!r})")
    graph = LinkGraph.from_edges(edges, num_nodes)
    num_test = int(test * graph.num_edges)
    return _split(graph, int(num_test * valid / test), num_test, num_test, seed)


def heart_split(edges: Tensor, num_nodes: int) -> LinkSplit:
    """Split the undirected edges of a graph 85/5/10, always alike: the protocol of HeaRT on Planetoid graphs.

    Of M edges ``⌊0.1 M⌋`` test and ``⌊0.05 M⌋`` validate (Li et al., "Evaluating Graph Neural Networks for Link
    Prediction: Current Pitfalls and New Benchmarking", NeurIPS 2023). The authors drew theirs once without a seed and
    distribute the files; this one is drawn by a constant seed, so it has their sizes and not their pairs. To use
    theirs, read them into a `LinkSplit`. The negatives are random ones, as many as there are positives.

    Args:
        edges: ``[2, M]`` in any direction; treated as by `LinkGraph.from_edges`.
        num_nodes: Number of nodes.

    Raises:
        ValueError: There are fewer than 20 edges, or too few pairs that are no edges.

    Example:
        >>> import torch
        >>> from gnnkit.links import heart_split
        >>> path = torch.stack([torch.arange(40), torch.arange(40) + 1])
        >>> heart_split(path, 41).sizes
        (34, 2, 4)
    """
    graph = LinkGraph.from_edges(edges, num_nodes)
    num_valid, num_test = graph.num_edges // 20, graph.num_edges // 10
    return _split(graph, num_valid, num_test, num_valid, _HEART_SEED)


def _split(graph: LinkGraph, num_valid: int, num_test: int, num_valid_neg: int, seed: int) -> LinkSplit:
    """Draw test and validation edges, and negatives: for test as many as edges."""
    _check.count("seed", seed)
    num_edges, held = graph.num_edges, num_test + num_valid
    if not (num_valid and num_test and held < num_edges):
        got = f"{num_edges - held}, {num_valid} and {num_test} of {num_edges}"
        raise ValueError(f"edges: expected some for training, validation and test (got {got})")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_edges, generator=generator).to(graph.edges.device)
    test, valid, train = (graph.edges[:, part.sort().values] for part in order.tensor_split([num_test, held]))
    negatives = _non_edges(graph, num_valid_neg + num_test, generator)
    valid_neg, test_neg = negatives.tensor_split([num_valid_neg], dim=1)
    return LinkSplit(train, valid, valid_neg, test, test_neg, graph.num_nodes)


def _non_edges(graph: LinkGraph, num: int, generator: torch.Generator) -> Tensor:
    """``[2, num]`` distinct pairs, the smaller node first, that are no edges; uniform, in random order."""
    size = graph.num_nodes
    free = size * (size - 1) // 2 - graph.num_edges
    if num > free:
        raise ValueError(f"edges: expected at least {num} pairs of nodes that are no edges (got {free})")
    if 2 * num > free:  # so few pairs, beside the edges, that all can be listed
        every = torch.triu_indices(size, size, 1, device=graph.edges.device)
        found = every[:, graph.numbers(every) < 0]
        found = found[0] * size + found[1]
    else:
        found = torch.empty(0, dtype=torch.int64, device=graph.edges.device)
        while len(found) < num:
            seed = int(torch.randint(2**62, (), generator=generator))
            low, high = negative_edges(graph.adj, num, seed=seed).sort(dim=0).values
            found = torch.cat([found, low * size + high]).unique()  # type: ignore[no-untyped-call]
    chosen = found[torch.randperm(len(found), generator=generator)[:num].to(found.device)]
    return torch.stack([chosen // size, chosen % size])
