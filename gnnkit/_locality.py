"""What an order of the nodes means for reading rows, and a graph whose nodes were put in another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from gnnkit import _edge_rows
from gnnkit._csr import Csr
from gnnkit.kernels import group_by

Graph = TypeVar("Graph", bound=Csr)


@dataclass(frozen=True)
class Locality:
    """How near to each other the rows lie that an aggregation reads; all 0 without edges.

    Attributes:
        bandwidth: The largest ``|source - destination|`` of an edge.
        mean_gap: Its mean over the edges.
        reused: The share of the edges, in CSR order, whose source row is among the last ``window`` rows read.
    """

    bandwidth: int
    mean_gap: float
    reused: float

    @classmethod
    def of(cls, adj: Csr, window: int) -> Locality:
        """Measure a graph; O(E + N)."""
        if adj.num_edges == 0:
            return cls(0, 0.0, 0.0)
        src, dst = adj.to_edge_index()
        gap = (src - dst).abs()
        _, read = group_by(adj.indices, adj.num_src)  # by source, the times at which its row is read
        row = adj.indices.index_select(0, read)
        again = (row[1:] == row[:-1]) & (read.diff() <= window)
        return cls(int(gap.max()), float(gap.double().mean()), int(again.sum()) / adj.num_edges)


@dataclass(frozen=True, eq=False)
class Reordering(Generic[Graph]):
    """A graph with its nodes in another order, the way there and back, and what it did to locality.

    ``print`` shows the report. There ``reused``, with the window ``cache_bytes // row_bytes``, is a lower bound of the
    hits of a cache of ``cache_bytes`` that drops the row used longest ago: a row that repeats takes one place in it.

    Attributes:
        method: ``"degree"``, ``"rcm"`` or ``"cluster"``.
        adjacency: The graph with new numbers of nodes. Its edges keep the order of the ``edge_index``, so weights stay.
        permutation: ``[N]`` int64, the old number of every new node.
        inverse: ``[N]`` int64, the new number of every old node.
        before: Locality as the graph was.
        after: Locality as ``adjacency`` is.
        row_bytes: The width of a row that ``reused`` assumes.
        cache_bytes: The size of the cache that ``reused`` assumes.
    """

    method: str
    adjacency: Graph
    permutation: Tensor
    inverse: Tensor
    before: Locality
    after: Locality
    row_bytes: int
    cache_bytes: int

    def to_new(self, x: Tensor) -> Tensor:
        """Bring rows of nodes, ``[N, ...]``, into the new order: ``x[permutation]``. Features, labels, masks."""
        return _edge_rows.permute(self._rows(x), self.permutation, self.inverse)

    def to_old(self, out: Tensor) -> Tensor:
        """Bring rows of nodes, ``[N, ...]``, back into the old order: ``out[inverse]``."""
        return _edge_rows.permute(self._rows(out), self.inverse, self.permutation)

    def __str__(self) -> str:
        graph, window = self.adjacency, self.cache_bytes // self.row_bytes
        lines = [
            f"{self.method}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges",
            f"{'':14}{'before':>12}{'after':>12}",
            f"{'bandwidth':14}{self.before.bandwidth:12,}{self.after.bandwidth:12,}",
            f"{'mean gap':14}{self.before.mean_gap:12,.1f}{self.after.mean_gap:12,.1f}",
            f"{'rows reused':14}{self.before.reused:12.1%}{self.after.reused:12.1%}",
            f"reused: among the last {window:,} rows read, {self.cache_bytes:,} bytes of {self.row_bytes:,} each",
        ]
        return "\n".join(lines)

    def _rows(self, x: Any) -> Tensor:
        num_nodes, device = self.adjacency.num_nodes, self.permutation.device
        if not isinstance(x, Tensor) or x.shape[:1] != (num_nodes,) or x.device != device:
            got = f"{list(x.shape)} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"expected one row for each of the {num_nodes} nodes on {device} (got {got})")
        return x
