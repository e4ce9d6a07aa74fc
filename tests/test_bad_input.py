"""Bad input: a valid case with exactly one thing broken is a ValueError that says what it got, and never more.

Every surface below has a maker of valid arguments, a call, and breakages. A breakage takes the arguments and
gives those to replace. Each example first makes the call unbroken, which must succeed, so that what is refused
is refused for the breakage alone. The last part holds the opposite: odd but valid input equals a plain oracle.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import Data, HeteroData

from gnnkit import Adjacency, cli
from gnnkit.bench import MODELS, recipe
from gnnkit.data import Split, from_masks, per_class
from gnnkit.datasets import load, names
from gnnkit.kernels import (
    gat_attention,
    gather_rows,
    gatv2_attention,
    group_by,
    relabel,
    sample_hops,
    sample_neighbors,
    sddmm,
    segment_matmul,
    segment_reduce,
    segment_softmax,
    spmm,
    spmm_scaled,
    transpose_csr,
)
from gnnkit.train import NodeClassification, override

BACKENDS = ("torch", "numba")
EXAMPLES = {  # bad inputs for each breakage (on each backend, where there are two)
    "Adjacency": 4,
    "kernels": 4,
    "data": 6,
    "config": 10,
    "command line": 6,
}
AT_LEAST = 500
# the first failure is shown as it was drawn: the cases are small, and shrinking one takes a hundred times longer
EVERY_TIME_THE_SAME = settings(deadline=None, derandomize=True, database=None, phases=[Phase.generate])
TRIED: dict[str, set[str]] = {}  # surface -> the different bad inputs that were really tried
RAN: set[str] = set()  # the tests that ran, to tell a whole run of this file from a part of it

Draw = Callable[..., Any]
Args = dict[str, Any]
Breakage = Callable[[Draw, Args], Args]

pytestmark = pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state:UserWarning")


@dataclass
class Surface:
    """One function: how to make valid arguments, how to call it, and what can be wrong."""

    kind: str
    make: Callable[[Draw], Args]
    call: Callable[..., Any]
    breakages: dict[str, Breakage] = field(default_factory=dict)


def show(value: Any) -> str:
    """Write a value so that different inputs look different and equal ones equal."""
    if isinstance(value, Tensor):
        plain = value.layout == torch.strided and value.device.type == "cpu"
        content = value.tolist() if plain else f"{value.layout} on {value.device}"
        return f"{value.dtype}{list(value.shape)} {content}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={show(v)}" for key, v in value.items())
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(show, value))})"
    plain = isinstance(value, (int, float, complex, str, bytes, np.ndarray, np.generic)) or value is None
    return repr(value) if plain else type(value).__name__


# ------------------------------------------------------------------ valid cases


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


# ------------------------------------------------------------------ breakages that many surfaces share

SIZES = st.one_of(st.integers(1, 3), st.sampled_from([1000, 2**20]))  # by how much something is off
FOREIGN = st.sampled_from([None, "text", 3, 2.5, [1, 2], {"a": 1}, np.eye(2), object()])


def altered(name: str, alter: Callable[[Draw, Tensor], Any]) -> Breakage:
    """Replace one argument by an altered copy."""
    return lambda draw, args: {name: alter(draw, args[name].clone())}


def one_entry(name: str, new: Callable[[Draw, Args], int], dtype: torch.dtype | None = None) -> Breakage:
    """Put a wrong number at a random position of an index vector."""

    def breakage(draw: Draw, args: Args) -> Args:
        vector = args[name].to(dtype or args[name].dtype, copy=True)
        vector[draw(st.integers(0, len(vector) - 1))] = new(draw, args)
        return {name: vector}

    return breakage


def no_tensor(draw: Draw, value: Tensor) -> Any:
    return draw(st.sampled_from([None, "text", 3, value.tolist(), value.numpy()]))


def as_dtype(*dtypes: torch.dtype) -> Callable[[Draw, Tensor], Tensor]:
    return lambda draw, value: value.to(draw(st.sampled_from(dtypes)))


def elsewhere(draw: Draw, value: Tensor) -> Tensor:
    return value.to("meta")  # the one other device that every machine has


def sparse(draw: Draw, value: Tensor) -> Tensor:
    return value.to_sparse()


def more_dims(draw: Draw, value: Tensor) -> Tensor:
    return value[(None,) * draw(st.integers(1, 2))]


NOT_INDEX = as_dtype(torch.float32, torch.float64, torch.int16, torch.uint8, torch.bool, torch.complex64)
NOT_REAL = as_dtype(torch.int64, torch.int32, torch.bool, torch.complex64)


def off(name: str) -> dict[str, Breakage]:
    """What no index vector may be."""
    return {
        f"{name} of another dtype": altered(name, NOT_INDEX),
        f"{name} with more dimensions": altered(name, more_dims),
        f"{name} a scalar": altered(name, lambda draw, v: v[0]),
        f"{name} no tensor": altered(name, no_tensor),
        f"{name} sparse": altered(name, sparse),
    }


def pointer_breakages(vector: str = "indptr") -> dict[str, Breakage]:
    """What is wrong with row pointers."""

    def inner(draw: Draw, value: Tensor) -> int:
        return int(draw(st.integers(1, len(value) - 2)))

    def falls(draw: Draw, value: Tensor) -> Tensor:
        k = inner(draw, value)
        value[k] = value[k + 1] + draw(SIZES)
        return value

    def negative(draw: Draw, value: Tensor) -> Tensor:
        value[inner(draw, value)] = -draw(SIZES)
        return value

    def wraps(draw: Draw, value: Tensor) -> Tensor:
        value = value.long()
        value[inner(draw, value)] += 2**32  # in 32 bits, nothing has changed
        return value

    def first(draw: Draw, value: Tensor) -> Tensor:
        value[0] = draw(SIZES) * draw(st.sampled_from([1, -1]))
        return value

    def early(draw: Draw, value: Tensor) -> Tensor:
        value[-1] -= draw(st.integers(1, int(value[-1])))
        return value

    def late(draw: Draw, value: Tensor) -> Tensor:
        value[-1] += draw(SIZES)
        return value

    changes: dict[str, Callable[[Draw, Tensor], Any]] = {
        "falls": falls,
        "negative": negative,
        "right only in 32 bits": wraps,
        "not from 0": first,
        "ending early": early,
        "ending late": late,
        "cut short": lambda draw, v: v[: -draw(st.integers(1, len(v) - 1))],
        "empty": lambda draw, v: v[:0],
    }
    return {f"{vector} {name}": altered(vector, change) for name, change in changes.items()} | off(vector)


def id_breakages(name: str, bound: Callable[[Args], int]) -> dict[str, Breakage]:
    """What is wrong with ids that must lie in [0, bound)."""
    return {
        f"{name} beyond the table": one_entry(name, lambda draw, args: bound(args) - 1 + draw(SIZES)),
        f"{name} negative": one_entry(name, lambda draw, args: -draw(SIZES)),
        f"{name} right only in 32 bits": one_entry(
            name, lambda draw, args: 2**32 * draw(st.integers(1, 3)), torch.int64
        ),
        f"{name} at the end of 64 bits": one_entry(
            name, lambda draw, args: draw(st.sampled_from([2**63 - 1, -(2**63)])), torch.int64
        ),
        **off(name),
    }


def csr_breakages(num_src: Callable[[Args], int]) -> dict[str, Breakage]:
    """What is wrong with a CSR."""
    return {
        **pointer_breakages(),
        **id_breakages("indices", num_src),
        "indices too few": altered("indices", lambda draw, v: v[: -draw(st.integers(1, len(v)))]),
        "indices too many": altered("indices", lambda draw, v: torch.cat([v, v[:1].repeat(draw(st.integers(1, 3)))])),
    }


def real_breakages(name: str) -> dict[str, Breakage]:
    """What is wrong with a tensor that must be float32 or float64."""
    return {
        f"{name} of another dtype": altered(name, NOT_REAL),
        f"{name} no tensor": altered(name, no_tensor),
        f"{name} sparse": altered(name, sparse),
        f"{name} on another device": altered(name, elsewhere),
    }


def other_rows(draw: Draw, value: Tensor) -> Tensor:
    return value[:-1] if draw(st.booleans()) else torch.cat([value, value[:1]])


def wider(draw: Draw, value: Tensor) -> Tensor:
    return torch.cat([value, value[..., :1]], dim=-1)


def other_float(draw: Draw, value: Tensor) -> Tensor:
    return value.to(torch.float64 if value.dtype == torch.float32 else torch.float32)


def wrong_word(name: str, *right: str) -> Breakage:
    words = st.one_of(st.text(max_size=8), st.sampled_from([None, 3, ("sum",), ["sum"], "SUM", "add", "sum "]))
    return lambda draw, args: {name: draw(words.filter(lambda word: word not in right))}


def transpose_breakages() -> dict[str, Breakage]:
    """What is wrong with the shape of a transpose."""

    def entry(position: int, alter: Callable[[Draw, Tensor], Any]) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            parts = list(args["transpose"])
            parts[position] = alter(draw, parts[position].clone())
            return {"transpose": tuple(parts)}

        return breakage

    def longer(draw: Draw, value: Tensor) -> Tensor:
        return torch.cat([value, value[:1]])

    def shorter(draw: Draw, value: Tensor) -> Tensor:
        return value[:-1]

    parts = {
        f"transpose with {name} {how}": entry(position, alter)
        for position, name in enumerate(("t_indptr", "t_indices", "t_perm"))
        for how, alter in {
            "too long": longer,
            "too short": shorter,
            "of another dtype": NOT_INDEX,
            "no tensor": no_tensor,
            "with more dimensions": more_dims,
            "on another device": elsewhere,
        }.items()
    }
    return parts | {
        "transpose a pair": lambda draw, args: {"transpose": args["transpose"][:2]},
        "transpose a list": lambda draw, args: {"transpose": list(args["transpose"])},
        "transpose foreign": lambda draw, args: {"transpose": draw(FOREIGN.filter(lambda v: v is not None))},
    }


REDUCES = ("sum", "mean", "max", "min")


# ------------------------------------------------------------------ kernels


def spmm_breakages() -> dict[str, Breakage]:
    def per_head_without_heads(draw: Draw, args: Args) -> Args:
        heads = draw(st.integers(1, 3))
        return {"x": args["x"].flatten(1), "values": args["x"].new_ones(len(args["indices"]), heads)}

    return {
        **csr_breakages(lambda args: len(args["x"])),
        **transpose_breakages(),
        **real_breakages("x"),
        **real_breakages("values"),
        "values no tensor": altered("values", lambda draw, v: draw(st.sampled_from(["text", 3, v.tolist()]))),
        "x lacks the last source": lambda draw, args: {
            "x": args["x"][: int(args["indices"].max())],
            "transpose": None,
        },
        "x of one dimension": altered("x", lambda draw, v: v.flatten()),
        "x of four dimensions": altered("x", lambda draw, v: v[None, None] if v.dim() == 2 else v[None]),
        "x of another float": altered("x", other_float),
        "values of another float": altered("values", other_float),
        "values too few": altered("values", lambda draw, v: v[: -draw(st.integers(1, len(v)))]),
        "values too many": altered("values", lambda draw, v: torch.cat([v, v[: draw(st.integers(1, len(v)))]])),
        "values of wrong heads": lambda draw, args: {
            "values": args["x"].new_ones(
                len(args["indices"]),
                draw(st.integers(0, 5).filter(lambda h: args["x"].dim() == 2 or h != args["x"].shape[1])),
            )
        },
        "values of three dimensions": altered("values", lambda draw, v: v.reshape(len(v), -1, 1)),
        "values a scalar": altered("values", lambda draw, v: v.flatten()[0]),
        "values per head, x without heads": per_head_without_heads,
        "reduce unknown": wrong_word("reduce", *REDUCES),
    }


def spmm_scaled_breakages() -> dict[str, Breakage]:
    found = {
        **csr_breakages(lambda args: len(args["x"])),
        **transpose_breakages(),
        **real_breakages("x"),
        "x of one dimension": altered("x", lambda draw, v: v.flatten()),
        "x of another float": altered("x", other_float),
    }
    for name in ("src_scale", "dst_scale", "values"):
        found |= {
            **real_breakages(name),
            f"{name} no tensor": altered(name, lambda draw, v: draw(st.sampled_from(["text", 3, v.tolist()]))),
            f"{name} of another float": altered(name, other_float),
            f"{name} too few": altered(name, lambda draw, v: v[: -draw(st.integers(1, len(v)))]),
            f"{name} too many": altered(name, lambda draw, v: torch.cat([v, v[: draw(st.integers(1, len(v)))]])),
            f"{name} of two dimensions": altered(name, lambda draw, v: v.unsqueeze(-1)),
        }
    return found


def sddmm_breakages() -> dict[str, Breakage]:
    return {
        **csr_breakages(lambda args: len(args["b"])),
        **transpose_breakages(),
        **real_breakages("a"),
        **real_breakages("b"),
        "a of wrong rows": altered("a", other_rows),
        "b lacks the last source": lambda draw, args: {
            "b": args["b"][: int(args["indices"].max())],
            "transpose": None,
        },
        "a wider": altered("a", wider),
        "b wider": altered("b", wider),
        "a of another float": altered("a", other_float),
        "b of another float": altered("b", other_float),
        "a with heads, b without": lambda draw, args: {
            "a": args["a"].reshape(len(args["a"]), 1, -1),
            "b": args["b"].flatten(1),
        },
        "a of one dimension": altered("a", lambda draw, v: v.flatten()),
        "a of four dimensions": altered("a", lambda draw, v: v.reshape(len(v), 1, 1, -1)),
    }


def segment_breakages(name: str) -> dict[str, Breakage]:
    return {
        **pointer_breakages(),
        **real_breakages(name),
        "indptr on another device": altered("indptr", elsewhere),
        f"{name} of wrong rows": altered(name, other_rows),
        f"{name} a scalar": altered(name, lambda draw, v: v.flatten()[0]),
        f"{name} of four dimensions": altered(name, lambda draw, v: v.reshape(len(v), 1, 1, -1)),
    }


def attention_breakages(x: str, *given: str) -> dict[str, Breakage]:
    """What is wrong with a fused attention: ``x`` names the rows of sources, ``given`` the other real tensors."""

    def learns(draw: Draw, value: Tensor) -> Tensor:
        return value.requires_grad_()

    def no_slope(draw: Draw, args: Args) -> Args:
        wrong = [-0.1, -1, math.nan, math.inf, -math.inf, 10**400, None, "0.2", [0.2], True, 1j, torch.tensor(0.2)]
        return {"negative_slope": draw(st.sampled_from(wrong))}

    def without_last_source(draw: Draw, args: Args) -> Args:
        rows = int(args["indices"].max())
        return {name: args[name][:rows] for name in (x, "a_src") if name in args} | {"transpose": None}

    breakages = {
        **csr_breakages(lambda args: len(args[x])),
        **transpose_breakages(),
        f"{x} of more heads": altered(x, lambda draw, v: torch.cat([v, v[:, :1]], dim=1)),
        **{f"{name} wider": altered(name, wider) for name in ("mask", *given)},
        f"{x} lacks the last source": without_last_source,
        "mask that asks for a gradient": altered("mask", learns),
        "mask no tensor": altered("mask", lambda draw, v: draw(st.sampled_from(["text", 3, v.tolist()]))),
        "negative_slope no number from 0 on": no_slope,
    }
    for name in (x, "mask", *given):
        breakages |= {key: breakage for key, breakage in real_breakages(name).items() if key not in breakages}
        breakages |= {
            f"{name} of another float": altered(name, other_float),
            f"{name} of wrong rows": altered(name, other_rows),
            f"{name} of one dimension": altered(name, lambda draw, v: v.flatten()),
            f"{name} with more dimensions": altered(name, more_dims),
            f"{name} a scalar": altered(name, lambda draw, v: v.flatten()[0]),
        }
    if "a_edge" in given:  # as mask, it may be None
        breakages["a_edge no tensor"] = altered(
            "a_edge", lambda draw, v: draw(st.sampled_from(["text", 3, v.tolist()]))
        )
    return breakages


def matmul_breakages() -> dict[str, Breakage]:
    def heads_of_one(name: str) -> Breakage:
        # heads where the other has none, or none where it has them
        return altered(name, lambda draw, v: v.unsqueeze(1) if v.dim() == 2 + (name == "weight") else v[:, 0])

    return {
        **pointer_breakages("ptr"),
        "ptr on another device": altered("ptr", elsewhere),
        **real_breakages("x"),
        **real_breakages("weight"),
        "ptr too long": altered("ptr", lambda draw, v: torch.cat([v, v[-1:].repeat(draw(st.integers(1, 3)))])),
        "x of another float": altered("x", other_float),
        "x of 16 bits": altered("x", as_dtype(torch.float16, torch.bfloat16)),
        "x of wrong rows": altered("x", other_rows),
        "x wider": altered("x", wider),
        "x with other heads": heads_of_one("x"),
        "x of one dimension": altered("x", lambda draw, v: v.flatten()),
        "x of four dimensions": altered("x", lambda draw, v: v.reshape(len(v), 1, 1, -1)),
        "x a scalar": altered("x", lambda draw, v: v.flatten()[0]),
        "weight of another float": altered("weight", other_float),
        "weight of 16 bits": altered("weight", as_dtype(torch.float16, torch.bfloat16)),
        "weight of wrong types": altered("weight", other_rows),
        "weight of more inputs": altered("weight", lambda draw, v: torch.cat([v, v[..., :1, :]], dim=-2)),
        "weight with other heads": heads_of_one("weight"),
        "weight of two dimensions": altered("weight", lambda draw, v: v.flatten(1)),
        "weight of five dimensions": altered("weight", lambda draw, v: v.reshape(len(v), 1, 1, -1, v.shape[-1])),
        "weight a scalar": altered("weight", lambda draw, v: v.flatten()[0]),
    }


def gather_breakages() -> dict[str, Breakage]:
    def other_shape(draw: Draw, value: Tensor) -> Tensor:
        return value[..., None].expand(*value.shape, 2).contiguous()

    def strided(draw: Draw, value: Tensor) -> Tensor:
        return torch.stack([value, value], dim=-1)[..., 0]

    def shares_memory(draw: Draw, args: Args) -> Args:
        memory = torch.cat([args["table"]] * 3)  # at least 3 rows
        rows = len(memory) - 1
        shift = draw(st.integers(0, 1))
        ids = torch.arange(rows).roll(draw(st.integers(1, rows - 1)))
        return {"table": memory[:rows], "ids": ids, "out": memory[shift : shift + rows]}

    def asks_for_gradients(draw: Draw, args: Args) -> Args:
        name = draw(st.sampled_from(["table", "out"]))
        real = {key: args[key].float() for key in ("table", "out")}
        return {**real, name: real[name].requires_grad_()}

    return {
        **id_breakages("ids", lambda args: len(args["table"])),
        "table without the last id": lambda draw, args: {"table": args["table"][: int(args["ids"].max())]},
        "table a scalar": altered("table", lambda draw, v: v.flatten()[0]),
        "table no tensor": altered("table", no_tensor),
        "table sparse": lambda draw, args: {"table": args["table"].to_sparse(), "out": None},
        "out of too few rows": altered("out", lambda draw, v: v[:-1]),
        "out of too many rows": altered("out", lambda draw, v: torch.cat([v, v[:1]])),
        "out of another shape": altered("out", other_shape),
        "out of another dtype": altered("out", as_dtype(torch.int16, torch.float64, torch.bfloat16)),
        "out no tensor": lambda draw, args: {"out": draw(FOREIGN.filter(lambda v: v is not None))},
        "out with strides": altered("out", strided),
        "out repeated in memory": altered("out", lambda draw, v: v[:1].expand_as(v)),
        "out on another device": altered("out", elsewhere),
        "out asks for gradients": asks_for_gradients,
        "out is the table": shares_memory,
    }


def count_breakages(name: str) -> dict[str, Breakage]:
    """What is wrong with a number of things."""
    return {
        f"{name} negative": lambda draw, args: {name: -draw(SIZES)},
        f"{name} no whole number": lambda draw, args: {name: draw(st.sampled_from([2.5, "3", None, [3], (3,), b"3"]))},
        f"{name} beyond 64 bits": lambda draw, args: {name: 2 ** draw(st.integers(63, 90))},
    }


NOT_WHOLE = st.sampled_from([2.5, "3", None, [3], True, torch.tensor(3)])
NOT_FANOUT = st.one_of(NOT_WHOLE, st.integers(-9, -2), st.integers(2**31, 2**70))
NOT_BOOL = st.sampled_from([None, 0, 1, "yes", torch.tensor(True)])


def instead(name: str, values: st.SearchStrategy[Any]) -> Breakage:
    return lambda draw, args: {name: draw(values)}


def table_breakages() -> dict[str, Breakage]:
    """What is wrong with a table of sources, weights and how to draw from them."""
    return {
        **off("indices"),
        "indices elsewhere": altered("indices", elsewhere),
        "replace no choice": instead("replace", NOT_BOOL),
        "cumulative of another length": lambda draw, args: {
            "cumulative": torch.ones(len(args["indices"]) + draw(SIZES), dtype=torch.float64)
        },
        "cumulative of another float": lambda draw, args: {"cumulative": torch.ones(len(args["indices"]))},
        "cumulative no tensor": lambda draw, args: {"cumulative": draw(FOREIGN.filter(lambda v: v is not None))},
    }


def sample_neighbors_breakages() -> dict[str, Breakage]:
    whole = {f"{name} of 32 bits": altered(name, as_dtype(torch.int32)) for name in ("starts", "ends")}
    lengths = {f"{name} too few": altered(name, lambda draw, v: v[:-1]) for name in ("starts", "ends")}
    return {
        **table_breakages(),
        **off("starts"),
        **off("ends"),
        **whole,
        **lengths,
        "starts elsewhere": altered("starts", elsewhere),
        "starts negative": one_entry("starts", lambda draw, args: -draw(SIZES)),
        "starts behind ends": one_entry("starts", lambda draw, args: int(args["ends"].max()) + draw(SIZES)),
        "ends beyond the entries": one_entry("ends", lambda draw, args: len(args["indices"]) + draw(SIZES)),
        "ends at the end of 64 bits": one_entry("ends", lambda draw, args: 2**63 - 1),
        "fanout no number of draws": instead("fanout", NOT_FANOUT),
        "key no whole number": instead("key", NOT_WHOLE),
    }


def relabel_breakages() -> dict[str, Breakage]:
    return {
        **id_breakages("ids", lambda args: len(args["local"])),
        "ids elsewhere": altered("ids", elsewhere),
        **{name: breakage for name, breakage in off("local").items() if "dtype" not in name},
        "local of another dtype": altered("local", as_dtype(torch.int64, torch.int16, torch.float32)),
        "local with strides": altered("local", lambda draw, v: torch.stack([v, v], dim=1)[:, 0]),
        "local of another count": lambda draw, args: {"ids": args["local"].argmax()[None], "count": 0},
        "count negative": instead("count", st.integers(-9, -1)),
        "count no whole number": instead("count", NOT_WHOLE),
        "count beyond 31 bits": instead("count", st.integers(2**31 - 1, 2**40)),
    }


def sample_hops_breakages() -> dict[str, Breakage]:
    def one_of_list(name: str, values: st.SearchStrategy[Any]) -> Breakage:
        return lambda draw, args: {name: [*args[name][:-1], draw(values)]}

    def inner(wrong: Callable[[Draw, Args], int]) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            indptr = args["indptr"].clone()
            indptr[1:] = wrong(draw, args)  # the row of the seed below
            return {"indptr": indptr, "seeds": torch.tensor([0])}

        return breakage

    return {
        **table_breakages(),
        **id_breakages("seeds", lambda args: len(args["indptr"]) - 1),
        "seeds elsewhere": altered("seeds", elsewhere),
        **off("indptr"),
        "indptr empty": altered("indptr", lambda draw, v: v[:0]),
        "indptr of 32 bits": altered("indptr", as_dtype(torch.int32)),
        "indptr ending late": inner(lambda draw, args: len(args["indices"]) + draw(SIZES)),
        "indptr falling": inner(lambda draw, args: -draw(SIZES)),
        "indices beyond the nodes": lambda draw, args: {
            "indices": torch.full_like(args["indices"], len(args["indptr"]) - 2 + draw(SIZES)),
            "seeds": torch.tensor([0]),
            "fanouts": [-1] * len(args["fanouts"]),
        },
        "fanouts no list": instead("fanouts", st.sampled_from([None, 3, "3", torch.tensor([3])])),
        "fanouts too many": lambda draw, args: {"fanouts": [*args["fanouts"], 1]},
        "fanouts with none": one_of_list("fanouts", NOT_FANOUT),
        "keys no list": instead("keys", st.sampled_from([None, 3, "3", torch.tensor([3])])),
        "keys too few": lambda draw, args: {"keys": args["keys"][:-1]},
        "keys with none": one_of_list("keys", NOT_WHOLE),
        "local of another length": altered("local", lambda draw, v: v[:-1]),
        "local of another dtype": altered("local", as_dtype(torch.int64, torch.float32)),
        "local elsewhere": altered("local", elsewhere),
        "local with strides": altered("local", lambda draw, v: torch.stack([v, v], dim=1)[:, 0]),
        "local no tensor": lambda draw, args: {"local": draw(FOREIGN.filter(lambda v: v is not None))},
    }


HAS_DGL = find_spec("dgl") is not None

SURFACES: dict[str, Surface] = {
    "spmm": Surface("kernels", make_spmm, spmm, spmm_breakages()),
    "spmm_scaled": Surface("kernels", make_spmm_scaled, spmm_scaled, spmm_scaled_breakages()),
    "sddmm": Surface("kernels", make_sddmm, sddmm, sddmm_breakages()),
    "segment_reduce": Surface(
        "kernels",
        make_segment_reduce,
        segment_reduce,
        segment_breakages("x") | {"reduce unknown": wrong_word("reduce", *REDUCES)},
    ),
    "segment_softmax": Surface("kernels", make_segment_softmax, segment_softmax, segment_breakages("logits")),
    "gat_attention": Surface(
        "kernels", make_gat_attention, gat_attention, attention_breakages("x", "a_src", "a_dst", "a_edge")
    ),
    "gatv2_attention": Surface(
        "kernels", make_gatv2_attention, gatv2_attention, attention_breakages("x_src", "x_dst", "att")
    ),
    "segment_matmul": Surface("kernels", make_segment_matmul, segment_matmul, matmul_breakages()),
    "gather_rows": Surface("kernels", make_gather_rows, gather_rows, gather_breakages()),
    "group_by": Surface(
        "kernels",
        make_group_by,
        group_by,
        id_breakages("keys", lambda args: args["num_groups"])
        | count_breakages("num_groups")
        | {"num_groups too small": lambda draw, args: {"num_groups": draw(st.integers(0, int(args["keys"].max())))}},
    ),
    "sample_neighbors": Surface("kernels", make_sample_neighbors, sample_neighbors, sample_neighbors_breakages()),
    "relabel": Surface("kernels", make_relabel, call_relabel, relabel_breakages()),
    "sample_hops": Surface("kernels", make_sample_hops, sample_hops, sample_hops_breakages()),
    "transpose_csr": Surface(
        "kernels",
        make_transpose_csr,
        transpose_csr,
        csr_breakages(lambda args: args["num_src"])
        | count_breakages("num_src")
        | {"num_src too small": lambda draw, args: {"num_src": draw(st.integers(0, int(args["indices"].max())))}},
    ),
}


# ------------------------------------------------------------------ Adjacency


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


def make_pyg(draw: Draw) -> Args:
    args = make_edge_index(draw)
    return {"data": Data(edge_index=args["edge_index"], num_nodes=1 + int(args["edge_index"].max()))}


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


def compressed(draw: Draw) -> tuple[list[int], list[int], int]:
    """Pointers, ids and the size of a square CSR or CSC matrix."""
    size = draw(st.integers(3, 6))
    rows = sorted([0, size - 1, *draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))])
    ids = draw(st.lists(st.integers(0, size - 1), min_size=len(rows), max_size=len(rows)))
    return [sum(row < k for row in rows) for k in range(size + 1)], ids, size


def make_scipy(draw: Draw) -> Args:
    pointers, ids, size = compressed(draw)
    kind = draw(st.sampled_from(["csr_array", "csc_array", "csr_matrix", "csc_matrix"]))
    content = (np.ones(len(ids)), np.array(ids), np.array(pointers))
    return {"matrix": getattr(scipy.sparse, kind)(content, shape=(size, size))}


def scipy_breakage(attribute: str, alter: Callable[[Draw, np.ndarray[Any, Any]], None]) -> Breakage:
    def breakage(draw: Draw, args: Args) -> Args:
        matrix = args["matrix"].copy()
        alter(draw, getattr(matrix, attribute))
        return {"matrix": matrix}

    return breakage


def at(position: Callable[[Draw, int], int], value: Callable[[Draw, int], int]) -> Callable[[Draw, Any], None]:
    """Write a wrong number into an array; both functions hear the length."""

    def alter(draw: Draw, array: Any) -> None:
        array[position(draw, len(array))] = value(draw, len(array))

    return alter


ANYWHERE: Callable[[Draw, int], int] = lambda draw, n: draw(st.integers(0, n - 1))  # noqa: E731
BETWEEN: Callable[[Draw, int], int] = lambda draw, n: draw(st.integers(1, n - 2))  # noqa: E731
POINTERS = {
    "falling": at(BETWEEN, lambda draw, n: 1000 + draw(SIZES)),
    "negative": at(BETWEEN, lambda draw, n: -draw(SIZES)),
    "not from 0": at(lambda draw, n: 0, lambda draw, n: draw(SIZES)),
    "ending late": at(lambda draw, n: -1, lambda draw, n: 1000 + draw(SIZES)),
}
IDS = {
    "beyond the matrix": at(ANYWHERE, lambda draw, n: 5 + draw(SIZES)),
    "negative": at(ANYWHERE, lambda draw, n: -draw(SIZES)),
}


def scipy_breakages() -> dict[str, Breakage]:
    def beyond(draw: Draw, args: Args) -> Args:
        matrix = args["matrix"].tocoo(copy=True)
        matrix.coords[draw(st.integers(0, 1))][draw(st.integers(0, matrix.nnz - 1))] = 5 + draw(SIZES)
        return {"matrix": matrix}

    return {
        **{f"indptr {name}": scipy_breakage("indptr", alter) for name, alter in POINTERS.items()},
        **{f"indices {name}": scipy_breakage("indices", alter) for name, alter in IDS.items()},
        "an entry of COO beyond the matrix": beyond,
        "a matrix of one dimension": lambda draw, args: {"matrix": scipy.sparse.coo_array(np.ones(draw(SIZES)))},
        **foreign("matrix"),
    }


def make_torch_sparse(draw: Draw) -> Args:
    pointers, ids, size = compressed(draw)
    make = draw(st.sampled_from([torch.sparse_csr_tensor, torch.sparse_csc_tensor]))
    parts = torch.tensor(pointers), torch.tensor(ids), torch.ones(len(ids))
    return {"matrix": make(*parts, size=(size, size), check_invariants=False)}


def torch_sparse_breakages() -> dict[str, Breakage]:
    def rebuilt(which: int, alter: Callable[[Draw, Any], None]) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            matrix = args["matrix"]
            row = matrix.layout == torch.sparse_csr
            both = (matrix.crow_indices, matrix.col_indices) if row else (matrix.ccol_indices, matrix.row_indices)
            parts = [get().clone() for get in both]
            alter(draw, parts[which])
            make = torch.sparse_csr_tensor if row else torch.sparse_csc_tensor
            return {"matrix": make(*parts, torch.ones(len(parts[1])), size=matrix.shape, check_invariants=False)}

        return breakage

    def coo(value: Callable[[Draw], int]) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            ids = torch.tensor([[0, 1, 2], [2, 1, 0]])
            ids[draw(st.integers(0, 1)), draw(st.integers(0, 2))] = value(draw)
            return {"matrix": torch.sparse_coo_tensor(ids, torch.ones(3), (3, 3), check_invariants=False)}

        return breakage

    def late(draw: Draw, array: Any) -> None:
        array[-1] += draw(st.integers(1, 3))

    def early(draw: Draw, array: Any) -> None:
        array[-1] -= 1

    def another(draw: Draw, args: Args) -> Args:
        matrix = torch.eye(4)
        others = [matrix.to_sparse_bsr((2, 2)), matrix[0].to_sparse(), matrix[None].to_sparse(), matrix.to_sparse(1)]
        return {"matrix": draw(st.sampled_from(others))}

    pointers = POINTERS | {"late": late, "early": early}
    return {
        **{f"pointers {name}": rebuilt(0, alter) for name, alter in pointers.items()},
        **{f"ids {name}": rebuilt(1, alter) for name, alter in IDS.items()},
        "an entry of COO beyond the matrix": coo(lambda draw: 2 + draw(SIZES)),
        "an entry of COO negative": coo(lambda draw: -draw(SIZES)),
        "another layout or shape": another,
        **foreign("torch"),
    }


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


def rows_breakages(name: str) -> dict[str, Breakage]:
    return {
        f"{name} of too few rows": altered(name, lambda draw, v: v[: -draw(st.integers(1, len(v)))]),
        f"{name} of too many rows": altered(name, lambda draw, v: torch.cat([v, v[: draw(st.integers(1, len(v)))]])),
        f"{name} a scalar": altered(name, lambda draw, v: v.flatten()[0]),
        f"{name} a list": altered(name, lambda draw, v: v.tolist()),
    }


SURFACES |= {
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


# ------------------------------------------------------------------ datasets, splits, tasks


def make_task(draw: Draw) -> Args:
    nodes = draw(st.integers(4, 9))
    order = torch.tensor(draw(st.permutations(range(nodes))))
    return {
        "x": numbers(draw, nodes, 2, dtype=draw(st.sampled_from([torch.float32, torch.float64]))),
        "y": numbers(draw, nodes, dtype=torch.int64).abs(),
        "train": order[:1],
        "valid": order[1:2],
        "test": order[2:4],
        "metric": "accuracy",
    }


def task(x: Any, y: Any, train: Any, valid: Any, test: Any, metric: Any) -> NodeClassification:
    data = Data(x=x, edge_index=torch.zeros(2, 0, dtype=torch.int64), y=y)
    return NodeClassification(data, Split(train, valid, test), metric)


def task_breakages() -> dict[str, Breakage]:
    def features(value: float) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            x = args["x"].clone()
            x[draw(st.integers(0, len(x) - 1)), draw(st.integers(0, 1))] = value
            return {"x": x}

        return breakage

    def unlabelled(draw: Draw, args: Args) -> Args:
        y = args["y"].clone()
        y[args[draw(st.sampled_from(["train", "valid", "test"]))][0]] = -draw(SIZES)
        return {"y": y}

    def part(new: Callable[[Draw, Args], Any]) -> Breakage:
        return lambda draw, args: {draw(st.sampled_from(["train", "valid", "test"])): new(draw, args)}

    return {
        "x with NaN": features(math.nan),
        "x with infinity": features(math.inf),
        "x with minus infinity": features(-math.inf),
        "x of another dtype": altered("x", as_dtype(torch.int64, torch.bool, torch.complex64)),
        "x of one dimension": altered("x", lambda draw, v: v[:, 0]),
        "x of three dimensions": altered("x", lambda draw, v: v[..., None]),
        "x no tensor": altered("x", no_tensor),
        "x sparse": altered("x", sparse),
        "x of too few rows": altered("x", lambda draw, v: v[: -draw(st.integers(1, len(v)))]),
        "y of another dtype": altered("y", as_dtype(torch.int32, torch.float32, torch.bool)),
        "y of two dimensions": altered("y", lambda draw, v: v[:, None]),
        "y a scalar": altered("y", lambda draw, v: v[0]),
        "y no tensor": altered("y", no_tensor),
        "y too short": altered("y", lambda draw, v: v[: -draw(st.integers(1, len(v)))]),
        "y too long": altered("y", lambda draw, v: torch.cat([v, v[:1]])),
        "y negative on the split": unlabelled,
        "an id beyond the graph": part(lambda draw, args: torch.tensor([len(args["x"]) - 1 + draw(SIZES)])),
        "an id negative": part(lambda draw, args: torch.tensor([-draw(SIZES)])),
        "a part that shares a node": lambda draw, args: {"train": args["test"][:1]},
        "a part empty": part(lambda draw, args: torch.tensor([], dtype=torch.int64)),
        "a part of another dtype": part(lambda draw, args: NOT_INDEX(draw, torch.tensor([0]))),
        "a part no tensor": part(lambda draw, args: draw(FOREIGN)),
        "metric unknown": wrong_word("metric", "accuracy"),
    }


def make_masks(draw: Draw) -> Args:
    nodes = draw(st.integers(3, 8))
    order = draw(st.permutations(range(nodes)))
    parts = {"train": order[:1], "val": order[1:2], "test": order[2:]}
    return {name: torch.tensor([node in ids for node in range(nodes)]) for name, ids in parts.items()}


def split_of_masks(train: Any, val: Any, test: Any) -> Split:
    return from_masks(SimpleNamespace(train_mask=train, val_mask=val, test_mask=test))


def mask_breakages() -> dict[str, Breakage]:
    def one(alter: Callable[[Draw, Tensor], Any]) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            name = draw(st.sampled_from(["train", "val", "test"]))
            return {name: alter(draw, args[name].clone())}

        return breakage

    return {
        "a mask of another dtype": one(as_dtype(torch.int64, torch.uint8, torch.float32)),
        "a mask no tensor": one(no_tensor),
        "a mask of two dimensions": one(lambda draw, v: v[:, None]),
        "a mask empty": one(lambda draw, v: torch.zeros_like(v)),
        "a mask that shares nodes": one(lambda draw, v: torch.ones_like(v)),
        "a mask too long": one(lambda draw, v: torch.cat([v, torch.zeros(draw(SIZES), dtype=torch.bool)])),
    }


def make_per_class(draw: Draw) -> Args:
    classes = draw(st.integers(1, 3))
    y = torch.arange(6 * classes) % classes
    train, valid = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    return {"y": y, "train_per_class": train, "valid_per_class": valid, "seed": draw(st.integers(0, 99))}


def per_class_breakages() -> dict[str, Breakage]:
    counts = st.sampled_from(["train_per_class", "valid_per_class"])
    return {
        "a count not positive": lambda draw, args: {draw(counts): draw(st.integers(-5, 0))},
        "a count too large": lambda draw, args: {draw(counts): 5 + draw(SIZES)},
        "a count no whole number": lambda draw, args: {draw(counts): draw(st.sampled_from([1.5, "1", None, [1]]))},
        "y of another dtype": altered("y", as_dtype(torch.float32, torch.bool, torch.complex64)),
        "y of two dimensions": altered("y", lambda draw, v: v[:, None]),
        "y empty": altered("y", lambda draw, v: v[:0]),
        "y no tensor": altered("y", no_tensor),
        "seed no whole number": lambda draw, args: {"seed": draw(st.sampled_from([0.5, "0", None, [0]]))},
    }


def near_misses(right: str) -> Any:
    """Text that is nearly a name: another case, a letter more or less."""
    return st.sampled_from(
        [right.upper(), right.title(), right + "s", right[1:], right[:-1], f" {right}", f"{right}\n"]
    )


SURFACES |= {
    "datasets.load": Surface(
        "data",
        lambda draw: {"name": "karate"},
        load,
        {
            "an unknown name": lambda draw, args: {"name": draw(st.text().filter(lambda s: s not in names()))},
            "nearly a name": lambda draw, args: {"name": draw(near_misses(draw(st.sampled_from(names()))))},
            "no text": lambda draw, args: {"name": draw(st.sampled_from([None, 3, 2.5, b"karate", ("karate",), True]))},
            "what cannot be a key": lambda draw, args: {"name": draw(st.sampled_from([["karate"], {"a"}, {"a": 1}]))},
        },
    ),
    "NodeClassification": Surface("data", make_task, task, task_breakages()),
    "from_masks": Surface("data", make_masks, split_of_masks, mask_breakages()),
    "per_class": Surface("data", make_per_class, per_class, per_class_breakages()),
}


# ------------------------------------------------------------------ settings

WORDS = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
GROUPS = {
    "train": [
        "lr",
        "weight_decay",
        "decay",
        "max_epochs",
        "patience",
        "monitor",
        "schedule",
        "eval_every",
        "checkpoint_every",
    ],
    "model": ["hidden_channels", "num_layers", "dropout", "activation", "heads", "out_heads", "attention_dropout"],
}
WHOLE = st.sampled_from(
    ["train.max_epochs", "train.patience", "train.checkpoint_every", "model.hidden_channels", "model.heads"]
)
REAL = st.sampled_from(["train.lr", "train.weight_decay", "model.dropout", "model.attention_dropout"])
CHOICE = st.sampled_from(["train.decay", "train.monitor", "train.schedule", "model.activation", "features"])


def is_number(text: str, kind: type) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


CHOICES = {"all", "first", "metric", "loss", "constant", "cosine", "relu", "elu", "as_is", "rows"}
NO_WHOLE = st.text(max_size=6).filter(lambda text: not is_number(text, int))
NO_NUMBER = st.text(max_size=6).filter(lambda text: not is_number(text, float))
FRACTION = st.floats(0.01, 99).filter(lambda value: value % 1)


def pair(path: Any, value: Any) -> Callable[[Draw], str]:
    """A setting made of a drawn path and a drawn value."""
    return lambda draw: f"{draw(path)}={draw(value)}"


SETTINGS: dict[str, Callable[[Draw], str]] = {
    "an unknown field": pair(WORDS.filter(lambda w: w not in GROUPS["train"]).map("train.{}".format), st.just(1)),
    "an unknown group": pair(WORDS.filter(lambda w: w not in GROUPS).map("{}.lr".format), st.just(1)),
    "no value": lambda draw: draw(st.one_of(REAL, WHOLE, CHOICE, st.just(""), WORDS)),
    "no path": pair(st.sampled_from(["", " ", ".", "..", "train.", ".lr"]), st.integers()),
    "a group for a field": pair(st.sampled_from(["train", "model"]), WORDS),
    "a part of a field": pair(st.tuples(st.one_of(REAL, WHOLE, CHOICE), WORDS).map(".".join), st.just(1)),
    "text for a whole number": pair(WHOLE, NO_WHOLE),
    "text for a number": pair(REAL, NO_NUMBER),
    "a fraction for a whole number": pair(WHOLE, FRACTION),
    "an unknown choice": pair(CHOICE, WORDS.filter(lambda word: word not in CHOICES)),
    "a whole number too small": pair(WHOLE, st.integers(max_value=-1)),
    "a whole number beyond floats": pair(WHOLE, st.integers(309, 900).map(lambda digits: 10**digits)),
    "a number below its range": pair(REAL, st.floats(max_value=-1e-300)),
    "a number not finite": pair(REAL, st.sampled_from(["nan", "inf", "-inf", "1e999"])),
    "a probability of one or more": pair(st.just("model.dropout"), st.floats(min_value=1)),
}


def wrong_setting(name: str) -> Breakage:
    return lambda draw, args: {"setting": SETTINGS[name](draw)}


def wrong_option(name: str) -> Callable[[Draw], list[str]]:
    return lambda draw: [*BENCH, "--set", SETTINGS[name](draw)]


SURFACES["override"] = Surface(
    "config",
    lambda draw: {"setting": f"train.lr={draw(st.floats(1e-6, 1))}"},
    lambda setting: override(recipe("karate", "gat"), setting),
    {name: wrong_setting(name) for name in SETTINGS},
)


# ------------------------------------------------------------------ the law

PLAN = [
    pytest.param(surface, breakage, backend, id="-".join(filter(None, (surface, breakage, backend))))
    for surface, it in SURFACES.items()
    for breakage in it.breakages
    for backend in (BACKENDS if it.kind in ("kernels", "Adjacency") else ("",))
]


@pytest.mark.parametrize(("surface", "breakage", "backend"), PLAN)
def test_a_valid_case_with_one_thing_broken_is_a_value_error_that_says_what_it_got(
    surface: str, breakage: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend:
        monkeypatch.setenv("GNNKIT_BACKEND", backend)
    it = SURFACES[surface]

    @settings(EVERY_TIME_THE_SAME, max_examples=EXAMPLES[it.kind])
    @given(st.data())
    def refuse(data: Any) -> None:
        args = it.make(data.draw)
        it.call(**args)  # valid so far
        changes = it.breakages[breakage](data.draw, args)
        what = f"{surface}, {breakage}: {show(changes)} in {show(args)}"
        TRIED.setdefault(surface, set()).add(f"{backend} {what}")
        check_refused(functools.partial(it.call, **{**args, **changes}), what)

    RAN.add(f"{surface}-{breakage}-{backend}")
    refuse()


def check_refused(call: Callable[[], Any], what: str) -> None:
    """Require a ValueError that says what it got."""
    try:
        result = call()
    except ValueError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{what}\ngave {type(error).__name__}: {error}") from error
    else:
        raise AssertionError(f"{what}\nwas taken in silence and gave {show(result)}")
    assert "(got " in message, f"{what}\ngave a message that does not say what it got: {message}"
    assert "\n" not in message.partition("(got ")[0]


# ------------------------------------------------------------------ the command line

OPTIONS = ["model", "seeds", "root", "device", "set", "out", "json", "debug", "help"]
BENCH = ["bench", "karate", "--model", "gcn", "--seeds", "1"]


def outside(known: Any) -> Any:
    """Plain words that are not known."""
    return st.from_regex(r"[a-z]{1,10}", fullmatch=True).filter(lambda word: word not in known)


COMMANDS: dict[str, Callable[[Draw], list[str]]] = {
    "an unknown command": lambda draw: [draw(outside(["bench", "report", "datasets", "models", "doctor"]))],
    "an unknown option": lambda draw: [*BENCH, f"--{draw(outside(OPTIONS))}"],
    "an unknown dataset": lambda draw: ["bench", draw(outside(names())), "--model", "gcn"],
    "an unknown model": lambda draw: ["bench", "karate", "--model", draw(outside(MODELS))],
    "no model": lambda draw: ["bench", draw(st.sampled_from(names()))],
    "one word too many": lambda draw: [*BENCH, draw(outside([]))],
    "seeds that are no number": lambda draw: ["bench", "karate", "--model", "gcn", "--seeds", draw(outside([]))],
    "seeds below one": lambda draw: ["bench", "karate", "--model", "gcn", "--seeds", str(draw(st.integers(-99, 0)))],
    "an unknown device": lambda draw: [*BENCH, "--device", draw(outside(["auto", "cpu", "cuda"]))],
    "a GPU that is not there": lambda draw: [*BENCH, "--device", f"cuda:{draw(st.integers(1000, 10**30))}"],
    **{f"--set with {name}": wrong_option(name) for name in SETTINGS},
    "another dataset by --set": lambda draw: [*BENCH, "--set", f"dataset={draw(st.sampled_from(names()[2:]))}"],
    "a report on nothing": lambda draw: ["report", draw(outside([]))],
    "a card of nothing": lambda draw: ["datasets", draw(outside(names()))],
    "a download of everything": lambda draw: ["datasets", "--download"],
}


@pytest.mark.parametrize("breakage", COMMANDS)
def test_a_wrong_command_is_one_line_and_an_exit_code(
    breakage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))

    @settings(EVERY_TIME_THE_SAME, max_examples=EXAMPLES["command line"])
    @given(st.data())
    def refuse(data: Any) -> None:
        words = COMMANDS[breakage](data.draw)
        TRIED.setdefault("command line", set()).add(f"{breakage}: {words}")
        out, err = io.StringIO(), io.StringIO()
        with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main(words)
        assert ended.value.code in (1, 2), f"{words} gave {ended.value.code!r}"
        line = err.getvalue()
        assert line.startswith("gnnkit: "), f"{words} printed {line!r}"
        assert line.count("\n") == 1, f"{words} printed {line!r}"
        assert len(line) > len("gnnkit: \n"), f"{words} printed {line!r}"
        assert "--debug shows where" not in line, f"{words} printed {line!r}"  # foreseen, that is
        assert "Traceback" not in line + out.getvalue()

    RAN.add(f"command line-{breakage}")
    refuse()
    assert list(tmp_path.iterdir()) == []  # nothing is stored for what never ran


# ------------------------------------------------------------------ what the kernels trust


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("wrong", [-1, 9, 2**31 - 1, 2**40])
def test_a_transpose_of_wrong_values_never_reads_outside_a_table(
    wrong: int, part: int, reduce: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # its shape is checked and its values are trusted; but a lie is an error too, not a crash
    monkeypatch.setenv("GNNKIT_BACKEND", backend)
    indptr, indices = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])
    transpose = [t.long() for t in transpose_csr(indptr, indices, 3)]
    transpose[part] = transpose[part].clone()
    transpose[part][1] = wrong
    x, values = torch.ones(3, 2, requires_grad=True), torch.ones(3, requires_grad=True)
    out = spmm(indptr, indices, x, values, reduce, transpose=tuple(transpose))
    with pytest.raises((ValueError, IndexError)):
        torch.autograd.grad(out.sum(), (x, values))


# ------------------------------------------------------------------ odd, but valid

ODD = {
    "no nodes": ([], 0, 0),
    "no edges": ([], 4, 3),
    "no sources": ([], 0, 3),
    "no destinations": ([], 3, 0),
    "one loop": ([(0, 0)], 1, 1),
    "isolated": ([(4, 1), (1, 4)], 6, 6),
    "loops": ([(0, 0), (1, 1), (1, 0), (1, 1)], 3, 3),
    "parallel": ([(0, 1)] * 5 + [(1, 1)] * 2, 2, 2),
    "bipartite": ([(0, 1), (4, 0), (4, 1), (2, 1)], 5, 2),
    "all to one": ([(k % 3, 2) for k in range(40)], 3, 4),
    "shuffled": ([(3, 0), (0, 3), (2, 2), (0, 3), (1, 0), (0, 1), (3, 3)], 4, 4),
}


def transposed(t: Tensor) -> Tensor:
    return t.movedim(0, -1).contiguous().movedim(-1, 0)


def every_second(t: Tensor) -> Tensor:
    return torch.stack([t, t + 1], dim=1).flatten(0, 1)[::2]


def one_column_of_two(t: Tensor) -> Tensor:
    return torch.stack([t, t + 1], dim=-1)[..., 0]


def from_the_middle(t: Tensor) -> Tensor:
    return torch.cat([t[:1] + 1, t, t[:1] + 1])[min(len(t), 1) :][: len(t)]


def negated_view(t: Tensor) -> Tensor:
    # PyTorch's negative bit: the memory holds -t
    return torch.complex(torch.zeros_like(t), -t).conj().imag if t.is_floating_point() else t


VIEWS = {
    "contiguous": lambda t: t,
    "transposed": transposed,
    "every second row": every_second,
    "one column of two": one_column_of_two,
    "from the middle": from_the_middle,
    "one row repeated": lambda t: t[:1].expand_as(t) if t.is_floating_point() else t,
    "negated view": negated_view,
    "parameter": lambda t: torch.nn.Parameter(t) if t.is_floating_point() else t,
}


def oracle(edges: list[tuple[int, int]], num_dst: int, x: Tensor, values: Tensor, reduce: str) -> Tensor:
    """Aggregate with a Python loop."""
    rows = []
    for i in range(num_dst):
        messages = [x[src] * values[e] for e, (src, dst) in enumerate(edges) if dst == i]  # [D] each
        if not messages:
            rows.append(torch.zeros(x.shape[1:], dtype=x.dtype))
            continue
        stacked = torch.stack(messages)
        rows.append({"sum": stacked.sum, "mean": stacked.mean, "max": stacked.amax, "min": stacked.amin}[reduce](0))
    return torch.stack(rows) if rows else torch.zeros(0, *x.shape[1:], dtype=x.dtype)


@pytest.fixture(params=BACKENDS)
def on_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each backend in turn."""
    monkeypatch.setenv("GNNKIT_BACKEND", request.param)
    return


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_graph_in_odd_memory_equals_the_oracle(kind: str, view: str, on_backend: None) -> None:
    edges, num_src, num_dst = ODD[kind]
    odd = VIEWS[view]
    generator = torch.Generator().manual_seed(1)
    x = odd(torch.randn(num_src, 3, generator=generator, dtype=torch.float64))
    weight = odd(torch.randn(len(edges), generator=generator, dtype=torch.float64))
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    edge_index = torch.stack([odd(row) for row in edge_index]) if view != "transposed" else edge_index
    adj = Adjacency.from_edge_index(edge_index, (num_src, num_dst))
    assert adj.to_edge_index().t().tolist() == [list(edge) for edge in edges]
    for reduce in REDUCES:
        assert_close(adj.spmm(x, weight, reduce), oracle(edges, num_dst, x, weight, reduce))
    sums = torch.zeros(num_dst, dtype=torch.float64).index_add(0, edge_index[1], weight.exp())
    assert_close(adj.softmax(weight), weight.exp() / sums[edge_index[1]])

    # the same graph as the kernels take it
    indptr, indices, values = odd(adj.indptr), odd(adj.indices), odd(weight.detach()[adj.edge_ids])
    order = adj.edge_ids.tolist()
    in_order = [edges[e] for e in order]
    heads = odd(torch.randn(num_src, 2, 3, generator=generator, dtype=torch.float64))
    per_head = odd(torch.randn(len(edges), 2, generator=generator, dtype=torch.float64))
    expected = torch.stack(
        [oracle(in_order, num_dst, heads[:, h], per_head[:, h], "sum") for h in range(2)], dim=1
    )  # [N_dst, H, D]
    assert_close(spmm(indptr, indices, heads, per_head), expected)
    a = odd(torch.randn(num_dst, 3, generator=generator, dtype=torch.float64))
    src, dst = (torch.tensor([edge[k] for edge in in_order], dtype=torch.int64) for k in (0, 1))
    assert_close(sddmm(indptr, indices, a, x), (a[dst] * x[src]).sum(dim=1))
    ones = torch.ones(len(edges), 1, dtype=torch.float64)
    loops = [(e, dst) for e, (_, dst) in enumerate(in_order)]
    for reduce in REDUCES:
        by_loop = oracle(loops, num_dst, values[:, None], ones, reduce).squeeze(1)
        assert_close(segment_reduce(values, indptr, reduce), by_loop)
    assert_close(segment_softmax(values, indptr), values.exp() / sums_of(values, dst, num_dst)[dst])


