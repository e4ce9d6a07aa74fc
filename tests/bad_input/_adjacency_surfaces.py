"""Adjacency's constructors and methods, with their valid cases and their breakages."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import networkx
import torch
from _adjacency_breakages import edge_index_breakages, foreign, num_src_breakages, put, rows_breakages, with_edges
from _matrix_breakages import make_scipy, make_torch_sparse, scipy_breakages, torch_sparse_breakages
from _shared_breakages import NOT_INDEX, altered, csr_breakages, real_breakages, wrong_word
from _surface import REDUCES, Args, Breakage, Draw, Surface
from _valid_cases import make_csr, make_edge_index, numbers
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data

from gnnkit import Adjacency

HAS_DGL = find_spec("dgl") is not None


def make_pyg(draw: Draw) -> Args:
    args = make_edge_index(draw)
    return {"data": Data(edge_index=args["edge_index"], num_nodes=1 + int(args["edge_index"].max()))}


def dgl_graph(edges: Tensor, relations: int = 1) -> Any:
    from gnnkit.interop import import_dgl

    sizes = {"u": int(edges[0].max()) + 1, "v": int(edges[1].max()) + 1}
    pairs = {("u", f"r{k}", "v"): tuple(edges) for k in range(relations)}
    return import_dgl().heterograph(pairs, num_nodes_dict=sizes)


def make_dgl(draw: Draw) -> Args:
    return {"graph": dgl_graph(make_edge_index(draw)["edge_index"])}


DGL_BREAKAGES: dict[str, Breakage] = {
    "several relations": lambda draw, args: {
        "graph": dgl_graph(torch.stack(args["graph"].edges()), draw(st.sampled_from([2, 3])))
    },
    **foreign("dgl"),
}


def make_networkx(draw: Draw) -> Args:
    edges = make_edge_index(draw)["edge_index"]
    return {"graph": networkx.DiGraph(edges.t().tolist())}


def make_method(draw: Draw) -> Args:
    args = make_edge_index(draw)
    adj = Adjacency.from_edge_index(**args)
    row = draw(st.sampled_from([(3,), (2, 3)]))
    return {
        "adj": adj,
        "x": numbers(draw, adj.num_src, *row, dtype=torch.float32),
        "weight": numbers(draw, adj.num_edges, dtype=torch.float32),
        "reduce": draw(st.sampled_from(REDUCES)),
    }


def make_softmax(draw: Draw) -> Args:
    args = make_method(draw)
    return {"adj": args["adj"], "logits": numbers(draw, args["adj"].num_edges, dtype=torch.float32)}


def make_weights(draw: Draw) -> Args:
    args = make_method(draw)
    return {"adj": args["adj"], "weight": args["weight"]}


ADJACENCY: dict[str, Surface] = {
    "Adjacency.from_edge_index": Surface(
        "Adjacency", make_edge_index, Adjacency.from_edge_index, edge_index_breakages()
    ),
    "Adjacency.from_csr": Surface(
        "Adjacency", make_csr, Adjacency.from_csr, csr_breakages(lambda args: args["num_src"]) | num_src_breakages()
    ),
    "Adjacency.from_pyg": Surface(
        "Adjacency",
        make_pyg,
        Adjacency.from_pyg,
        {
            "no edges": with_edges(lambda draw, v: None),
            "edges of another dtype": with_edges(NOT_INDEX),
            "edges transposed": with_edges(lambda draw, v: v.t()),
            "a negative source": with_edges(put((0, 0), -1)),
            "a destination beyond num_nodes": with_edges(put((1, 0), 6)),
            **foreign("data"),
        },
    ),
    "Adjacency.from_scipy": Surface("Adjacency", make_scipy, Adjacency.from_scipy, scipy_breakages()),
    "Adjacency.from_torch_sparse": Surface(
        "Adjacency", make_torch_sparse, Adjacency.from_torch_sparse, torch_sparse_breakages()
    ),
    "Adjacency.from_networkx": Surface("Adjacency", make_networkx, Adjacency.from_networkx, foreign("graph")),
    **({"Adjacency.from_dgl": Surface("Adjacency", make_dgl, Adjacency.from_dgl, DGL_BREAKAGES)} if HAS_DGL else {}),
    "Adjacency.spmm": Surface(
        "Adjacency",
        make_method,
        lambda adj, x, weight, reduce: adj.spmm(x, weight, reduce),
        {
            **rows_breakages("x"),
            **rows_breakages("weight"),
            **real_breakages("x"),
            **{name: b for name, b in real_breakages("weight").items() if "no tensor" not in name},
            "reduce unknown": wrong_word("reduce", *REDUCES),
        },
    ),
    "Adjacency.softmax": Surface(
        "Adjacency",
        make_softmax,
        lambda adj, logits: adj.softmax(logits),
        {
            **rows_breakages("logits"),
            **real_breakages("logits"),
            "logits of three dimensions": altered("logits", lambda draw, v: v[:, None, None]),
        },
    ),
    "Adjacency.to_scipy": Surface(
        "Adjacency",
        make_weights,
        lambda adj, weight: adj.to_scipy(weight),
        rows_breakages("weight") | {"weight of two dimensions": altered("weight", lambda draw, v: v[:, None])},
    ),
    "Adjacency.to_torch_sparse": Surface(
        "Adjacency", make_weights, lambda adj, weight: adj.to_torch_sparse(weight), rows_breakages("weight")
    ),
}
