"""RGCNConv and FastRGCNConv: one product of groups over compact rows, between two sparse ones."""

from __future__ import annotations

from typing import Any

import torch
import torch_geometric.typing
from torch import Tensor

from gnnkit._accelerate._aggregation import REDUCES
from gnnkit._accelerate._layer import FastLayer
from gnnkit._accelerate._rows import FLOATS
from gnnkit._accelerate._typed_graph import is_plain, is_typed
from gnnkit._accelerate._typed_sum import typed_lookup, typed_sum


class FastRGCN(FastLayer):
    """An ``RGCNConv`` that serves all its relations at once."""

    def forward(self, x: Any, edge_index: Any, edge_type: Any = None) -> Any:
        """PyG's ``RGCNConv.forward``."""
        out = self._typed(x, edge_index, edge_type)
        return super().forward(x, edge_index, edge_type) if out is None else out

    def _typed(self, x: Any, edge_index: Any, edge_type: Any) -> Tensor | None:
        """Return what the layer returns; None if this call is PyG's."""
        src, dst = x if isinstance(x, tuple) and len(x) == 2 else (x, x)
        if src is None:
            src = torch.arange(self.in_channels_l)
            dst = dst if isinstance(x, tuple) else src
        if not (is_typed(self, edge_index, edge_type) and is_plain(src, dst) and self._fits(src, dst)):
            return None
        try:
            out = self._aggregated(src, edge_index, edge_type, (len(src), len(dst)))
        except ValueError:  # PyG says it in its own words
            return None
        if self.root is not None:  # nobody else holds the sum, and fresh memory is dear
            out = out.addmm_(dst, self.root) if dst.is_floating_point() else out.add_(self.root[dst])
        return out if self.bias is None else out.add_(self.bias)

    def _fits(self, src: Tensor, dst: Tensor) -> bool:
        """Whether rows of nodes, or ids of rows of the weights, are what the layer was made for."""
        dtype, reduce = self.weight.dtype, REDUCES.get(type(self.aggr_module))
        if (
            reduce is None
            or dtype not in FLOATS
            or any(p.dtype != dtype for p in self.parameters())
            or self.num_relations < 1
        ):
            return False
        if torch.promote_types(torch.get_default_dtype(), dtype) != dtype:
            return False  # PyG adds to zeros of the default dtype
        if not src.is_floating_point():
            ids = src.dtype == dst.dtype == torch.int64 and src.dim() == dst.dim() == 1
            return ids and self.num_blocks is None and reduce in ("sum", "mean")
        return (
            src.dtype == dst.dtype == dtype
            and src.dim() == dst.dim() == 2
            and src.shape[1] == self.in_channels_l
            and (self.root is None or dst.shape[1] == self.root.shape[0])
            and not self._is_pyg_libs(reduce)
        )

    def _is_pyg_libs(self, reduce: str) -> bool:
        """Whether PyG may use pyg-lib, with which it reduces over all relations at once: another function."""
        dense = self.num_bases is None and self.num_blocks is None
        return bool(torch_geometric.typing.WITH_SEGMM) and dense and reduce != "sum"

    def _aggregated(self, src: Tensor, edge_index: Tensor, edge_type: Tensor, sizes: tuple[int, int]) -> Tensor:
        reduce, weight, dtype = REDUCES[type(self.aggr_module)], self.weight, self.weight.dtype
        if self.num_bases is not None:
            weight = self.comp @ weight.view(self.num_bases, -1)
            weight = weight.view(self.num_relations, self.in_channels_l, self.out_channels)
        if src.is_floating_point():
            return typed_sum(edge_index, edge_type, sizes, self.num_relations, reduce, dtype)(src, weight)
        shape = self.num_relations, self.in_channels_l
        matrix = typed_lookup(edge_index, edge_type, self._ids(src), sizes, shape, reduce, dtype)
        out: Tensor = matrix @ weight.view(-1, self.out_channels)
        return out

    def _ids(self, src: Tensor) -> Tensor:
        """``[N_src]``: which row of a relation's weight a source is."""
        return src


class FastFastRGCN(FastRGCN):
    """A ``FastRGCNConv``, which is the same function by another way, but for ids."""

    def forward(self, x: Any, edge_index: Any, edge_type: Any = None) -> Any:
        """PyG's ``FastRGCNConv.forward``."""
        self.fuse = False
        return super().forward(x, edge_index, edge_type)

    def _fits(self, src: Tensor, dst: Tensor) -> bool:
        names = {"sum": ("add", "sum"), "mean": ("mean",)}
        return self.aggr in names.get(REDUCES.get(type(self.aggr_module), ""), ()) and super()._fits(src, dst)

    def _is_pyg_libs(self, reduce: str) -> bool:
        return False

    def _ids(self, src: Tensor) -> Tensor:
        return torch.arange(len(src))  # PyG looks up the node itself, whatever its id
