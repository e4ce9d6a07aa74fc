"""What stays a promise: functions of pending rows that need no row gathered.

- A product with one number an edge is a weight of `spmm`.
- A function of each row by itself (a slice, a linear map, an activation) is one of the table: N rows, not E.
- A product of both ends, summed over its channels, is `sddmm`.
- A linear map of rows that are concatenated is the sum of one for each part, those of the ends made on the tables.

Whatever a rule does not recognise, it leaves: it returns None, and the rows are gathered.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from gnnkit._accelerate._pairs import Joined, Pair, linear_of_joined
from gnnkit._accelerate._rows import RULES, Pending, Rows, materialised

_PLAIN = (Tensor, Parameter)


def rule(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Say that a function below tells what these functions of torch do with promises."""

    def register(tell: Callable[..., Any]) -> Callable[..., Any]:
        RULES.update(dict.fromkeys(functions, _of_known_arguments(tell)))
        return tell

    return register


def _of_known_arguments(tell: Callable[..., Any]) -> Callable[..., Any]:
    """Leave calls that spell their arguments another way, ``torch.relu(input=x_j)``."""
    signature = inspect.signature(tell)

    @functools.wraps(tell)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return tell(*args, **kwargs)
        except TypeError:
            try:
                signature.bind(*args, **kwargs)
            except TypeError:
                return None
            raise

    return told


# ------------------------------------------------------------------ products


@rule(torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__)
def _multiply(a: Any, b: Any, **other: Any) -> Any:
    if other:
        return None
    if isinstance(a, Rows) and isinstance(b, Rows):
        return _multiply_rows(a, b)
    rows, factor = (a, b) if isinstance(a, Rows) else (b, a)
    if not isinstance(rows, Rows) or not rows.is_pending:
        return None
    if type(factor) in (int, float):
        return on_table(rows, lambda table: table * factor)
    if type(factor) not in _PLAIN or factor.dtype != rows.dtype or factor.device != rows.device:
        return None
    weighted = _weighted(rows, factor)
    return _scaled_channels(rows, factor) if weighted is None else weighted


def _multiply_rows(a: Rows, b: Rows) -> Any:
    if a is b:
        return on_table(a, torch.square, multiplies=True)
    if Pair.fits(a, b):
        return Pair(a, b)
    for rows, factor in ((a, b), (b, a)):
        if rows.is_pending and factor.dim() and factor.shape[-1] == 1:
            return _weighted(rows, factor.materialise())
    return None


def _weighted(rows: Rows, factor: Tensor) -> Rows | None:
    """Multiply rows by one number an edge (and head), if that is what the factor is."""
    dims = rows.dim()
    if rows.end != "src" or rows.is_flat or dims not in (2, 3) or factor.dim() < 2 or factor.shape[-1] != 1:
        return None
    # [E, 1] for rows [E, D] and for each of B tables [B, E, D]; [E, 1, 1] or [E, H, 1] for rows [E, H, D]
    if factor.dim() != (2 if rows.batched else dims) or factor.shape[0] != rows.topology.adj.num_edges:
        return None
    if factor.dim() == 3 and factor.shape[1] not in (1, rows.shape[1]):
        return None
    weight = factor.squeeze(-1)
    weight = weight.squeeze(-1) if factor.dim() == 3 and factor.shape[1] == 1 else weight
    if rows.weight is not None:
        both = rows.weight, weight
        # [E] and [E, H]: one number an edge is one for each of its heads
        one, other = (w.unsqueeze(-1) if w.dim() < max(v.dim() for v in both) else w for w in both)
        weight = one * other
    return rows.like(rows.table, weight)


def _scaled_channels(rows: Rows, factor: Tensor) -> Rows | None:
    """Multiply every row by the same factors."""
    row = rows.table.shape[1:]
    if factor.dim() == len(row) + 1 and factor.shape[0] == 1:
        factor = factor.squeeze(0)
    if factor.dim() > len(row) or rows.batched or not _broadcasts(factor.shape, row):
        return None
    return on_table(rows, lambda table: table * factor, multiplies=True)


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


@rule(torch.sum, Tensor.sum)
def _sum(x: Any, dim: Any = None, keepdim: bool = False, **other: Any) -> Any:
    if other or not isinstance(x, Pending) or dim not in (-1, x.dim() - 1, (-1,), [-1]):
        return None
    if isinstance(x, Pair) and x.is_pending:
        scores = x.scores()
        return scores.unsqueeze(-1) if keepdim else scores
    if isinstance(x, Rows) and x.dim() > 1 + x.batched:
        return on_table(x, lambda table: table.sum(-1, keepdim=keepdim))
    return None


# ------------------------------------------------------------------ functions of each row by itself


