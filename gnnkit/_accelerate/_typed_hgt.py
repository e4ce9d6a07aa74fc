"""HGTConv: keys and values once for each (source, relation), attention by row, no message written out."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.dense import HeteroLinear

from gnnkit._accelerate import _cache
from gnnkit._accelerate._aggregation import REDUCES
from gnnkit._accelerate._layer import FastLayer, is_fast
from gnnkit._accelerate._rows import FLOATS
from gnnkit._accelerate._typed_edges import TypedEdges
from gnnkit._accelerate._typed_graph import in_range, is_plain, lasting, remembered
from gnnkit._accelerate._watch import is_watched
from gnnkit.kernels import sddmm, segment_matmul, segment_softmax, spmm


class FastHGT(FastLayer):
    """An ``HGTConv`` on compact rows."""

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        """PyG's ``HGTConv.forward``."""
        if self._fits(x_dict, edge_index_dict):
            sizes = {key: len(x_dict[key]) for key in self.kqv_lin.lins if key in x_dict}
            try:
                edges = _graph(edge_index_dict, sizes)
            except ValueError:  # PyG says it in its own words, or reads another type's rows
                return super().forward(x_dict, edge_index_dict)
            return self._attend(x_dict, list(edge_index_dict), sizes, edges)
        return super().forward(x_dict, edge_index_dict)

    def _fits(self, x_dict: Any, edge_index_dict: Any) -> bool:
        if not (isinstance(x_dict, dict) and isinstance(edge_index_dict, dict) and edge_index_dict):
            return False
        dtype = self.k_rel.weight.dtype
        numbers = [self.edge_types_map.get(key, -1) for key in edge_index_dict]
        present = {key for key in self.kqv_lin.lins if key in x_dict}
        return (
            dtype in FLOATS
            and all(is_plain(x) and x.dim() == 2 and x.dtype == dtype for x in x_dict.values())
            and all(is_fast(self, edges) and edges.dtype == torch.int64 for edges in edge_index_dict.values())
            # PyG takes the relations to be in the order of the metadata, and mixes up their weights otherwise
            and numbers[0] >= 0
            and all(low < high for low, high in pairwise(numbers))
            and all(key[0] in present and key[-1] in present for key in edge_index_dict)
            and all(p.dtype == dtype for p in self.parameters())
            and all(p.shape == (1, self.heads) for p in self.p_rel.values())
            and all(type(m) is HeteroLinear and m.bias is None and not is_watched(m) for m in (self.k_rel, self.v_rel))
            and self.flow == "source_to_target"
            and REDUCES.get(type(self.aggr_module)) == "sum"
            and not torch.is_autocast_enabled("cpu")
        )

    def _attend(self, x_dict: Any, relations: list[Any], sizes: dict[str, int], edges: TypedEdges) -> dict[str, Tensor]:
        H, C = self.heads, self.out_channels // self.heads
        kqv = list(self.kqv_lin(x_dict).values())  # [N of a type, 3 H C] each
        k, q, v = (torch.cat([rows[:, part * H * C :][:, : H * C] for rows in kqv]) for part in range(3))
        del kqv
        # [R, H]: the prior of a relation scales its keys' matrix, not its edges' scores
        prior = torch.cat([self.p_rel["__".join(key)] for key in relations]) / math.sqrt(C)
        keys = self._related(k, self.k_rel.weight, relations, edges, prior)
        values = self._related(v, self.v_rel.weight, relations, edges)
        adj, transpose = edges.adj, edges.transpose
        scores = sddmm(adj.indptr, adj.indices, q.view(-1, H, C), keys, transpose=transpose)  # [E, H]
        alpha = segment_softmax(scores, adj.indptr)
        del scores
        out = spmm(adj.indptr, adj.indices, values, alpha, transpose=transpose).flatten(1)
        parts = dict(zip(sizes, torch.split(out, list(sizes.values())), strict=True))
        return self._mixed({key: part for key, part in parts.items() if key in self.dst_node_types}, x_dict)

    def _related(
        self, rows: Tensor, weight: Tensor, relations: list[Any], edges: TypedEdges, scale: Tensor | None = None
    ) -> Tensor:
        """``[P, H, C]``: rows of sources through the matrices of their relations and heads."""
        numbers = torch.tensor([self.edge_types_map[key] for key in relations])
        # PyG keeps them as [H R, C, C]
        matrices = weight.view(self.heads, -1, *weight.shape[1:]).transpose(0, 1).index_select(0, numbers)
        matrices = matrices if scale is None else matrices * scale[:, :, None, None]
        gathered = edges.sources.gather @ rows
        return segment_matmul(gathered.view(len(gathered), *matrices.shape[1:3]), edges.sources.ptr, matrices)

    def _mixed(self, out_dict: dict[str, Tensor], x_dict: Any) -> dict[str, Tensor]:
        """What PyG does to the sums: a dense layer, and the input through a gate where it is as wide."""
        dense = self.out_lin({key: F.gelu(out) for key, out in out_dict.items()})
        for key in out_dict:
            out = dense[key]
            if out.size(-1) == x_dict[key].size(-1):
                # a number for each channel: PyTorch's sum of a whole table, the gradient, depends on the threads
                alpha = self.skip[key].sigmoid().expand(out.shape[-1])
                out = alpha * out + (1 - alpha) * x_dict[key]
            out_dict[key] = out
        return out_dict


def _graph(edge_index_dict: dict[Any, Tensor], sizes: dict[str, int]) -> TypedEdges:
    """Return all relations' edges between all types' nodes, one type after another.

    Raises:
        ValueError: An id that its type does not have.
    """
    offset = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    ends = [(sizes[key[0]], sizes[key[-1]]) for key in edge_index_dict]
    graphs = zip(edge_index_dict, edge_index_dict.values(), ends, strict=True)
    key = tuple((_cache.edges_key(edges, size), offset[name[0]], offset[name[-1]]) for name, edges, size in graphs)

    def make() -> TypedEdges:
        columns = []
        for name, edges, size in zip(edge_index_dict, lasting(*edge_index_dict.values()), ends, strict=True):
            for end, bound in zip(edges, size, strict=True):
                in_range(end, bound)
            columns.append(edges + torch.tensor([[offset[name[0]]], [offset[name[-1]]]]))
        src, dst = torch.cat(columns, dim=1)
        counts = torch.tensor([edges.shape[1] for edges in columns])
        relation = torch.arange(len(columns)).repeat_interleave(counts)
        total = sum(sizes.values())
        return TypedEdges(src, dst, relation, (total, total), len(columns))

    return remembered(("typed edges", sum(sizes.values()), key), make)
