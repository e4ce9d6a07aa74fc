"""One call of PyG's ``propagate``, its rows pending and its aggregation on gnnkit's kernels."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, MinAggregation, SumAggregation
from torch_geometric.nn.conv import MessagePassing

from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import Topology, Values
from gnnkit._accelerate._rows import FLOATS, EscapedError, Rows, materialised
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import spmm

REDUCES = {SumAggregation: "sum", MeanAggregation: "mean", MaxAggregation: "max", MinAggregation: "min"}
End = Literal["src", "dst"]
Matrix = tuple[Tensor, Tensor, Tensor]  # indptr, indices, values


@dataclass(frozen=True)
class Call:
    """The arguments of a ``propagate``.

    Attributes:
        layer: Whose message, aggregation and update these are.
        topology: The graph, by destination.
        known: What the layer's functions may ask for, by name; rows at the ends of edges are in ``ends``.
        ends: For each argument that ends in ``_i`` or ``_j``, the table and the end of the edge.
    """

    layer: MessagePassing
    topology: Topology
    known: dict[str, Any]
    ends: dict[str, tuple[Tensor, End]]

    @classmethod
    def of(cls, layer: MessagePassing, edge_index: Tensor, size: Any, kwargs: dict[str, Any]) -> Call | None:
        """Collect a call; None if it is PyG's to serve, or to refuse with its own words."""
        sizes = layer._check_input(edge_index, size)
        forward = layer.flow == "source_to_target"
        i, j = (1, 0) if forward else (0, 1)
        ends: dict[str, tuple[Tensor, End]] = {}
        known: dict[str, Any] = dict(kwargs)
        for name in (name for name in layer._user_args if name.endswith(("_i", "_j"))):
            end, other = (j, i) if name.endswith("_j") else (i, j)
            given = kwargs.get(name[:-2])
            if isinstance(given, tuple | list):
                if len(given) != 2:
                    return None
                if not forward and given[0] is not given[1]:
                    return None  # PyG's two implementations differ here
                if isinstance(given[other], Tensor):
                    layer._set_size(sizes, other, given[other])
                given = given[end]
            known[name] = None
            if isinstance(given, Tensor):
                layer._set_size(sizes, end, given)
                ends[name] = given, "src" if end == j else "dst"
        num_dst, num_src = (sizes[a] if sizes[a] is not None else sizes[b] for a, b in ((i, j), (j, i)))
        if num_dst is None or num_src is None:
            return None
        try:
            topology = _cache.of_edges(edge_index if forward else edge_index.flip(0), (num_src, num_dst))
        except ValueError:
            return None
        known |= {"edge_index": edge_index, "edge_index_i": edge_index[i], "edge_index_j": edge_index[j]}
        known |= {"adj_t": None, "ptr": None, "index": edge_index[i], "dim_size": num_dst}
        known |= {"size": sizes, "size_i": num_dst, "size_j": num_src}
        return cls(layer, topology, known, ends)

    def run(self, pending: bool) -> Any:
        """Message, aggregate, update; rows are gathered beforehand unless they may stay ``pending``."""
        family: list[weakref.ref[Rows]] = []
        out = self._run(family if pending else None)
        if any(rows() is not None for rows in family):
            raise EscapedError("the layer holds rows for later")
        return out

    def _run(self, family: list[weakref.ref[Rows]] | None) -> Any:
        layer, collect = self.layer, self.layer.inspector.collect_param_data
        known = self.known | {name: self._lift(*rows, family) for name, rows in self.ends.items()}
        message = layer.message(**collect("message", known))
        out = self._aggregate(message, collect("aggregate", known))
        return layer.update(out, **collect("update", known))

    def _lift(self, table: Tensor, end: End, family: list[weakref.ref[Rows]] | None) -> Tensor:
        if type(table) is not Tensor or table.dtype not in FLOATS or not self._leads(table):
            index = self.known["edge_index_j" if end == "src" else "edge_index_i"]
            return cast(Tensor, self.layer._index_select(table, index))
        return self.topology.adj.gather(table, end) if family is None else Rows(table, self.topology, end, family)

    def _aggregate(self, message: Any, arguments: dict[str, Any]) -> Any:
        reduce = REDUCES[type(self.layer.aggr_module)]
        if isinstance(message, Rows) and message.pending and message.end == "src" and message.table.dim() in (2, 3):
            return _aggregate_pending(message, reduce)
        message = materialised(message)
        fits = type(message) is Tensor and message.dtype in FLOATS and self._leads(message)
        if fits and len(message) == self.topology.adj.num_edges:
            return self.topology.adj.aggregate(message, reduce)
        return self.layer.aggregate(message, **arguments)

    def _leads(self, rows: Tensor) -> bool:
        """Whether the layer's nodes are the first dimension."""
        return rows.dim() > 0 and self.layer.node_dim in (0, -rows.dim())


def _aggregate_pending(rows: Rows, reduce: str) -> Tensor:
    rows.check_unwritten()
    x, weight = rows.table, rows.weight
    saved = (reduce in ("max", "min") and x.requires_grad) or (weight is not None and weight.requires_grad)
    if saved and torch.is_grad_enabled():
        x = x.clone()  # the backward looks at the caller's tensor, who may write on: h += conv(h, edge_index)
    return aggregate(rows.topology, x, weight, reduce)


def aggregate(topology: Topology, x: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    """Reduce ``weight_e * x[source of e]`` at every destination, weights in the original edge order."""
    adj = topology.adj
    if weight is None:
        return spmm(adj.indptr, adj.indices, x, None, reduce, transpose=_transpose(adj, x))
    if weight.requires_grad or reduce != "sum":
        values = adj.to_csr_order(weight)
        return spmm(adj.indptr, adj.indices, x, values, reduce, transpose=_transpose(adj, x, values))
    return FixedProduct.of(adj, topology.values(weight), x)


def _transpose(adj: Adjacency, *inputs: Tensor) -> Any:
    return adj.transpose if torch.is_grad_enabled() and any(t.requires_grad for t in inputs) else None


class FixedProduct(torch.autograd.Function):
    """The product with a matrix of constants, whose transpose has its values in order beforehand."""

    @staticmethod
    def of(adj: Adjacency, values: Values, x: Tensor) -> Tensor:
        """Multiply a graph with constant weights and the rows of its sources."""
        matrix = adj.indptr, adj.indices, values.by_dst
        if not (torch.is_grad_enabled() and x.requires_grad):
            return spmm(*matrix[:2], x, matrix[2])
        out: Tensor = FixedProduct.apply(x, matrix, (*adj.transpose[:2], values.by_src))  # type: ignore[no-untyped-call]
        return out

    @staticmethod
    def forward(x: Tensor, matrix: Matrix, transpose: Matrix) -> Tensor:
        indptr, indices, values = matrix
        return spmm(indptr, indices, x, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.matrix, ctx.transpose = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return FixedProduct.apply(grad, ctx.transpose, ctx.matrix), None, None  # type: ignore[no-untyped-call]