def sums_of(values: Tensor, dst: Tensor, num_dst: int) -> Tensor:
    return torch.zeros(num_dst, dtype=values.dtype).index_add(0, dst, values.exp())


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_graph_survives_every_constructor(kind: str, on_backend: None) -> None:
    edges, num_src, num_dst = ODD[kind]
    adj = Adjacency.from_edge_index(torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t(), (num_src, num_dst))
    expected = adj.to_edge_index()
    for again in (
        Adjacency.from_scipy(adj.to_scipy()),
        Adjacency.from_torch_sparse(adj.to_torch_sparse()),
        *([Adjacency.from_dgl(adj.to_dgl())] if HAS_DGL else []),
    ):
        assert torch.equal(again.to_edge_index(), expected)
        assert (again.num_src, again.num_dst) == (num_src, num_dst)
    csr = Adjacency.from_csr(adj.indptr, adj.indices, num_src)
    assert torch.equal(csr.to_edge_index(), expected[:, adj.edge_ids])
    if num_src == num_dst:
        assert torch.equal(Adjacency.from_pyg(adj.to_pyg()).to_edge_index(), expected)
        assert sorted(Adjacency.from_networkx(adj.to_networkx()).to_edge_index().t().tolist()) == sorted(
            expected.t().tolist()
        )


