"""CausalData: a network whose nodes are treated or not, with what happened and, where simulated, the true effects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data


@dataclass(frozen=True, eq=False)
class CausalData:
    """Nodes of a graph with features, a treatment, an outcome and the effect that the treatment has on each of them.

    Attributes:
        x: ``[N, d]`` features.
        treatment: ``[N]``, 0 or 1.
        outcome: ``[N]``.
        edge_index: ``[2, E]``, both directions of every edge.
        effect: ``[N]``, what a node's own treatment adds to its outcome: the truth that estimators are judged by.
        propensity: ``[N]`` chances of being treated; None where the treatment is no draw.
        exposure: ``[N]``, how far a node's neighbours are treated; None where their treatment does nothing.
        spillover: What one unit of exposure adds to the outcome.
    """

    x: Tensor
    treatment: Tensor
    outcome: Tensor
    edge_index: Tensor
    effect: Tensor
    propensity: Tensor | None = None
    exposure: Tensor | None = None
    spillover: float = 0.0

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.x)

    @property
    def average_effect(self) -> float:
        """Mean of ``effect`` over the nodes."""
        return float(self.effect.mean())

    def to_pyg(self) -> Data:
        """Return the same as a `torch_geometric.data.Data`; ``y`` is the outcome."""
        optional = {"propensity": self.propensity, "exposure": self.exposure}
        return Data(
            x=self.x,
            edge_index=self.edge_index,
            y=self.outcome,
            treatment=self.treatment,
            effect=self.effect,
            num_nodes=self.num_nodes,
            **{name: value for name, value in optional.items() if value is not None},
        )


def standardised(columns: Tensor) -> Tensor:
    """Columns ``[N, d]`` of mean 0 and (unless they are constant) deviation 1."""
    return (columns - columns.mean(0)) / (columns.std(0, correction=0) + 1e-6)


def mean_of_neighbours(x: Tensor, edge_index: Tensor) -> Tensor:
    """``[N, d]``: the mean of the rows of each node's neighbours, 0 where it has none."""
    src, dst = edge_index
    degree = torch.bincount(dst, minlength=len(x)).clamp(min=1).to(x.dtype)
    return x.new_zeros(x.shape).index_add_(0, dst, x[src]) / degree.unsqueeze(1)
