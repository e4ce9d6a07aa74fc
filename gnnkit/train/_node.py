"""Node classification on one whole graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.data import Split
from gnnkit.train._metrics import Metric, metric_named


class NodeClassification:
    """The task of predicting ``data.y`` from ``model(data.x, data.edge_index)``, trained full-graph.

    Args:
        data: A PyG ``Data`` with ``x [N, D]``, ``edge_index [2, E]`` and ``y [N]`` int64.
        split: Node ids to train on, validate on and test on.
        metric: A key of `METRICS`.
        evaluator: ``evaluator(y_true, y_pred)`` in place of the metric's own formula.

    Raises:
        ValueError: ``x`` or ``y`` do not fit, features are not finite, an id of the split lies outside the
            graph, or the metric is unknown.
    """

    def __init__(
        self,
        data: Any,
        split: Split,
        metric: str = "accuracy",
        *,
        evaluator: Callable[[Tensor, Tensor], float] | None = None,
    ) -> None:
        x, y = data.x, data.y
        if not isinstance(x, Tensor) or x.layout != torch.strided or x.dim() != 2 or not x.is_floating_point():
            raise ValueError(f"data.x: expected a dense floating-point tensor [N, D] (got {_shape(x)})")
        if not isinstance(y, Tensor) or y.dim() != 1 or y.dtype != torch.int64 or len(y) != len(x):
            raise ValueError(f"data.y: expected an int64 class for each of {len(x)} nodes (got {_shape(y)})")
        if not bool(x.isfinite().all()):
            raise ValueError(f"data.x: expected finite features (got {int((~x.isfinite()).sum())} NaN or infinite)")
        ids = torch.cat([split.train, split.valid, split.test])
        if int(ids.min()) < 0 or int(ids.max()) >= len(x):
            raise ValueError(f"split: expected node ids in [0, {len(x)}) (got {int(ids.min())} to {int(ids.max())})")
        if int(y[ids].min()) < 0:
            raise ValueError(f"data.y: expected classes >= 0 on the split (got {int(y[ids].min())})")
        self.data, self.split, self.metric = data, split, metric_named(metric, evaluator)

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield one loss, on all training nodes."""
        logits = model(self.data.x, self.data.edge_index)  # [N, C]
        yield self.metric.loss(logits[self.split.train], self.data.y[self.split.train])

    def scores(self, model: nn.Module) -> dict[str, float]:
        """Return the metric on the three parts and the validation loss, from one forward pass."""
        return node_scores(model(self.data.x, self.data.edge_index), self.data.y, self.split, self.metric)


def node_scores(logits: Tensor, y: Tensor, split: Split, metric: Metric) -> dict[str, float]:
    """Return the metric on ``train``, ``valid`` and ``test``, and ``valid_loss``: ``logits [N, C]``, ``y [N]``."""
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    result = {name: metric.score(logits[ids], y[ids]) for name, ids in parts.items()}
    result["valid_loss"] = float(metric.loss(logits[split.valid], y[split.valid]))
    return result


def _shape(value: object) -> str:
    return f"{value.dtype} of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
