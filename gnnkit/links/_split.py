"""LinkSplit: which links train, validate and test, and the pairs that are none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gnnkit.links import _inputs
from gnnkit.links._graph import LinkGraph

_PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class LinkSplit:
    """The positive and negative pairs of a protocol; a model sees only the graph of the training pairs.

    What is stored is what was given, order and direction included; `graph` makes the simple symmetric graph of it.
    Negatives are either shared, ``[2, Q]``: every positive is compared with all of them, as Hits@K of OGB does; or
    each positive's own, ``[2, P, K]``, as for MRR and HeaRT.

    Attributes:
        train: ``[2, M]`` int64 training pairs.
        valid: ``[2, P]`` validation pairs.
        valid_neg: Their negatives.
        test: ``[2, P]`` test pairs.
        test_neg: Their negatives.
        num_nodes: Number of nodes.

    Raises:
        ValueError: A field is not of these shapes or has a node outside ``[0, num_nodes)``.

    Example:
        >>> import torch
        >>> from gnnkit.links import random_link_split
        >>> ring = torch.stack([torch.arange(20), (torch.arange(20) + 1) % 20])
        >>> split = random_link_split(ring, 20, seed=0)
        >>> split.sizes, split.valid_neg.shape[1], split.test_neg.shape[1]
        ((14, 2, 4), 4, 4)
        >>> split.graph().num_edges, split.graph(include_valid=True).num_edges
        (14, 16)
        >>> set(split.leaks().values())
        {0}
    """

    train: Tensor
    valid: Tensor
    valid_neg: Tensor
    test: Tensor
    test_neg: Tensor
    num_nodes: int

    def __post_init__(self) -> None:
        num_nodes = _inputs.size(self.num_nodes)
        for name in _PARTS:
            object.__setattr__(self, name, _inputs.pairs(name, getattr(self, name), num_nodes))
        for name, positives in (("valid_neg", self.valid), ("test_neg", self.test)):
            value = _inputs.negatives(name, getattr(self, name), num_nodes, positives.shape[1])
            object.__setattr__(self, name, value)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of training, validation and test pairs."""
        return self.train.shape[1], self.valid.shape[1], self.test.shape[1]

    def graph(self, *, include_valid: bool = False) -> LinkGraph:
        """Return the graph of the training pairs, with ``include_valid`` of the validation pairs too.

        The latter is what a protocol allows that lets validation edges carry messages at test, as ogbl-collab's does.
        """
        pairs = torch.cat([self.train, self.valid], dim=1) if include_valid else self.train
        return LinkGraph.from_edges(pairs, self.num_nodes)

    def leaks(self) -> dict[str, int]:
        """Count pairs, in either direction, that stand where they should not.

        `random_link_split` and `heart_split` give zeros. Published splits need not: a pair of ogbl-collab may be
        repeated in a later year, and HeaRT leaves test pairs among negatives of validation.

        Returns:
            ``valid in train``, ``test in train``, ``test in valid``; and ``valid_neg in …``, ``test_neg in …``: how
            many negatives are positives of a part.
        """
        graphs = {part: LinkGraph.from_edges(getattr(self, part), self.num_nodes) for part in _PARTS}
        checked = [("valid", ("train",)), ("test", ("train", "valid")), ("valid_neg", _PARTS), ("test_neg", _PARTS)]
        return {
            f"{name} in {part}": int((graphs[part].numbers(getattr(self, name).flatten(1)) >= 0).sum())
            for name, parts in checked
            for part in parts
        }

    def to(self, device: torch.device | str) -> LinkSplit:
        """Return the split on another device."""
        names = ("train", "valid", "valid_neg", "test", "test_neg")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def ogb_link_split(split_edge: dict[str, dict[str, Any]], num_nodes: int) -> LinkSplit:
    """Read OGB's official split of links, as `gnnkit.datasets.load` gives it in ``data.split_edge``.

    Two layouts are known: ``edge [P, 2]`` with ``edge_neg [Q, 2]``, whose negatives are shared (ogbl-ddi, ogbl-collab,
    ogbl-ppa, ogbl-vessel), and ``source_node``, ``target_node`` with ``target_node_neg [P, K]``, whose negatives
    replace the target of each positive (ogbl-citation2). Weights and years of edges are not read.

    Args:
        split_edge: By part, ``train``, ``valid`` and ``test``.
        num_nodes: Number of nodes.

    Raises:
        ValueError: Another layout, such as that of a knowledge graph.

    Example:
        >>> import torch
        >>> from gnnkit.links import ogb_link_split
        >>> one = {"edge": torch.tensor([[0, 1]]), "edge_neg": torch.tensor([[0, 2], [1, 2]])}
        >>> ogb_link_split({"train": one, "valid": one, "test": one}, num_nodes=3).test_neg.tolist()
        [[0, 1], [2, 2]]
    """
    if not isinstance(split_edge, dict) or not set(_PARTS) <= split_edge.keys():
        got = ", ".join(map(str, split_edge)) if isinstance(split_edge, dict) else type(split_edge).__name__
        raise ValueError(f"split_edge: expected a dict of {', '.join(_PARTS)} (got {got or 'an empty one'})")
    positives = {part: _positives(part, split_edge[part]) for part in _PARTS}
    negatives = {part: _negatives(part, split_edge[part], positives[part]) for part in ("valid", "test")}
    return LinkSplit(
        positives["train"], positives["valid"], negatives["valid"], positives["test"], negatives["test"], num_nodes
    )


def _positives(part: str, fields: dict[str, Any]) -> Tensor:
    if "edge" in fields:
        return torch.as_tensor(fields["edge"]).t()
    if {"source_node", "target_node"} <= fields.keys():
        return torch.stack([torch.as_tensor(fields["source_node"]), torch.as_tensor(fields["target_node"])])
    raise ValueError(f"{part}: expected edge, or source_node and target_node (got {', '.join(fields)})")


def _negatives(part: str, fields: dict[str, Any], positives: Tensor) -> Tensor:
    if "edge_neg" in fields:
        return torch.as_tensor(fields["edge_neg"]).t()
    if "target_node_neg" in fields:
        targets = torch.as_tensor(fields["target_node_neg"])  # [P, K]
        return torch.stack([positives[0].unsqueeze(1).expand_as(targets), targets])
    raise ValueError(f"{part}: expected edge_neg or target_node_neg (got {', '.join(fields)})")
