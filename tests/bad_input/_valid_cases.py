"""Valid arguments of every kernel, and of the constructors of Adjacency from edges."""

from __future__ import annotations

from typing import Any

import torch
from _surface import Args, Draw
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.kernels import relabel, transpose_csr


def draw_graph(draw: Draw) -> tuple[Tensor, Tensor, int, int]:
    """Draw a CSR of 3 to 9 edges: indptr, indices, num_src, num_dst; the first and last row have an edge."""
    num_src, num_dst = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    middle = draw(st.lists(st.integers(0, num_dst - 1), min_size=1, max_size=7))
    dst = sorted([0, *middle, num_dst - 1])
    src = draw(st.lists(st.integers(0, num_src - 1), min_size=len(dst), max_size=len(dst)))
    indptr = [sum(d < row for d in dst) for row in range(num_dst + 1)]
    return torch.tensor(indptr), torch.tensor(src), num_src, num_dst


def draw_dtypes(draw: Draw) -> tuple[torch.dtype, torch.dtype, torch.dtype]:
    """Draw dtypes of indptr, indices and values: every dtype, though not every combination (each is compiled)."""
    return draw(st.sampled_from([(torch.int64, torch.int32, torch.float32), (torch.int32, torch.int64, torch.float64)]))


def numbers(draw: Draw, *shape: int, dtype: torch.dtype) -> Tensor:
    """Draw a tensor of small whole numbers."""
    seed = draw(st.integers(0, 99))
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def make_spmm(draw: Draw) -> Args:
    indptr, indices, num_src, _ = draw_graph(draw)
    pointer, index, real = draw_dtypes(draw)
    heads, depth = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    form = draw(st.sampled_from(["[N,D]", "[N,H,D]", "[E,H]"]))
    x = numbers(draw, num_src, *[heads] * (form != "[N,D]"), depth, dtype=real)
    values = numbers(draw, len(indices), *[heads] * (form == "[E,H]"), dtype=real)
    return {
        "indptr": indptr.to(pointer),
        "indices": indices.to(index),
        "x": x,
        "values": values,
        "reduce": draw(st.sampled_from(["sum", "mean", "max", "min"])),
        "transpose": transpose_csr(indptr, indices, num_src),
    }


def make_spmm_scaled(draw: Draw) -> Args:
    indptr, indices, num_src, num_dst = draw_graph(draw)
    pointer, index, real = draw_dtypes(draw)
    row = draw(st.sampled_from([(1,), (3,), (2, 3)]))
    return {
        "indptr": indptr.to(pointer),
        "indices": indices.to(index),
        "x": numbers(draw, num_src, *row, dtype=real),
        "src_scale": numbers(draw, num_src, dtype=real),
        "dst_scale": numbers(draw, num_dst, dtype=real),
        "values": numbers(draw, len(indices), dtype=real),
        "transpose": transpose_csr(indptr, indices, num_src),
    }


def make_sddmm(draw: Draw) -> Args:
    indptr, indices, num_src, num_dst = draw_graph(draw)
    pointer, index, real = draw_dtypes(draw)
    row = draw(st.sampled_from([(1,), (3,), (2, 3)]))
    return {
        "indptr": indptr.to(pointer),
        "indices": indices.to(index),
        "a": numbers(draw, num_dst, *row, dtype=real),
        "b": numbers(draw, num_src, *row, dtype=real),
        "transpose": transpose_csr(indptr, indices, num_src),
    }


def make_segment_reduce(draw: Draw) -> Args:
    indptr, indices, *_ = draw_graph(draw)
    pointer, _, real = draw_dtypes(draw)
    row = draw(st.sampled_from([(), (3,), (2, 3)]))
    reduce = draw(st.sampled_from(["sum", "mean", "max", "min"]))
    return {"x": numbers(draw, len(indices), *row, dtype=real), "indptr": indptr.to(pointer), "reduce": reduce}


def make_segment_softmax(draw: Draw) -> Args:
    indptr, indices, *_ = draw_graph(draw)
    pointer, _, real = draw_dtypes(draw)
    row = draw(st.sampled_from([(), (3,)]))
    return {"logits": numbers(draw, len(indices), *row, dtype=real), "indptr": indptr.to(pointer)}


def make_gat_attention(draw: Draw) -> Args:
    indptr, indices, num_src, num_dst = draw_graph(draw)
    pointer, index, real = draw_dtypes(draw)
    heads, depth = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    return {
        "indptr": indptr.to(pointer),
        "indices": indices.to(index),
        "x": numbers(draw, num_src, heads, depth, dtype=real),
        "a_src": numbers(draw, num_src, heads, dtype=real),
        "a_dst": numbers(draw, num_dst, heads, dtype=real),
        "a_edge": numbers(draw, len(indices), heads, dtype=real),
        "mask": numbers(draw, len(indices), heads, dtype=real),
        "negative_slope": draw(st.sampled_from([0, 0.2, 1.0])),
        "transpose": transpose_csr(indptr, indices, num_src),
    }