def on_table(
    rows: Any, function: Callable[[Tensor], Tensor], multiplies: bool = False, is_view: bool = False
) -> Rows | None:
    """Compute a function of each row by itself once a node; ``multiplies`` as in `Rows.is_node_level`."""
    if not isinstance(rows, Rows) or not rows.is_node_level(multiplies):
        return None
    table = rows.own_table() if multiplies else rows.table
    try:
        mapped = function(table)
    except RuntimeError:  # torch says of gathered rows what is wrong, in numbers that the layer's author knows
        return None
    return rows.like(mapped, is_view=is_view)


@rule(torch.relu, Tensor.relu, F.relu)
def _relu(x: Any, inplace: bool = False) -> Any:
    return None if inplace else on_table(x, torch.relu)


@rule(F.leaky_relu)
def _leaky_relu(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return None if inplace else on_table(x, lambda table: F.leaky_relu(table, negative_slope), multiplies=True)


@rule(torch.sigmoid, Tensor.sigmoid)
def _sigmoid(x: Any) -> Any:
    return on_table(x, torch.sigmoid, multiplies=True)


@rule(torch.tanh, Tensor.tanh)
def _tanh(x: Any) -> Any:
    return on_table(x, torch.tanh, multiplies=True)


@rule(torch.div, Tensor.div, Tensor.__truediv__)
def _divide(x: Any, number: Any, **other: Any) -> Any:
    if other or not isinstance(x, Rows) or type(number) not in (int, float) or number == 0:
        return None
    return on_table(x, lambda table: table / number)


@rule(Tensor.__getitem__)
def _slice(x: Any, key: Any) -> Any:
    """``x[:, i]``, ``x[:, a:b]``: the edges stay."""
    if not isinstance(key, tuple) or not key or key[0] != slice(None):
        return None
    if not all(type(part) is int or isinstance(part, slice) for part in key[1:]):
        return None
    if isinstance(x, Rows):
        return on_table(x, lambda table: table[key], is_view=True)
    # of rows that are joined along the last dimension, in another one
    if isinstance(x, Joined) and x.is_pending and len(key) < x.dim():
        return x.sliced(key)
    return None


@rule(torch.flatten, Tensor.flatten)
def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if not isinstance(x, Rows) or start_dim != 1 or end_dim not in (-1, x.dim() - 1) or 0 in x.shape or x.dim() < 2:
        return None
    return _view(x, -1, x.shape[1:].numel())


@rule(Tensor.view, Tensor.reshape, torch.reshape)
def _view(x: Any, *shape: Any) -> Any:
    if not isinstance(x, Rows) or x.batched:
        return None
    shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    if not shape or not all(type(size) is int for size in shape) or any(size <= 0 for size in shape[1:]):
        return None
    num_edges = x.topology.adj.num_edges
    same = torch.Size(shape[1:]).numel() == x.table.shape[1:].numel()
    if not same or shape[0] not in (-1, num_edges) or num_edges == 0:
        return None
    if x.is_pending and x.weight is not None and x.dim() == 3 and len(shape) == 2:
        return x.flattened()
    return on_table(x, lambda table: table.reshape(len(table), *shape[1:]), is_view=True)


# ------------------------------------------------------------------ both ends, and linear maps


@rule(torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
def _add(a: Any, b: Any, **other: Any) -> Any:
    if other:
        return None
    rows, term = (a, b) if isinstance(a, Rows) else (b, a)
    if type(term) in (int, float) and isinstance(rows, Rows):
        return on_table(rows, lambda table: table + term)
    return _accumulated(rows, term, 1)


@rule(torch.sub, torch.subtract, Tensor.sub, Tensor.subtract, Tensor.__sub__)
def _subtract(a: Any, b: Any, **other: Any) -> Any:
    if other:
        return None
    if type(b) in (int, float) and isinstance(a, Rows):
        return on_table(a, lambda table: table - b)
    return _accumulated(a, b, -1)


def _accumulated(rows: Any, term: Any, sign: int) -> Tensor | None:
    """Add to rows where they are gathered: fresh memory costs more than the sum."""
    if not isinstance(rows, Rows) or not rows.is_pending or rows.weight is not None or rows.batched:
        return None
    if type(term) not in _PLAIN and not isinstance(term, Pending):
        return None
    if term.shape != rows.shape or term.dtype != rows.dtype:
        return None
    return rows.make().add_(materialised(term), alpha=sign)


@rule(torch.cat, torch.concat, torch.concatenate)
def _join(tensors: Any, dim: int = 0, **other: Any) -> Any:
    if other or not isinstance(tensors, tuple | list) or not Joined.fits(tensors, dim):
        return None
    return Joined(list(tensors))


@rule(F.linear)
def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    if type(weight) not in _PLAIN or (bias is not None and type(bias) not in _PLAIN):
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None  # one for every row is one for every edge
    if isinstance(x, Rows) and x.dim() > 1:
        return on_table(x, lambda table: F.linear(table, weight, bias), multiplies=True)
    if isinstance(x, Joined) and x.is_pending:
        return linear_of_joined(x, weight, bias)
    return None
