"""Protocols of link prediction on graphs whose own task is another: ``cora:link``, ``cora:heart``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gnnkit import links
from gnnkit.datasets._card import Card
from gnnkit.datasets._root import cache_dir

_WITH_FEATURES = ("cora", "citeseer", "pubmed")  # HeaRT ranks by features here and nowhere else


@dataclass(frozen=True)
class _Protocol:
    """What a protocol says beside the dataset's own card.

    Attributes:
        metric: Its metric.
        splits: In words.
        source: Where it comes from.
        split: ``split(data, seed)``.
    """

    metric: str
    splits: str
    source: str
    split: Callable[[Any, int], links.LinkSplit]


def _random(data: Any, seed: int) -> links.LinkSplit:
    return links.random_link_split(data.edge_index, data.num_nodes, seed)


def _hard(data: Any, seed: int) -> links.LinkSplit:
    """The same for every seed."""
    x = data.x if data.card.name.partition(":")[0] in _WITH_FEATURES else None
    split = links.heart_split(data.edge_index, data.num_nodes)
    eps = 1e-7 if data.num_nodes < 5_000 else 1e-5  # the authors': of cora and citeseer, and of pubmed
    return links.with_heart_negatives(split, x, eps=eps, cache=cache_dir() / "heart")


PROTOCOLS = {
    "link": _Protocol(
        "hits@100",
        "a seed draws 70 / 10 / 20 % of the undirected edges; as many pairs without one as test has rank either part",
        "Wang et al. 2024 (NCN)",
        _random,
    ),
    "heart": _Protocol(
        "mrr",
        "85 / 5 / 10 % of the undirected edges, the same for every seed; each is ranked among 500 hard pairs",
        "Li et al. 2023 (HeaRT)",
        _hard,
    ),
}


def with_protocol(facts: Card, protocol: str) -> Card:
    """Return a dataset's card under a protocol of link prediction.

    Raises:
        ValueError: No protocol has this name, or the dataset is not one graph with nodes of one type.
    """
    name = f"{facts.name}:{protocol}"
    if protocol not in PROTOCOLS:
        expected = " or ".join(f"{facts.name}:{each}" for each in PROTOCOLS)
        raise ValueError(f"dataset: expected {expected} (got {name!r})")
    if facts.task != "node_classification" or facts.node_type is not None:
        raise ValueError(f"dataset: expected one graph with classes of its nodes for {name} (got {facts.task})")
    said = PROTOCOLS[protocol]
    return replace(
        facts,
        name=name,
        title=f"{facts.title}, links",
        task="link_prediction",
        metric=said.metric,
        num_classes=0,
        num_tasks=None,
        splits=said.splits,
        split=said.split,
        source=f"{facts.source}; protocol: {said.source}",
        evaluator=None,
    )
