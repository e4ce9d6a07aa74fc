"""Promises that are made of several: the product of both ends of an edge, and rows side by side."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from gnnkit._accelerate._rows import Pending, Rows, materialised, version
from gnnkit.kernels import sddmm

# a product with fewer channels costs less at every edge than the gathering of its result
NARROW = 16


class Pair(Pending):
    """``a[one end of each edge] * b[the other]``; summed over its channels it is an `sddmm`."""

    dst: Rows
    src: Rows

    @staticmethod
    def __new__(cls, a: Rows, b: Rows) -> Pair:
        self: Pair = cls._promise(tuple(a.shape), a, a.topology, a.family)
        # promises of their own: what is done to a and b later is no concern of their product
        a, b = a.like(a.table), b.like(b.table)
        self.dst, self.src = (a, b) if a.end == "dst" else (b, a)
        return self

    @staticmethod
    def fits(a: Rows, b: Rows) -> bool:
        """Whether these are the two ends of the same edges, row beside row."""
        alike = a.shape == b.shape and a.dtype == b.dtype and a.topology is b.topology
        plain = all(r.is_pending and r.weight is None and not r.batched for r in (a, b))
        return alike and plain and a.end != b.end and a.dim() in (2, 3)

    @property
    def tracked(self) -> bool:
        """Whether what it is made of requires gradients."""
        return self.dst.tracked or self.src.tracked

    def make(self) -> Tensor:
        """Return the elements in memory that nobody else holds."""
        return self.dst.materialise() * self.src.materialise()

    def scores(self) -> Tensor:
        """Return the sum over the last dimension, ``[E]`` or ``[E, H]`` in the original edge order."""
        adj = self.topology.adj
        transpose = adj.transpose if torch.is_grad_enabled() and self.tracked else None
        a, b = self.dst.own_table(), self.src.own_table()
        return adj.to_edge_order(sddmm(adj.indptr, adj.indices, a, b, transpose=transpose))


class Joined(Pending):
    """Rows and tensors of edges, side by side along the last dimension."""

    parts: list[Any]
    _versions: list[int]

    @staticmethod
    def __new__(cls, parts: list[Any]) -> Joined:
        first = next(part for part in parts if isinstance(part, Rows))
        shape = (*first.shape[:-1], sum(part.shape[-1] for part in parts))
        self: Joined = cls._promise(shape, first, first.topology, first.family)
        self.parts = [
            part.like(part.table, part.weight) if isinstance(part, Rows) and part.is_pending else materialised(part)
            for part in parts
        ]
        self._versions = self._parts_written()
        return self

    @staticmethod
    def fits(parts: Any, dim: Any) -> bool:
        """Whether these are rows of the same edges, one of them at least a promise."""
        rows = [part for part in parts if isinstance(part, Rows) and part.is_pending]
        if not rows or any(r.batched or r.is_flat or r.topology is not rows[0].topology for r in rows):
            return False
        lead, dims = rows[0].shape[:-1], rows[0].dim()
        return (
            dims > 1
            and dim in (-1, dims - 1)
            and all(type(part) in (Rows, Tensor, Parameter) and part.dim() == dims for part in parts)
            and all(part.shape[:-1] == lead and part.dtype == rows[0].dtype for part in parts)
        )

    def sliced(self, key: Any) -> Joined | None:
        """Return a slice that takes all of the last dimension."""
        self.check_unwritten()
        parts = [part[key] for part in self.parts]
        if not self.fits(parts, -1):
            return None
        out = Joined(parts)
        self.is_view = out.is_view = True
        return out

    @property
    def tracked(self) -> bool:
        """Whether what it is made of requires gradients."""
        return any(part.tracked if isinstance(part, Rows) else part.requires_grad for part in self.parts)

    def make(self) -> Tensor:
        """Return the elements in memory that nobody else holds."""
        self.check_unwritten()
        return torch.cat([materialised(part) for part in self.parts], dim=-1)

    def check_unwritten(self) -> None:
        """Raise if a part was written since it was joined, where PyTorch would have copied it."""
        if self._parts_written() != self._versions:
            raise self.family.escaped("what was concatenated was written in place")

    def _parts_written(self) -> list[int]:
        return [version(part) for part in self.parts if not isinstance(part, Rows)]


def linear_of_joined(x: Joined, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """Map the parts one by one, those that are rows of nodes on their tables, and add the results at the edges."""
    if weight.dim() != 2 or weight.shape[1] != x.shape[-1] or weight.dtype != x.dtype:
        return None
    x.check_unwritten()
    on_nodes = [
        isinstance(part, Rows) and part.shape[-1] >= NARROW and part.is_node_level(multiplies=True) for part in x.parts
    ]
    if not any(on_nodes):
        return None
    blocks = torch.split(weight, [part.shape[-1] for part in x.parts], dim=1)
    tables: dict[str, Tensor] = {}
    of_edges: Tensor | None = None
    for part, block, on_node in zip(x.parts, blocks, on_nodes, strict=True):
        if on_node:
            mapped = F.linear(part.own_table(), block)
            tables[part.end] = tables[part.end] + mapped if part.end in tables else mapped
        else:
            mapped = F.linear(materialised(part), block)
            of_edges = mapped if of_edges is None else of_edges + mapped
    if bias is not None:
        end = next(iter(tables))
        tables[end] = tables[end] + bias
    rows = [x.topology.adj.gather(table, end) for end, table in tables.items()]  # type: ignore[arg-type]
    out = rows[0]
    for term in (*rows[1:], of_edges):
        if term is not None:
            out = out.add_(term)
    return out
