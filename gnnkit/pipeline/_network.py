"""What a pipeline trains: rows, hops, rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from gnnkit.adjacency import Adjacency

Edges = Literal["plain", "loops", "gcn", "mean"]


@dataclass(frozen=True)
class Neighbourhood:
    """Some destinations and the edges into them.

    Attributes:
        adj: From ``num_src`` rows to ``num_dst`` destinations; destination i is source i, other sources follow.
        edge_weight: ``[E]`` in the order of the edges of ``adj``, or None.
        edge_attr: ``[E, De]`` in that order, or None.
    """

    adj: Adjacency
    edge_weight: Tensor | None = None
    edge_attr: Tensor | None = None


class OneHop(nn.Module):
    """A layer of exactly one hop that says its parts: x' = after(aggregate(before(x)), x).

    ``before`` and ``after`` work row by row; what ``before`` gives is all that neighbours see of a node. A pipeline
    runs ``before`` and ``after`` once for every node, hands the rows of ``before`` to the chunks and processes
    that read them, and keeps them as the node's historical embedding. Called as a whole, it is a layer of PyG's kind.

    Subclasses override the three parts; ``before`` and ``after`` give back their first argument here.

    Example:
        >>> import torch
        >>> from gnnkit.pipeline import OneHop
        >>> class Sum(OneHop):
        ...     def aggregate(self, z, graph):
        ...         return graph.adj.spmm(z, graph.edge_weight)
        >>> Sum()(torch.tensor([[1.0], [2.0]]), torch.tensor([[0], [1]])).tolist()
        [[0.0], [1.0]]
    """

    def before(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        """Give what neighbours see of each node: ``[n, D] -> [n, D']``, row by row."""
        return x

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        """Gather the neighbours' rows: ``z [num_src, D']``, the destinations' own first, ``-> [num_dst, D'']``."""
        raise NotImplementedError(f"{type(self).__name__}.aggregate: expected a subclass to say how rows are gathered")

    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        """Make the new rows of what was gathered and of the layer's own input, row by row."""
        return a

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | Adjacency,
        *,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        shared: Tensor | None = None,
    ) -> Tensor:
        """Run the whole layer on a graph of ``len(x)`` nodes."""
        adj = edge_index if isinstance(edge_index, Adjacency) else Adjacency.from_edge_index(edge_index, len(x))
        a = self.aggregate(self.before(x, shared), Neighbourhood(adj, edge_weight, edge_attr))
        return self.after(a, x, shared)


class Network(nn.Module):
    """A deep network as a pipeline cuts it: ``first`` row by row, ``layers`` of one hop each, ``last`` row by row.

    Called as it is, it is the plain network on one device: what a pipeline with one chunk computes.

    Args:
        first: Maps features to the rows that the layers read, or None.
        layers: `OneHop` layers, or others called as
            ``layer(x, edge_index, edge_weight=…, edge_attr=…, shared=…) -> x``, or ``(x, edge_attr)`` where the layer
            has ``returns_edges = True``.
        last: Maps rows to outputs, or None.
        shares: Whether each layer is given what ``first`` returns as ``shared`` (GCNII's h0).
        edges: What the layers read: ``"plain"`` the edges as they are; ``"loops"`` with a self-loop at each node;
            ``"gcn"`` with self-loops and D^-1/2 A D^-1/2 as weights; ``"mean"`` with 1 / in-degree as weights.

    Raises:
        ValueError: There is no layer, ``edges`` is unknown or not what a layer reads, or ``shares`` without ``first``.
    """

    def __init__(
        self,
        first: nn.Module | None,
        layers: Sequence[nn.Module],
        last: nn.Module | None,
        *,
        shares: bool = False,
        edges: Edges = "plain",
    ) -> None:
        super().__init__()
        if len(layers) == 0:
            raise ValueError("layers: expected at least one (got none)")
        if edges not in ("plain", "loops", "gcn", "mean"):
            raise ValueError(f"edges: expected plain, loops, gcn or mean (got {edges!r})")
        if shares and first is None:
            raise ValueError("shares: expected a first part whose rows are shared (got first=None)")
        for number, layer in enumerate(layers):
            reads = getattr(layer, "edges", edges) if isinstance(layer, OneHop) else edges  # adapted layers say it
            if reads != edges:
                name = f"layer {number} ({type(layer).__name__})"
                raise ValueError(f"edges: expected {reads!r}, which {name} reads (got {edges!r})")
        self.first, self.layers, self.last = first, nn.ModuleList(layers), last
        self.shares, self.edges = shares, edges

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Run on a whole graph: ``x [N, F]``, ``edge_index [2, E]`` -> ``[N, C]``."""
        from gnnkit.pipeline._edges import read_edges

        if edge_attr is not None and self.edges in ("loops", "gcn"):
            raise ValueError(f"edge_attr: expected None, for self-loops have no state (got edges={self.edges!r})")
        adj, edge_weight = read_edges(edge_index, len(x), self.edges, x.dtype)
        x = x if self.first is None else self.first(x)  # [N, D]
        shared = x if self.shares else None
        for layer in self.layers:
            x, edge_attr = call(layer, x, adj, edge_weight, edge_attr, shared)
        out: Tensor = x if self.last is None else self.last(x)
        return out


def returns_edges(layer: nn.Module) -> bool:
    """Whether a layer gives new edge states beside the rows."""
    return bool(getattr(layer, "returns_edges", False))


def call(
    layer: nn.Module,
    x: Tensor,
    adj: Adjacency,
    edge_weight: Tensor | None,
    edge_attr: Tensor | None,
    shared: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Call a layer by the contract, on sources with the destinations first; return the destinations' rows, and edges.

    Rows that are only sources go through the layer too, for the contract knows one set of nodes, and are dropped.
    """
    options = {"edge_weight": edge_weight, "edge_attr": edge_attr, "shared": shared}
    edge_index = adj if isinstance(layer, OneHop) else adj.to_edge_index()
    given: Any = layer(x, edge_index, **{name: value for name, value in options.items() if value is not None})
    rows, edge_attr = given if returns_edges(layer) else (given, edge_attr)
    if not isinstance(rows, Tensor) or rows.dim() != 2 or len(rows) != len(x):
        got = list(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise ValueError(f"{type(layer).__name__}: expected one row for each of {len(x)} nodes (got {got})")
    return rows[: adj.num_dst], edge_attr
