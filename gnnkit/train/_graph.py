"""Graph classification and regression in mini-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.data import Split
from gnnkit.train._config import require
from gnnkit.train._metrics import metric_named

_SCORED_AT_ONCE = 256  # graphs; no gradients are kept, so a batch may be larger than in training


class GraphPrediction:
    """The task of predicting ``y`` of each graph, trained in mini-batches that are drawn anew every epoch.

    A model is called as ``model(x, edge_index, edge_attr=…, batch=…, batch_size=…)``, where ``batch`` [N] holds
    each node's graph among ``batch_size``, and returns ``[batch_size, C]``. The order of the training graphs is
    drawn from torch's global generator, which a checkpoint of `fit` holds. Batches differ in size by one graph at
    the most, so that none is left with a graph alone.

    Cost: every graph is copied into a batch once an epoch; the batches for scoring are made once and kept.

    Args:
        graphs: PyG ``Data`` objects, or a PyG dataset. ``y`` is an int64 class, or one row ``[1, T]`` of yes/no
            (NaN: unknown) or of values; a value alone counts as T = 1.
        split: Numbers of the graphs to train on, validate on and test on.
        metric: A key of `METRICS`.
        batch_size: Graphs of a training step, at the most.
        evaluator: ``evaluator(y_true, y_pred)`` in place of the metric's own formula.
        device: Where batches go.

    Raises:
        ValueError: A graph lacks ``x`` or ``y``, features are not finite, a number of the split lies outside the
            dataset, the batch size is no number >= 1, or the metric is unknown.

    Example:
        >>> import torch
        >>> from gnnkit.data import Split
        >>> from gnnkit.train import GraphPrediction
        >>> from torch_geometric.data import Data
        >>> edges = torch.tensor([[0, 1], [1, 0]])
        >>> graphs = [Data(x=torch.full((2, 1), float(k)), edge_index=edges, y=torch.tensor([k % 2])) for k in range(6)]
        >>> split = Split(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4, 5]))
        >>> def model(x, edge_index, edge_attr, batch, batch_size):
        ...     return torch.stack([torch.zeros(batch_size), torch.ones(batch_size)], dim=1)  # always class 1
        >>> GraphPrediction(graphs, split).scores(model)["test"]
        0.5
    """

    def __init__(
        self,
        graphs: Sequence[Any],
        split: Split,
        metric: str = "accuracy",
        *,
        batch_size: int = 32,
        evaluator: Callable[[Tensor, Tensor], float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        require("batch_size", batch_size, low=1, high=1e9)
        self.metric = metric_named(metric, evaluator)
        self.graphs = [graphs[index] for index in range(len(graphs))]
        self.split, self.batch_size, self.device = split, batch_size, device
        ids = torch.cat([split.train, split.valid, split.test])
        if int(ids.min()) < 0 or int(ids.max()) >= len(self.graphs):
            got = f"{int(ids.min())} to {int(ids.max())}"
            raise ValueError(f"split: expected numbers of graphs in [0, {len(self.graphs)}) (got {got})")
        for index in ids.tolist():
            _check_graph(index, self.graphs[index])

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield the loss of each mini-batch of the training graphs in a new random order."""
        train = self.split.train.cpu()
        order = train[torch.randperm(train.numel())]
        for ids in order.tensor_split(-(-order.numel() // self.batch_size)):
            batch = self._batch(ids)
            yield self.metric.loss(_outputs(model, batch), _targets(batch))

    def scores(self, model: nn.Module) -> dict[str, float]:
        """Return the metric on the three parts and the validation loss."""
        result = {}
        for name, batches in self._scored.items():
            outputs = torch.cat([_outputs(model, batch) for batch in batches])
            y = torch.cat([_targets(batch) for batch in batches])
            result[name] = self.metric.score(outputs, y)
            if name == "valid":
                result["valid_loss"] = float(self.metric.loss(outputs, y))
        return result

    @cached_property
    def _scored(self) -> dict[str, list[Any]]:
        parts = {"train": self.split.train, "valid": self.split.valid, "test": self.split.test}
        return {
            name: [self._batch(ids[first : first + _SCORED_AT_ONCE]) for first in range(0, len(ids), _SCORED_AT_ONCE)]
            for name, ids in parts.items()
        }

    def _batch(self, ids: Tensor) -> Any:
        from torch_geometric.data import Batch

        return Batch.from_data_list([self.graphs[index] for index in ids.tolist()]).to(self.device)


def _outputs(model: nn.Module, batch: Any) -> Tensor:
    outputs: Tensor = model(
        batch.x,
        batch.edge_index,
        edge_attr=batch.get("edge_attr"),
        batch=batch.batch,
        batch_size=batch.num_graphs,
    )  # [B, C]
    return outputs


def _targets(batch: Any) -> Tensor:
    y: Tensor = batch.y
    if y.dim() == 1 and y.dtype == torch.int64:
        return y  # [B] classes
    return y.reshape(batch.num_graphs, -1).float()  # [B, T]


def _check_graph(index: int, graph: Any) -> None:
    x, y = graph.get("x"), graph.get("y")
    if not isinstance(x, Tensor) or x.dim() != 2:
        raise ValueError(f"graph {index}: expected features x [N, D] (got {_shape(x)})")
    if not bool(x.isfinite().all()):
        raise ValueError(f"graph {index}: expected finite features (got {int((~x.isfinite()).sum())} NaN or infinite)")
    if not isinstance(y, Tensor) or y.dim() > 2 or (y.dim() == 2 and len(y) != 1):
        raise ValueError(f"graph {index}: expected a class y [1] or targets y [1, T] (got {_shape(y)})")
    if y.dtype == torch.int64 and y.dim() == 1 and (y.numel() != 1 or int(y) < 0):
        raise ValueError(f"graph {index}: expected one class >= 0 (got {y.tolist()})")


def _shape(value: object) -> str:
    return f"{value.dtype} of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
