"""Metrics of link prediction by name, and the loss that is descended for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import logsigmoid

from gnnkit.links import hits_at, mrr
from gnnkit.train._metrics import Metric


def link_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Return - mean log sigmoid(positive) - mean log sigmoid(- negative), of scores of any shape."""
    return -logsigmoid(positive).mean() - logsigmoid(-negative).mean()


def link_metric(name: str) -> Metric:
    """Return a metric by name; its ``score(outputs, y)`` and ``loss`` take scores ``[P]`` and whether each is an edge.

    Raises:
        ValueError: The name is neither ``mrr`` nor ``hits@K`` with a whole number K >= 1.
    """
    _place(name)

    def score(outputs: Tensor, y: Tensor) -> float:
        return link_scores(outputs[y.bool()], outputs[~y.bool()], (name,))[name]

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return link_loss(outputs[y.bool()], outputs[~y.bool()])

    return Metric(score, higher_is_better=True, loss=loss)


def link_scores(positive: Tensor, negative: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Score edges against pairs that are none.

    Args:
        positive: ``[P]`` scores of edges.
        negative: ``[Q]`` scores that all edges share, or ``[P, K]`` of each edge's own.
        names: ``"hits@K"``, ``"mrr"``.

    Returns:
        Each metric; NaN where a score is not finite, which the next loss reports.
    """
    if not bool(positive.isfinite().all() & negative.isfinite().all()):
        return dict.fromkeys(names, math.nan)
    found = {}
    for name in names:
        place = _place(name)
        found[name] = mrr(positive, negative) if place is None else hits_at(positive, negative, place)
    return found


def _place(name: str) -> int | None:
    """K of ``hits@K``; None for ``mrr``."""
    if name == "mrr":
        return None
    number = name.removeprefix("hits@")
    if not name.startswith("hits@") or not number.isascii() or not number.isdigit() or int(number) < 1:
        raise ValueError(f"metric: expected mrr or hits@K with K >= 1 (got {name!r})")
    return int(number)
