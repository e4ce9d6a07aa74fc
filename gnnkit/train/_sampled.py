"""Node classification in mini-batches of sampled neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from gnnkit.adjacency import Adjacency
from gnnkit.data import Split
from gnnkit.train._config import require
from gnnkit.train._layerwise import layerwise
from gnnkit.train._metrics import metric_named
from gnnkit.train._node import node_scores

if TYPE_CHECKING:
    from gnnkit.data import FeatureStore


class SampledNodeClassification:
    """The task of predicting the class of each node from samples of its neighbourhood, features read from a store.

    A training step sees some training nodes, sampled neighbours of them, of those, and so on; the model is called as
    ``model(x, edge_index)`` on that piece, and the loss is of the training nodes alone. Scores are of the whole graph
    with all neighbours, computed layer by layer (`layerwise`), so ``model.steps()`` has to say what its layers are.
    Which nodes and neighbours are drawn depends on torch's global generator alone, which a checkpoint of `fit` holds:
    not on the number of threads. Steps differ in size by one training node at the most.

    Args:
        features: A store [N, D] of floating-point rows; where it announces batches ahead (`Cached`), the loader does.
        adj: The graph, on the CPU.
        y: ``[N]`` int64 classes.
        split: Node ids to train on, validate on and test on.
        metric: A key of `METRICS`.
        fanout: Neighbours a node, nearest hop first; -1 for all.
        batch_size: Training nodes of a step, at the most.
        evaluator: ``evaluator(y_true, y_pred)`` in place of the metric's own formula.
        device: Where steps are computed, and on a GPU also sampled.
        num_workers: Sampling threads.
        prefetch: Steps made ahead, a thread.
        window: Steps ahead that a store which announces is told of.
        scored: The store that scoring reads, once through; None for ``features``. A cache's backing store spares the
            cache rows that no training step asks for.
        scratch: Folder for the states between layers while scoring; None for memory.

    Raises:
        ValueError: The arguments do not fit each other, or an id of the split lies outside the graph.
    """

    def __init__(
        self,
        features: FeatureStore,
        adj: Adjacency,
        y: Tensor,
        split: Split,
        metric: str = "accuracy",
        *,
        fanout: Sequence[int] = (15, 10),
        batch_size: int = 1024,
        evaluator: Callable[[Tensor, Tensor], float] | None = None,
        device: torch.device | str = "cpu",
        num_workers: int = 1,
        prefetch: int = 2,
        window: int = 8,
        scored: FeatureStore | None = None,
        scratch: Path | None = None,
    ) -> None:
        from gnnkit.data import NeighborLoader, NeighborSampler, as_pyg  # and PyG with them

        num_nodes = adj.num_dst
        if len(features.shape) != 2 or features.shape[0] != num_nodes or not features.dtype.is_floating_point:
            got = f"{features.dtype} of shape {list(features.shape)}"
            raise ValueError(f"features: expected floating-point rows [{num_nodes}, D] (got {got})")
        if y.dim() != 1 or y.dtype != torch.int64 or len(y) != num_nodes:
            got = f"{y.dtype} of shape {list(y.shape)}"
            raise ValueError(f"y: expected an int64 class for each of {num_nodes} nodes (got {got})")
        ids = torch.cat([split.train, split.valid, split.test])
        if int(ids.min()) < 0 or int(ids.max()) >= num_nodes:
            raise ValueError(f"split: expected node ids in [0, {num_nodes}) (got {int(ids.min())} to {int(ids.max())})")
        if int(y[ids].min()) < 0:
            raise ValueError(f"y: expected classes >= 0 on the split (got {int(y[ids].min())})")
        require("batch_size", batch_size, low=1, high=1e9)
        self.adj, self.y, self.split, self.device = adj, y, split, torch.device(device)
        self.metric = metric_named(metric, evaluator)
        self._scored, self._scratch = features if scored is None else scored, scratch
        num_steps = -(-split.train.numel() // batch_size)
        graph = as_pyg(features, adj)
        # where a GPU trains it also samples, and asks for the rows: it can read pinned ones by itself
        sampler = NeighborSampler(graph, list(fanout), device=None if self.device.type == "cpu" else self.device)
        self.loader = NeighborLoader(
            graph,
            list(fanout),
            input_nodes=split.train,
            neighbor_sampler=sampler,
            batch_sampler=_EvenSteps(split.train.numel(), num_steps),
            num_workers=num_workers,
            prefetch=prefetch,
            window=window,
        )

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield the loss of each step of an epoch, training nodes in a new random order."""
        for batch in self.loader:
            batch = batch.to(self.device)
            logits = model(batch.x, batch.edge_index)[: batch.batch_size]  # [B, C]
            yield self.metric.loss(logits, self.y[batch.n_id[: batch.batch_size].cpu()].to(self.device))

    def scores(self, model: nn.Module) -> dict[str, float]:
        """Return the metric on the three parts and the validation loss, of the whole graph without sampling."""
        stepwise: Any = model
        logits = layerwise(stepwise, self._scored, self.adj, device=self.device, scratch=self._scratch)  # [N, C]
        return node_scores(logits, self.y, self.split, self.metric)


class _EvenSteps:
    """Positions in a new random order every epoch, cut into steps; a last step of what is left could be one node."""

    def __init__(self, num_inputs: int, num_steps: int) -> None:
        self._order, self._num_steps = RandomSampler(range(num_inputs)), num_steps

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in torch.tensor(list(self._order)).tensor_split(self._num_steps):
            yield step.tolist()
