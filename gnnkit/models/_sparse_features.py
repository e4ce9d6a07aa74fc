"""Features that are mostly zeros, such as bags of words: their product with a matrix reads the others alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import _check, spmm

# columns and rows of features as a bipartite graph, by the tensor: the same features come in every batch
_GRAPHS: Any = WeakTensorKeyDictionary()


def is_sparse(x: object) -> bool:
    """Whether these are features in PyTorch's COO layout."""
    return isinstance(x, Tensor) and x.layout == torch.sparse_coo


def sparse_linear(x: Tensor, linear: nn.Linear, dropout: nn.Module) -> Tensor:
    """``linear(dropout(x))``, where a dropped zero is a zero; ``[N, out]``, O(entries · out) forward and backward."""
    graph, values = _graph(x), dropout(x.values())
    # [in, out]: a row for each column of x
    weight = linear.weight.T.contiguous()
    return spmm(graph.indptr, graph.indices, weight, values, transpose=graph.transpose) + linear.bias


def check_sparse_rows(x: Tensor, num_nodes: int, channels: int | None) -> None:
    """Require coalesced float32 or float64 rows, one a node, of a width."""
    if list(x.shape) != [num_nodes, channels]:
        raise ValueError(f"x: expected shape {[num_nodes, channels]} (got {list(x.shape)})")
    if x.dtype not in _check.FLOAT_DTYPES or not x.is_coalesced():
        raise ValueError(f"x: expected coalesced float32 or float64 features (got {_check.describe(x)})")


def _graph(x: Tensor) -> Adjacency:
    """Entry (i, k) as an edge from column k to row i, in the order of ``x.values()``."""
    if x not in _GRAPHS:
        row, column = x.indices()
        counts = torch.bincount(row, minlength=x.shape[0])
        _GRAPHS[x] = Adjacency.from_csr(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), column, x.shape[1])
    graph: Adjacency = _GRAPHS[x]
    return graph
