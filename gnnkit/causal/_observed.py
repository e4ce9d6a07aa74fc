"""What learners are given: arrays, tensors or PyG's Data, checked and turned into one form."""

from __future__ import annotations

import contextlib
import warnings
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
        if getattr(x, "edge_weight", None) is not None:
            warnings.warn("edge_weight: edges count alike here, weights are not used", stacklevel=4)
        x, edge_index = x.x, x.edge_index
    if x is None or edge_index is None:
        missing = "X" if x is None else "edge_index"
        raise ValueError(f"{missing}: expected X [N, d] and edge_index [2, E], or a Data with both (got None)")
    features = _tensor("X", x).float()
    if features.dim() != 2 or 0 in features.shape:
        raise ValueError(f"X: expected [N, d] with at least a node and a feature (got shape {list(features.shape)})")
    _finite("X", features)
    _rounding("X", features)
    edges = _tensor("edge_index", edge_index)
    if not edges.numel():
        edges = edges.long()  # an empty list has no whole numbers
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
    _rounding(name, column.unsqueeze(1))
    return column


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_complex():
            raise ValueError(f"{name}: expected a dense tensor of real numbers (got {inputs.describe(value)})")
        return value.detach()
    array = np.asarray(value)
    if array.dtype == object:  # a table's columns of several types
        with contextlib.suppress(TypeError, ValueError):  # named below
            array = np.asarray(value, dtype=np.float64)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers (got {type(value).__name__} of {array.dtype})")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _rounding(name: str, columns: Tensor) -> None:
    """Warn where 32 bits keep less than three digits of how a column ``[N, d]`` varies."""
    low, high = columns.aminmax(dim=0)
    deviation = columns.std(0, correction=0)
    coarse = (torch.maximum(low.abs(), high.abs()) * 2**-24 > 1e-3 * deviation) & (high > low)
    if bool(coarse.any()):
        column = int(coarse.nonzero()[0])
        where, got = f" of column {column}" * (columns.shape[1] > 1), f"{low[column]:g} to {high[column]:g}"
        warnings.warn(
            f"{name}: expected numbers whose deviation is more than 1/16,000 of their size, for they are computed with "
            f"in 32 bits: subtract their mean first (got {got}{where})",
            stacklevel=5,
        )


def _finite(name: str, values: Tensor) -> None:
    rows = values.isfinite().reshape(len(values), -1).all(1)
    if not bool(rows.all()):
        row = int((~rows).nonzero()[0])
        raise ValueError(f"{name}: expected finite numbers, with gaps filled in before (got NaN or infinity at {row})")
