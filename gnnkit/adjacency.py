"""Adjacency: the topology of a graph, CSR sorted by destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gnnkit import _convert, _edge_rows
from gnnkit.kernels import group_by, segment_softmax, spmm, transpose_csr
from gnnkit.kernels._csr import row_of_entry

if TYPE_CHECKING:
    import networkx
    import scipy.sparse

Size = int | tuple[int, int]


class Adjacency:
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

    __slots__ = (
        *("indptr", "indices", "edge_ids", "num_src", "num_dst"),
        *("_transpose", "_inverse", "_ends", "_out_edges", "_entries"),  # made at first use
    )

    indptr: Tensor
    indices: Tensor
    edge_ids: Tensor
    num_src: int
    num_dst: int
    _transpose: tuple[Tensor, Tensor, Tensor] | None
    _inverse: Tensor | None
    _ends: tuple[Tensor, Tensor] | None
    _out_edges: Tensor | None
    _entries: tuple[Tensor, Tensor, Tensor] | None

    def __init__(self) -> None:
        raise TypeError("Adjacency: expected a constructor such as Adjacency.from_edge_index (got Adjacency())")

    @classmethod
    def _make(cls, indptr: Tensor, indices: Tensor, edge_ids: Tensor, num_src: int) -> Adjacency:
        self = object.__new__(cls)
        fits = max(num_src, indptr.numel() - 1) < 2**31
        indices = indices.to(torch.int32 if fits else torch.int64).contiguous()
        with torch.inference_mode(False):  # a topology first seen in inference serves training later
            csr = (t.clone() if t.is_inference() else t for t in (indptr.long(), indices, edge_ids))
            self.indptr, self.indices, self.edge_ids = csr
        self.num_src, self.num_dst = num_src, indptr.numel() - 1
        self._transpose = self._inverse = self._ends = self._out_edges = self._entries = None
        return self

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

    def to_edge_index(self) -> Tensor:
        """Return ``[2, E]`` int64 in the original edge order."""
        dst = torch.arange(self.num_dst, device=self.device).repeat_interleave(self.indptr.diff())
        out = torch.empty(2, self.num_edges, dtype=torch.int64, device=self.device)
        out[0, self.edge_ids] = self.indices.long()
        out[1, self.edge_ids] = dst
        return out

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

    def to(self, device: torch.device | str) -> Adjacency:
        """Return a copy on another device (itself if it is there already); the transpose moves along."""
        if torch.device(device) == self.device:
            return self
        moved = self._make(self.indptr.to(device), self.indices.to(device), self.edge_ids.to(device), self.num_src)
        if self._transpose is not None:
            t_indptr, t_indices, t_perm = (t.to(device) for t in self._transpose)
            moved._transpose = t_indptr, t_indices, t_perm
        return moved

    # ------------------------------------------------------------------ operations

    @property
    def transpose(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(t_indptr, t_indices, t_perm)``: the CSR by source, as `gnnkit.kernels.spmm` takes it."""
        if self._transpose is None:
            with torch.inference_mode(False):
                self._transpose = transpose_csr(self.indptr, self.indices, self.num_src)
        return self._transpose

    @property
    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(node, indptr, position)``: the destination of every CSR entry, and the entries of every destination."""
        if self._entries is None:
            with torch.inference_mode(False):
                dst = row_of_entry(self.indptr, self.indices)
                self._entries = dst, self.indptr, torch.arange(self.num_edges, device=self.device)
        return self._entries

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

    def to_csr_order(self, values: Tensor) -> Tensor:
        """Bring ``[E, ...]`` from the original edge order to that of ``indices``, as `gnnkit.kernels` takes it."""
        rows = self._edge_tensor(values)
        if rows is None:
            raise ValueError(f"expected one row for each of the {self.num_edges} edges (got None)")
        return _edge_rows.permute(rows, self.edge_ids, self._csr_positions())

    def to_edge_order(self, values: Tensor) -> Tensor:
        """Bring ``[E, ...]`` from the order of ``indices`` back to the original edge order."""
        rows = self._edge_tensor(values)
        if rows is None:
            raise ValueError(f"expected one row for each of the {self.num_edges} edges (got None)")
        return _edge_rows.permute(rows, self._csr_positions(), self.edge_ids)

    # ------------------------------------------------------------------ properties

    @property
    def num_edges(self) -> int:
        """The number of edges."""
        return self.indices.numel()

    @property
    def num_nodes(self) -> int:
        """The number of nodes of a graph that is not bipartite."""
        return self._one_node_set("num_nodes")

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.indices.device

    def in_degree(self) -> Tensor:
        """``[num_dst]`` int64: the number of edges that end at each node."""
        return self.indptr.diff()

    def __repr__(self) -> str:
        return f"Adjacency(num_src={self.num_src}, num_dst={self.num_dst}, num_edges={self.num_edges})"

    def _csr_positions(self) -> Tensor:
        """``[E]``: where in the CSR each edge stands."""
        if self._inverse is None:
            with torch.inference_mode(False):
                self._inverse = torch.empty_like(self.edge_ids)
                self._inverse[self.edge_ids] = torch.arange(self.num_edges, device=self.device)
        return self._inverse

    def _edge_ends(self) -> tuple[Tensor, Tensor]:
        """Sources and destinations, each ``[E]`` in the original edge order."""
        if self._ends is None:
            with torch.inference_mode(False):
                src, dst = self.to_edge_index()
                self._ends = src.to(self.indices.dtype), dst.to(self.indices.dtype)
        return self._ends

    def _node_rows(self, x: Any, expected: int, which: str) -> None:
        if not isinstance(x, Tensor) or x.shape[:1] != (expected,):
            got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"x: expected {expected} rows, one a {which} node (got {got})")

    def _one_node_set(self, what: str) -> int:
        if self.num_src != self.num_dst:
            raise ValueError(
                f"{what}: expected one set of nodes (got {self.num_src} sources, {self.num_dst} destinations)"
            )
        return self.num_dst

    def _edge_tensor(self, value: Tensor | None) -> Tensor | None:
        if value is not None and (not isinstance(value, Tensor) or value.shape[:1] != (self.num_edges,)):
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"expected one row for each of the {self.num_edges} edges (got {got})")
        return value
