"""What learners are given: arrays, tensors or PyG's Data, checked and turned into one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.causal._data import CausalData
from gnnkit.causal._nodes import Nodes
from gnnkit.kernels import _check as inputs

TREATMENTS = ("binary", "continuous")


@dataclass(frozen=True)
class Observed:
    """Nodes with treatment and outcome, both ``[N]`` float32."""

    nodes: Nodes
    treatment: Tensor
    outcome: Tensor


def observed(x: Any, treatment: Any, outcome: Any, edge_index: Any, kind: str) -> Observed:
    """Check what ``fit`` was given; ``x`` may be a Data or CausalData that holds all of it."""
    if isinstance(x, Data | CausalData):
        if any(value is not None for value in (treatment, outcome, edge_index)):
            raise ValueError(f"expected a {type(x).__name__} alone, or X, T, Y and edge_index (got both)")
        treatment = getattr(x, "treatment", None)
        outcome = x.outcome if isinstance(x, CausalData) else x.y
    nodes = nodes_of(x, edge_index)
    t, y = (_column(name, value, nodes) for name, value in (("T", treatment), ("Y", outcome)))
    if kind not in TREATMENTS:
        raise ValueError(f"treatment: expected binary or continuous (got {kind!r})")
    if bool((t == t[0]).all()):
        raise ValueError(f"T: expected treatments that differ, or no effect can be told (got {float(t[0]):g} for all)")
    if kind == "binary" and not bool(((t == 0) | (t == 1)).all()):
        odd = float(t[(t != 0) & (t != 1)][0])
        raise ValueError(f"T: expected 0 and 1; for a dose set treatment='continuous' (got {odd:g})")
    return Observed(nodes, t, y)


def nodes_of(x: Any, edge_index: Any) -> Nodes:
    """Check features and edges; ``x`` may be a Data or CausalData with both."""
    if isinstance(x, Data | CausalData):
        if edge_index is not None:
            raise ValueError(f"expected a {type(x).__name__} alone, or X and edge_index (got both)")
        x, edge_index = x.x, x.edge_index
    if x is None or edge_index is None:
        missing = "X" if x is None else "edge_index"
        raise ValueError(f"{missing}: expected X [N, d] and edge_index [2, E], or a Data with both (got None)")
    features = _tensor("X", x).float()
    if features.dim() != 2 or 0 in features.shape:
        raise ValueError(f"X: expected [N, d] with at least a node and a feature (got shape {list(features.shape)})")
    _finite("X", features)
    edges = _tensor("edge_index", edge_index)
    if edges.dim() != 2 or len(edges) != 2 or edges.is_floating_point() or edges.is_complex():
        raise ValueError(f"edge_index: expected [2, E] whole numbers (got {inputs.describe(edges)})")
    edges = edges.to(features.device, torch.int64)
    try:
        inputs.ids("edge_index", edges, len(features))
    except ValueError as error:
        raise ValueError(f"{error}: X has {len(features)} nodes; expected the graph of the same nodes") from None
    return Nodes(features, edges)


def _column(name: str, value: Any, nodes: Nodes) -> Tensor:
    if value is None:
        raise ValueError(f"{name}: expected [N] numbers, one a node (got None)")
    column = _tensor(name, value).to(nodes.x.device, torch.float32)
    if column.shape not in ((len(nodes),), (len(nodes), 1)):
        raise ValueError(f"{name}: expected [{len(nodes)}], one a node of X (got shape {list(column.shape)})")
    column = column.reshape(len(nodes))
    _finite(name, column)
    return column


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_complex():
            raise ValueError(f"{name}: expected a dense tensor of real numbers (got {inputs.describe(value)})")
        return value.detach()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers (got {type(value).__name__} of {array.dtype})")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array))


def _finite(name: str, values: Tensor) -> None:
    rows = values.isfinite().reshape(len(values), -1).all(1)
    if not bool(rows.all()):
        row = int((~rows).nonzero()[0])
        raise ValueError(f"{name}: expected finite numbers, with gaps filled in before (got NaN or infinity at {row})")
