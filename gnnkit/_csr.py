"""A CSR by destination that remembers in which order its edges came, and what is made of it at first use."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from gnnkit import _edge_rows
from gnnkit.kernels import transpose_csr
from gnnkit.kernels._csr import row_of_entry


class Csr:
    """What `gnnkit.Adjacency` holds; its docstring has the attributes."""

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

    @classmethod
    def _make(cls, indptr: Tensor, indices: Tensor, edge_ids: Tensor, num_src: int) -> Self:
        self = object.__new__(cls)
        fits = max(num_src, indptr.numel() - 1) < 2**31
        indices = indices.to(torch.int32 if fits else torch.int64).contiguous()
        with torch.inference_mode(False):  # a topology first seen in inference serves training later
            csr = (t.clone() if t.is_inference() else t for t in (indptr.long(), indices, edge_ids))
            self.indptr, self.indices, self.edge_ids = csr
        self.num_src, self.num_dst = num_src, indptr.numel() - 1
        self._transpose = self._inverse = self._ends = self._out_edges = self._entries = None
        return self

    def to_edge_index(self) -> Tensor:
        """Return ``[2, E]`` int64 in the original edge order."""
        dst = torch.arange(self.num_dst, device=self.device).repeat_interleave(self.indptr.diff())
        out = torch.empty(2, self.num_edges, dtype=torch.int64, device=self.device)
        out[0, self.edge_ids] = self.indices.long()
        out[1, self.edge_ids] = dst
        return out

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on another device (itself if it is there already); the transpose moves along."""
        if torch.device(device) == self.device:
            return self
        moved = self._make(self.indptr.to(device), self.indices.to(device), self.edge_ids.to(device), self.num_src)
        if self._transpose is not None:
            t_indptr, t_indices, t_perm = (t.to(device) for t in self._transpose)
            moved._transpose = t_indptr, t_indices, t_perm
        return moved

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
        sizes = f"num_src={self.num_src}, num_dst={self.num_dst}, num_edges={self.num_edges}"
        return f"{type(self).__name__}({sizes})"

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
