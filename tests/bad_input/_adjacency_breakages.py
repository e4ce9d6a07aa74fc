"""Breakages of edges, sizes and foreign graphs, as Adjacency's constructors take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx
import scipy.sparse
import torch
from _shared_breakages import FOREIGN, NOT_INDEX, SIZES, altered, more_dims, no_tensor, sparse
from _surface import Args, Breakage, Draw
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data, HeteroData


def edge_index_breakages() -> dict[str, Breakage]:
    def entry(row: int, new: Callable[[Draw, Args], int], dtype: torch.dtype | None = None) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            edges = args["edge_index"].to(dtype or args["edge_index"].dtype, copy=True)
            sizes = args["num_nodes"] or (int(edges[0].max()) + 1, int(edges[1].max()) + 1)
            edges[row, draw(st.integers(0, edges.shape[1] - 1))] = new(draw, args)
            return {"edge_index": edges, "num_nodes": sizes}

        return breakage

    def size(row: int, args: Args) -> int:
        given = args["num_nodes"]
        if given is None:
            return int(args["edge_index"][row].max()) + 1
        return given[row] if isinstance(given, tuple) else given

    def too_small(draw: Draw, args: Args) -> Args:
        low = tuple(int(row.max()) for row in args["edge_index"])
        small = [max(low), (low[0], low[1] + 1), (low[0] + 1, low[1]), low]
        return {"num_nodes": draw(st.sampled_from(small))}

    def no_size(draw: Draw, args: Args) -> Args:
        n = 1 + int(args["edge_index"].max())
        wrong = [float(n), str(n), [n, n], (n,), (n, n, n), (n, str(n)), (float(n), n), True, {n}, torch.tensor(n)]
        return {"num_nodes": draw(st.sampled_from(wrong))}

    return {
        "edge_index with a third row": altered("edge_index", lambda draw, v: torch.cat([v, v[:1]])),
        "edge_index of one row": altered("edge_index", lambda draw, v: v[:1]),
        "edge_index transposed": altered("edge_index", lambda draw, v: v.t()),
        "edge_index flat": altered("edge_index", lambda draw, v: v.flatten()),
        "edge_index a scalar": altered("edge_index", lambda draw, v: v[0, 0]),
        "edge_index with more dimensions": altered("edge_index", more_dims),
        "edge_index of another dtype": altered("edge_index", NOT_INDEX),
        "edge_index no tensor": altered("edge_index", no_tensor),
        "edge_index sparse": altered("edge_index", sparse),
        "a negative source": entry(0, lambda draw, args: -draw(SIZES)),
        "a negative destination": entry(1, lambda draw, args: -draw(SIZES)),
        "a source beyond num_nodes": entry(0, lambda draw, args: size(0, args) - 1 + draw(SIZES)),
        "a destination beyond num_nodes": entry(1, lambda draw, args: size(1, args) - 1 + draw(SIZES)),
        "a source right only in 32 bits": entry(0, lambda draw, args: 2**32, torch.int64),
        "a destination right only in 32 bits": entry(1, lambda draw, args: 2**32, torch.int64),
        "num_nodes too small": too_small,
        "num_nodes negative": lambda draw, args: {"num_nodes": draw(st.sampled_from([-1, -9, (-1, 9), (9, -1)]))},
        "num_nodes no number": no_size,
        "num_nodes beyond 64 bits": lambda draw, args: {"num_nodes": 2 ** draw(st.integers(63, 90))},
    }


def num_src_breakages() -> dict[str, Breakage]:
    return {
        "num_src too small": lambda draw, args: {"num_src": draw(st.integers(0, int(args["indices"].max())))},
        "num_src negative": lambda draw, args: {"num_src": -draw(SIZES)},
        "num_src no number": lambda draw, args: {"num_src": draw(st.sampled_from([2.5, "9", [9], (9, 9), True, b"9"]))},
    }


def foreign(name: str, *more: Any) -> dict[str, Breakage]:
    """An object of another library, or of none."""
    others = [networkx.path_graph(3), scipy.sparse.eye_array(3), torch.eye(3), Data(), HeteroData(), *more]
    right = {"matrix": (scipy.sparse.sparray,), "graph": (networkx.Graph,), "data": (), "torch": (), "dgl": ()}[name]
    key = "graph" if name == "dgl" else "matrix" if name == "torch" else name
    choices = [other for other in others if not isinstance(other, right)]
    return {
        f"{key} foreign": lambda draw, args: {key: draw(st.one_of(FOREIGN, st.sampled_from(choices)))},
    }


def with_edges(alter: Callable[[Draw, Tensor], Any]) -> Breakage:
    def breakage(draw: Draw, args: Args) -> Args:
        data = args["data"].clone()
        data.edge_index = alter(draw, data.edge_index.clone())
        return {"data": data}

    return breakage


def put(position: tuple[int, int], value: int) -> Callable[[Draw, Tensor], Tensor]:
    def alter(draw: Draw, edges: Tensor) -> Tensor:
        edges[position] = value
        return edges

    return alter


def rows_breakages(name: str) -> dict[str, Breakage]:
    return {
        f"{name} of too few rows": altered(name, lambda draw, v: v[: -draw(st.integers(1, len(v)))]),
        f"{name} of too many rows": altered(name, lambda draw, v: torch.cat([v, v[: draw(st.integers(1, len(v)))]])),
        f"{name} a scalar": altered(name, lambda draw, v: v.flatten()[0]),
        f"{name} a list": altered(name, lambda draw, v: v.tolist()),
    }