def make_gatv2_attention(draw: Draw) -> Args:
    args = make_gat_attention(draw)
    num_dst, heads, depth = len(args["a_dst"]), *args["x"].shape[1:]
    for name in ("a_src", "a_dst", "a_edge"):
        del args[name]
    x_src = args.pop("x")
    return args | {
        "x_src": x_src,
        "x_dst": numbers(draw, num_dst, heads, depth, dtype=x_src.dtype),
        "att": numbers(draw, heads, depth, dtype=x_src.dtype),
    }


def make_segment_matmul(draw: Draw) -> Args:
    indptr, indices, *_ = draw_graph(draw)
    pointer, _, real = draw_dtypes(draw)
    heads = draw(st.sampled_from([(), (1,), (2,)]))
    inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return {
        "x": numbers(draw, len(indices), *heads, inner, dtype=real),
        "ptr": indptr.to(pointer),
        "weight": numbers(draw, len(indptr) - 1, *heads, inner, outer, dtype=real),
    }


def make_gather_rows(draw: Draw) -> Args:
    rows, row = draw(st.integers(1, 6)), draw(st.sampled_from([(), (3,), (2, 2)]))
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.int64, torch.uint8, torch.bool]))
    ids = torch.tensor(draw(st.lists(st.integers(0, rows - 1), min_size=2, max_size=5)))
    return {
        "table": numbers(draw, rows, *row, dtype=dtype),
        "ids": ids.to(draw(st.sampled_from([torch.int32, torch.int64]))),
        "out": torch.zeros(len(ids), *row, dtype=dtype),
    }


def make_group_by(draw: Draw) -> Args:
    num_groups = draw(st.integers(1, 6))
    keys = torch.tensor(draw(st.lists(st.integers(0, num_groups - 1), min_size=2, max_size=8)))
    return {"keys": keys.to(draw(st.sampled_from([torch.int32, torch.int64]))), "num_groups": num_groups}


def make_sample_neighbors(draw: Draw) -> Args:
    indptr, indices, *_ = draw_graph(draw)
    return {
        "indices": indices.to(draw(st.sampled_from([torch.int32, torch.int64]))),
        "starts": indptr[:-1].clone(),
        "ends": indptr[1:].clone(),
        "fanout": draw(st.integers(-1, 3)),
        "key": draw(st.integers(0, 2**64)),
        "replace": draw(st.booleans()),
        "cumulative": draw(st.sampled_from([None, torch.arange(1.0, len(indices) + 1, dtype=torch.float64)])),
    }


def make_relabel(draw: Draw) -> Args:
    size = draw(st.integers(2, 6))
    local = torch.full((size,), -1, dtype=torch.int32)
    local[draw(st.integers(0, size - 1))] = 0
    ids = torch.tensor(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8)))
    return {"local": local, "count": 1, "ids": ids.to(draw(st.sampled_from([torch.int32, torch.int64])))}


def call_relabel(local: Any, count: Any, ids: Any) -> tuple[Tensor, Tensor]:
    """Relabel in a table of this call's own, which is written."""
    return relabel(local.clone() if isinstance(local, Tensor) and local.is_contiguous() else local, count, ids)


def make_sample_hops(draw: Draw) -> Args:
    indptr, indices, _, num_nodes = draw_graph(draw)
    hops = draw(st.integers(1, 3))
    seeds = torch.tensor(draw(st.lists(st.integers(0, num_nodes - 1), min_size=1, max_size=4)))
    return {
        "indptr": indptr,
        "indices": (indices % num_nodes).to(draw(st.sampled_from([torch.int32, torch.int64]))),
        "seeds": seeds.to(draw(st.sampled_from([torch.int32, torch.int64]))),
        "fanouts": draw(st.lists(st.integers(-1, 3), min_size=hops, max_size=hops)),
        "keys": draw(st.lists(st.integers(0, 2**64), min_size=hops, max_size=hops)),
        "replace": draw(st.booleans()),
        "cumulative": draw(st.sampled_from([None, torch.arange(1.0, len(indices) + 1, dtype=torch.float64)])),
        "local": torch.full((num_nodes,), -1, dtype=torch.int32),
    }


def make_transpose_csr(draw: Draw) -> Args:
    indptr, indices, num_src, _ = draw_graph(draw)
    pointer, index, _ = draw_dtypes(draw)
    return {"indptr": indptr.to(pointer), "indices": indices.to(index), "num_src": num_src}


def make_edge_index(draw: Draw) -> Args:
    num_src, num_dst = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    src = draw(st.lists(st.integers(0, num_src - 1), min_size=3, max_size=8))
    dst = draw(st.lists(st.integers(0, num_dst - 1), min_size=len(src), max_size=len(src)))
    dtype = draw(st.sampled_from([torch.int32, torch.int64]))
    num_nodes = draw(st.sampled_from([(num_src, num_dst), max(num_src, num_dst), None]))
    return {"edge_index": torch.tensor([src, dst], dtype=dtype), "num_nodes": num_nodes}


def make_csr(draw: Draw) -> Args:
    indptr, indices, num_src, _ = draw_graph(draw)
    pointer, index, _ = draw_dtypes(draw)
    return {"indptr": indptr.to(pointer), "indices": indices.to(index), "num_src": num_src}