DTYPES = ["bool", "uint8", "int16", "int64", "float16", "bfloat16", "float64", "complex64"]


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 0), (5, 2, 2), (1, 7)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_any_dtype_and_shape_are_gathered(dtype: str, shape: tuple[int, ...], on_backend: None) -> None:
    table = torch.arange(math.prod(shape)).reshape(shape).to(getattr(torch, dtype))
    for ids in (torch.tensor([0, 0]), torch.arange(shape[0]).flip(0), torch.zeros(0, dtype=torch.int32)):
        expected = table[ids.long()]
        assert torch.equal(gather_rows(table, ids), expected)
        out = torch.empty_like(expected)
        assert gather_rows(transposed(table), one_column_of_two(ids), out=out) is out
        assert torch.equal(out, expected)


def test_a_table_without_rows_gives_no_rows(on_backend: None) -> None:
    ids = torch.zeros(0, dtype=torch.int64)
    assert gather_rows(torch.zeros(0, 3), ids).shape == (0, 3)


@pytest.mark.parametrize("num_nodes", [np.int64(4), np.int32(4), (np.int64(4), np.int64(4))], ids=repr)
def test_a_whole_number_of_numpy_is_a_number_of_nodes(num_nodes: Any) -> None:
    edge_index = torch.tensor([[0, 1], [1, 2]])
    assert Adjacency.from_edge_index(edge_index, num_nodes).num_nodes == 4


