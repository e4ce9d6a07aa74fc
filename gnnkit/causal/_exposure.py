"""Exposure: how far a node's neighbours are treated, and how far they would be expected to be."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils import coalesce, remove_self_loops

from gnnkit.causal._data import mean_of_neighbours

EXPOSURES = ("share", "any", "count")


def check_exposure(kind: str | None, *, optional: bool = True) -> None:
    """Require one of the kinds, or with ``optional`` None."""
    if kind not in EXPOSURES and not (optional and kind is None):
        raise ValueError(f"exposure: expected one of {', '.join(EXPOSURES)}{' or None' * optional} (got {kind!r})")


def exposure_of(treatment: Tensor, edge_index: Tensor, kind: str = "share") -> Tensor:
    """``[N]``: the share of each node's neighbours that are treated, whether ``"any"`` is, or their ``"count"``.

    A node is no neighbour of its own, and an edge that is given twice counts once.
    """
    edge_index = coalesce(remove_self_loops(edge_index)[0])
    if kind == "share":
        return mean_of_neighbours(treatment.unsqueeze(1), edge_index).squeeze(1)
    count = sum_of_neighbours(treatment, edge_index)
    return count if kind == "count" else (count > 0).to(treatment.dtype)


def expected_exposure(propensity: Tensor, edge_index: Tensor, kind: str) -> Tensor:
    """``[N]``: the mean of `exposure_of` where each node is treated independently with its propensity."""
    if kind != "any":
        return exposure_of(propensity, edge_index, kind)
    edge_index = coalesce(remove_self_loops(edge_index)[0])
    return 1 - sum_of_neighbours((1 - propensity).clamp(min=1e-12).log(), edge_index).exp()


def sum_of_neighbours(values: Tensor, edge_index: Tensor) -> Tensor:
    """``[N]``: the sum of ``values [N]`` of each node's neighbours."""
    src, dst = edge_index
    return torch.zeros_like(values).index_add_(0, dst, values[src])
