"""Link prediction on one graph: batches of edges that are hidden while they are learnt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.data import negative_edges
from gnnkit.links import LinkGraph, LinkSplit
from gnnkit.train._config import require
from gnnkit.train._link_scores import link_loss, link_metric, link_scores


class LinkPrediction:
    """The task of telling edges from pairs that are none, with a model of an encoder and a predictor.

    Each step takes a batch of training edges and as many pairs without an edge, and descends

        - mean log sigmoid(s of edges) - mean log sigmoid(- s of the others).

    The batch's edges are hidden from the encoder and from the predictor while they are scored, in both directions
    (``mask_targets``): a model that sees the edge learns to read it off. Negatives are drawn anew each epoch. The last
    batch is left out where it is not full, as in the authors' code of NCN (Wang et al., *Neural Common Neighbor with
    Completion for Link Prediction*, 2024), unless it is the only one.

    A model has ``encode(x, adj, keep=…) -> h [N, D]`` and ``score(h, adj, pairs, keep=…) -> [P]``, as
    `gnnkit.models.LinkPredictor`; ``keep [E]`` says which entries of ``adj`` exist. Where it has a ``begin_epoch(x,
    graph)``, as `ReweightedLinkPredictor`, that is called before each epoch.

    Scoring takes the whole training graph; ``train`` is the metric on at most as many training edges as validate,
    which the graph holds.

    Args:
        x: ``[N, F]`` features, or ``[N]`` rows of the encoder's table, or None for one a node.
        split: Edges and negatives; the graph is made of its training edges.
        metric: ``"hits@K"`` or ``"mrr"``.
        also: Further metrics, scored as ``valid_<name>`` and ``test_<name>``.
        batch_size: Training edges of a step.
        eval_batch_size: Pairs scored at once.
        mask_targets: Whether a batch's edges are hidden.
        valid_as_input: Whether the graph holds the validation edges when test pairs are scored (ogbl-collab).

    Raises:
        ValueError: ``x`` has not a row of finite features for each node, a part of the split is empty, a size is below
            1, or a metric is unknown or does not fit the negatives of the split.
    """

    def __init__(
        self,
        x: Tensor | None,
        split: LinkSplit,
        metric: str = "hits@100",
        *,
        also: tuple[str, ...] = (),
        batch_size: int = 1024,
        eval_batch_size: int = 8192,
        mask_targets: bool = True,
        valid_as_input: bool = False,
    ) -> None:
        require("batch_size", batch_size, low=1, high=1e9)
        require("eval_batch_size", eval_batch_size, low=1, high=1e9)
        if x is not None and len(x) != split.num_nodes:
            raise ValueError(f"x: expected a row for each of {split.num_nodes} nodes (got {len(x)})")
        if x is not None and x.is_floating_point():
            entries = x.values() if x.is_sparse else x
            if not bool(entries.isfinite().all()):
                broken = int((~entries.isfinite()).sum())
                raise ValueError(f"x: expected finite features (got {broken} NaN or infinite)")
        if not (min(split.sizes) and split.valid_neg.numel() and split.test_neg.numel()):
            got = f"{split.sizes} edges, {split.valid_neg.numel() // 2} and {split.test_neg.numel() // 2} negatives"
            raise ValueError(f"split: expected edges in all three parts, and negatives of two (got {got})")
        self.x, self.split, self.metric, self.names = x, split, link_metric(metric), (metric, *also)
        self.name, self.batch_size, self.eval_batch_size = metric, batch_size, eval_batch_size
        for name in also:
            link_metric(name)
        if "mrr" in self.names and not split.valid_neg.dim() == split.test_neg.dim() == 3:
            raise ValueError("mrr: expected negatives of each edge's own (got those that all edges share)")
        self.mask_targets = mask_targets
        self.graph = self.test_graph = split.graph()
        if valid_as_input:
            self.test_graph = split.graph(include_valid=True)

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield the loss of each batch of training edges in a new random order."""
        net: Any = model
        graph, count = self.graph, self.graph.num_edges
        if hasattr(net, "begin_epoch"):
            net.begin_epoch(self.x, graph)
        seed = int(torch.randint(2**63 - 1, ()))
        negatives = negative_edges(graph.adj, count, seed=seed, undirected=True)  # [2, M]
        order = torch.randperm(count).to(graph.edges.device)
        size = min(self.batch_size, count)
        for low in range(0, count - size + 1, size):
            numbers = order[low : low + size]
            keep = graph.keep(numbers) if self.mask_targets else None  # [E]
            pairs = torch.cat([graph.edges[:, numbers], negatives[:, numbers]], dim=1)  # [2, 2 B]
            scores = net.score(self._encode(net, graph, keep), graph.adj, pairs, keep=keep)
            yield link_loss(scores[:size], scores[size:])

    def _encode(self, model: Any, graph: LinkGraph, keep: Tensor | None = None) -> Tensor:
        h: Tensor = model.encode(self.x, graph.adj, keep=keep)
        return h

    def scores(self, model: nn.Module) -> dict[str, float]:
        """Return the metrics on the three parts and the validation loss."""
        split, graph = self.split, self.graph
        h = self._encode(model, graph)
        row, valid_neg = self._validate(model, h)
        step = -(-graph.num_edges // split.sizes[1])
        train = self._score(model, h, graph, graph.edges[:, ::step])  # at most as many as validate
        negatives = valid_neg if valid_neg.dim() == 1 else valid_neg[: len(train)]
        row["train"] = link_scores(train, negatives, (self.name,))[self.name]
        if self.test_graph is not graph:
            graph = self.test_graph
            h = self._encode(model, graph)
        test, test_neg = self._score(model, h, graph, split.test), self._score(model, h, graph, split.test_neg)
        found = link_scores(test, test_neg, self.names)
        row["test"] = found[self.name]
        return row | {f"test_{name}": found[name] for name in self.names[1:]}

    def validation_scores(self, model: nn.Module) -> dict[str, float]:
        """Return those of `scores` that are of validation: all that `fit` chooses an epoch by, at less cost."""
        return self._validate(model, self._encode(model, self.graph))[0]

    def _validate(self, model: Any, h: Tensor) -> tuple[dict[str, float], Tensor]:
        """The metrics of validation and its loss, and the scores of its negatives."""
        split, graph = self.split, self.graph
        valid, valid_neg = self._score(model, h, graph, split.valid), self._score(model, h, graph, split.valid_neg)
        found = link_scores(valid, valid_neg, self.names)
        row = {"valid": found[self.name], "valid_loss": float(link_loss(valid, valid_neg))}
        return row | {f"valid_{name}": found[name] for name in self.names[1:]}, valid_neg

    def _score(self, model: Any, h: Tensor, graph: LinkGraph, pairs: Tensor) -> Tensor:
        """Score pairs ``[2, P]`` or ``[2, P, K]`` block by block."""
        flat = pairs.reshape(2, -1).to(h.device)
        blocks = torch.split(flat, self.eval_batch_size, dim=1)
        scores = torch.cat([model.score(h, graph.adj, block) for block in blocks])
        return scores.view(pairs.shape[1:])