def test_data_that_says_no_number_of_nodes_has_the_largest_id_plus_one() -> None:
    # PyG warns that it guesses; what PyG's own loaders give must not need a filter for warnings
    assert Adjacency.from_pyg(Data(edge_index=torch.tensor([[0, 1], [1, 2]]))).num_nodes == 3


@given(st.data())
@settings(EVERY_TIME_THE_SAME, max_examples=30)
def test_the_two_backends_agree_on_valid_cases(data: Any) -> None:
    for surface, it in SURFACES.items():
        if it.kind != "kernels":
            continue
        args = it.make(data.draw)
        results = []
        for backend in BACKENDS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GNNKIT_BACKEND", backend)
                results.append(it.call(**args))
        assert_close(*results, msg=lambda text, surface=surface: f"{surface}: {text}")


# ------------------------------------------------------------------ how many there were


class Total:
    """Adds a line to the summary that pytest prints."""

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        counts = Counter({surface: len(inputs) for surface, inputs in TRIED.items()})
        parts = ", ".join(f"{surface} {count}" for surface, count in counts.most_common())
        terminalreporter.write_line(f"bad inputs tried: {counts.total()} different ones ({parts})")


def test_at_least_500_different_bad_inputs_were_tried(request: pytest.FixtureRequest) -> None:
    everything = {f"{p.values[0]}-{p.values[1]}-{p.values[2]}" for p in PLAN} | {f"command line-{b}" for b in COMMANDS}
    if everything - RAN:
        pytest.skip("only a part of this file ran in this process")
    request.config.pluginmanager.register(Total(), "gnnkit-bad-inputs")
    assert sum(map(len, TRIED.values())) >= AT_LEAST
    assert set(TRIED) == {*SURFACES, "command line"}
