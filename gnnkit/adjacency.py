"""Adjacency: the topology of a graph, CSR sorted by destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gnnkit import _convert, _edge_rows, _reorder
from gnnkit._csr import Csr
from gnnkit._locality import Locality, Reordering
from gnnkit.kernels import group_by, segment_softmax, spmm

if TYPE_CHECKING:
    import networkx
    import scipy.sparse

Size = int | tuple[int, int]


class Adjacency(Csr):
    """The edges of a graph as a CSR sorted by destination, in PyG's direction: source to destination.

    Edges of one destination keep their original order. Per-edge tensors (weights, logits) enter and leave
    the methods in the ORIGINAL order of the ``edge_index``; the kernels in `gnnkit.kernels` want them in
    CSR order: ``values = weight[adj.edge_ids]``. The transpose is built at first use and kept.

    Empty graphs, isolated nodes, self-loops, parallel edges and bipartite graphs are valid. All values are
    checked at construction. Memory: 12 bytes an edge and 8 a node; the transpose adds the same again, the first
    softmax 8 bytes an edge.

    Attributes:
        indptr: ``[num_dst + 1]`` int64.
        indices: ``[E]`` source of each CSR entry, int32 while the node ids fit, else int64.
        edge_ids: ``[E]`` int64, the position of each CSR entry in the original edge list.
        num_src: Number of source nodes.
        num_dst: Number of destination nodes (equal to ``num_src`` unless bipartite).

    Example:
        >>> import torch, gnnkit
        >>> adj = gnnkit.Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 0, 1]]), num_nodes=3)
        >>> adj.indptr.tolist(), adj.indices.tolist(), adj.edge_ids.tolist()
        ([0, 1, 3, 3], [1, 0, 2], [1, 0, 2])
        >>> adj.spmm(torch.tensor([[1.0], [2.0], [4.0]])).tolist()
        [[2.0], [5.0], [0.0]]
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("Adjacency: expected a constructor such as Adjacency.from_edge_index (got Adjacency())")

    # ------------------------------------------------------------------ construction

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_nodes: Size | None = None) -> Adjacency:
        """Build from PyG's ``edge_index``: row 0 holds sources, row 1 destinations. O(E + N).

        Args:
            edge_index: ``[2, E]`` int32 or int64; a PyG ``EdgeIndex`` lends its cached CSC.
            num_nodes: The number of nodes, or ``(num_src, num_dst)`` for a bipartite graph; None for the
                largest id plus one.

        Raises:
            ValueError: Wrong shape or dtype, a negative id, or an id that ``num_nodes`` does not admit.
        """
        _convert.check_edge_index(edge_index)
        num_src, num_dst = _convert.sizes(edge_index, num_nodes)
        if _convert.is_pyg_edge_index(edge_index):
            cached = _convert.csc_of(edge_index, num_dst)
            if cached is not None:
                return cls._make(*cached, num_src)
            edge_index = _convert.plain(edge_index)
        indptr, perm = group_by(edge_index[1], num_dst)
        return cls._make(indptr, edge_index[0].index_select(0, perm), perm, num_src)

    @classmethod
    def from_csr(cls, indptr: Tensor, indices: Tensor, num_src: int | None = None) -> Adjacency:
        """Take a CSR by destination as it is: edge e of the original order is entry e.

        Args:
            indptr: ``[num_dst + 1]`` int32 or int64, from 0 to E, never decreasing.
            indices: ``[E]`` int32 or int64, sources.
            num_src: Number of sources; None for ``num_dst``.

        Raises:
            ValueError: The tensors do not describe such a CSR.
        """
        num_src = _convert.check_csr(indptr, indices, num_src)
        return cls._make(indptr, indices, torch.arange(indices.numel(), device=indices.device), num_src)

    @classmethod
    def from_pyg(cls, data: Any) -> Adjacency:
        """Build from a PyG ``Data`` with an ``edge_index``.

        Raises:
            ValueError: ``data`` has no ``edge_index`` (of a ``HeteroData``, pass one edge type's).
        """
        return cls.from_edge_index(*_convert.from_pyg(data))

    @classmethod
    def from_scipy(cls, matrix: scipy.sparse.sparray | scipy.sparse.spmatrix) -> Adjacency:
        """Build from a SciPy sparse matrix: an entry (i, j), stored zeros included, is an edge i → j.

        Edge e is entry e of ``matrix.tocoo()``, whose ``data`` are therefore weights in edge order.
        """
        return cls.from_edge_index(*_convert.from_scipy(matrix))

    @classmethod
    def from_torch_sparse(cls, matrix: Tensor) -> Adjacency:
        """Build from a COO, CSR or CSC tensor: an entry (i, j) is an edge i → j, in the order stored.

        PyG's transposed ``adj_t`` has destinations as rows: pass ``adj_t.t()``.
        """
        return cls.from_edge_index(*_convert.from_torch_sparse(matrix))

    @classmethod
    def from_networkx(cls, graph: networkx.Graph) -> Adjacency:
        """Build from a NetworkX graph; nodes are numbered in the order of ``graph.nodes``.

        An undirected edge becomes both directions, as in PyG's ``from_networkx``.
        """
        return cls.from_edge_index(*_convert.from_networkx(graph))

    @classmethod
    def from_dgl(cls, graph: Any) -> Adjacency:
        """Build from a DGL graph of one relation: homogeneous, bipartite, or a block. Edge ids are kept.

        Edge e is the one whose DGL id is e, so ``graph.edata`` holds weights in edge order. Data of nodes and edges
        stay with ``graph``. Of several relations, pass one: ``graph[etype]``.

        Example:
            >>> import torch, gnnkit
            >>> from gnnkit.interop import import_dgl
            >>> graph = import_dgl().graph(([0, 1, 2], [1, 0, 1]), num_nodes=4)
            >>> graph.edata["w"] = torch.tensor([1.0, 2.0, 3.0])
            >>> adj = gnnkit.Adjacency.from_dgl(graph)
            >>> adj.spmm(torch.ones(4, 1), graph.edata["w"]).flatten().tolist()
            [2.0, 4.0, 0.0, 0.0]

        Raises:
            ValueError: ``graph`` is no DGL graph or has not exactly one relation.
        """
        return cls.from_edge_index(*_convert.from_dgl(graph))

    # ------------------------------------------------------------------ conversion

    def to_pyg(self) -> Any:
        """Return a PyG ``Data`` with ``edge_index`` and ``num_nodes``."""
        return _convert.to_pyg(self.to_edge_index(), self._one_node_set("to_pyg"))

    def to_scipy(self, weight: Tensor | None = None) -> scipy.sparse.coo_array[Any, Any]:
        """Return a SciPy COO array with an entry (i, j) for every edge i → j, in edge order."""
        shape = (self.num_src, self.num_dst)
        matrix: scipy.sparse.coo_array[Any, Any] = _convert.to_scipy(
            self.to_edge_index(), shape, self._edge_tensor(weight)
        )
        return matrix

    def to_torch_sparse(self, weight: Tensor | None = None) -> Tensor:
        """Return an uncoalesced COO tensor with an entry (i, j) for every edge i → j, in edge order."""
        values = self._edge_tensor(weight)
        values = torch.ones(self.num_edges, device=self.device) if values is None else values
        shape = (self.num_src, self.num_dst)
        return torch.sparse_coo_tensor(self.to_edge_index(), values, shape, check_invariants=False)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """Return a directed multigraph on the nodes 0 … N - 1."""
        return _convert.to_networkx(self.to_edge_index(), self._one_node_set("to_networkx"))

    def to_dgl(self) -> Any:
        """Return a DGL graph with int64 ids, whose edge ids are the original edge order (needs the extra ``dgl``).

        It is homogeneous where ``num_src`` equals ``num_dst``, else of the one relation ``("_U", "_E", "_V")``. DGL is
        imported by `gnnkit.interop.import_dgl`.

        Raises:
            ImportError: DGL is absent; the message holds the install command.
        """
        return _convert.to_dgl(self.to_edge_index(), (self.num_src, self.num_dst))

    # ------------------------------------------------------------------ operations

    def spmm(self, x: Tensor, weight: Tensor | None = None, reduce: str = "sum") -> Tensor:
        """Aggregate ``weight_e * x[source of e]`` at every destination; see `gnnkit.kernels.spmm`.

        Args:
            x: ``[num_src, D]`` or ``[num_src, H, D]``.
            weight: ``[E]`` or ``[E, H]`` in the original edge order.
            reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.

        Returns:
            ``[num_dst, D]`` or ``[num_dst, H, D]``.
        """
        self._node_rows(x, self.num_src, "source")
        values = self._edge_tensor(weight)
        values = None if values is None else self.to_csr_order(values)
        backward = torch.is_grad_enabled() and (x.requires_grad or (values is not None and values.requires_grad))
        transpose = self.transpose if backward else None
        return spmm(self.indptr, self.indices, x, values, reduce, transpose=transpose)

    def softmax(self, logits: Tensor) -> Tensor:
        """Softmax over the edges of each destination; ``[E]`` or ``[E, H]`` in the original edge order."""
        return self.to_edge_order(segment_softmax(self.to_csr_order(logits), self.indptr))

    def gather(self, x: Tensor, end: Literal["src", "dst"] = "src") -> Tensor:
        """Return for every edge, in the original order, the row of the node at one of its ends.

        The values of ``x[edge_index[0]]`` (or ``[1]``); the gradient is summed along rows, in a fixed order.

        Args:
            x: ``[num_src, ...]``, or ``[num_dst, ...]`` with ``end="dst"``; float32 or float64.
            end: ``"src"`` or ``"dst"``.

        Returns:
            ``[E, ...]``.
        """
        if end not in ("src", "dst"):
            raise ValueError(f"end: expected src or dst (got {end!r})")
        src, dst = self._edge_ends()
        if end == "dst":
            self._node_rows(x, self.num_dst, "destination")
            return _edge_rows.gather(x, dst, self.indptr, self.edge_ids)
        self._node_rows(x, self.num_src, "source")
        if not (torch.is_grad_enabled() and x.requires_grad):
            return x.index_select(0, src)  # the transpose serves the gradient alone
        t_indptr, _, t_perm = self.transpose
        if self._out_edges is None:
            with torch.inference_mode(False):
                self._out_edges = self.edge_ids.index_select(0, t_perm)
        return _edge_rows.gather(x, src, t_indptr, self._out_edges)

    def aggregate(self, messages: Tensor, reduce: str = "sum") -> Tensor:
        """Reduce one row an edge, in the original order, at the edges' destinations.

        Args:
            messages: ``[E, ...]``, float32 or float64.
            reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.

        Returns:
            ``[num_dst, ...]``.
        """
        rows = self._edge_tensor(messages)
        if rows is None:
            raise ValueError(f"messages: expected one row for each of the {self.num_edges} edges (got None)")
        return _edge_rows.reduce_rows(rows, self._edge_ends()[1], self.indptr, self.edge_ids, reduce)

    # ------------------------------------------------------------------ the order of the nodes

    def reorder(self, method: str, *, row_bytes: int = 512, cache_bytes: int = 2**20) -> Reordering[Adjacency]:
        """Return this graph with its nodes in an order that reads rows nearer to each other, and what that changed.

        This graph stays as it is, and nothing in gnnkit reorders unasked. Features go by `to_new` into the new order,
        results by `to_old` back; weights stay, for edges keep their order. On CPU, sums that came back are bit for bit
        those of this graph.

        - ``"degree"``: by falling in-degree, which gathers the hubs.
        - ``"rcm"``: Cuthill-McKee's walk over the edges in both directions, reversed (SciPy's), for a small bandwidth.
        - ``"cluster"``: the Louvain method's communities within communities (Blondel et al., *Fast unfolding of
          communities in large networks*, 2008), here with an eighth of the nodes moving at once.

        The order depends on the graph alone. Cost: O(E + N log N), for ``"cluster"`` some tens of times over, once, on
        one CPU thread. Whether it pays: docs/reorder.md.

        Args:
            method: ``"degree"``, ``"rcm"`` or ``"cluster"``.
            row_bytes: Of a row of features, for the report: 512 is 128 float32.
            cache_bytes: Of the cache, for the report: 1 MiB is the second level of one core on many servers.

        Returns:
            A `Reordering`; ``print`` shows its report.

        Raises:
            ValueError: Another method, a bipartite graph, a size below 1, or 2^30 edges or more for SciPy.

        Example:
            >>> import torch, gnnkit
            >>> path = torch.tensor([[0, 3, 1, 4], [3, 1, 4, 2]])  # 0 - 3 - 1 - 4 - 2
            >>> adj = gnnkit.Adjacency.from_edge_index(path, num_nodes=5)
            >>> found = adj.reorder("rcm")
            >>> found.before.bandwidth, found.after.bandwidth
            (3, 1)
            >>> x, weight = torch.rand(5, 2), torch.rand(4)
            >>> out = found.to_old(found.adjacency.spmm(found.to_new(x), weight))
            >>> torch.equal(out, adj.spmm(x, weight))
            True
        """
        for name, size in (("row_bytes", row_bytes), ("cache_bytes", cache_bytes)):
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{name}: expected a number of bytes >= 1 (got {size!r})")
        num_nodes = self._one_node_set("reorder")
        edge_index = self.to_edge_index()
        src, dst = edge_index.cpu().numpy()
        permutation = torch.from_numpy(_reorder.order(method, src, dst, num_nodes)).to(self.device)
        inverse = torch.empty_like(permutation)
        inverse[permutation] = torch.arange(num_nodes, device=self.device)
        moved = self.from_edge_index(inverse[edge_index], num_nodes)
        before, after = (Locality.of(adj, cache_bytes // row_bytes) for adj in (self, moved))
        return Reordering(method, moved, permutation, inverse, before, after, row_bytes, cache_bytes)
