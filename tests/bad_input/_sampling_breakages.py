"""Breakages of the kernels that gather, group, sample and relabel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _shared_breakages import FOREIGN, SIZES, altered, as_dtype, elsewhere, id_breakages, no_tensor, off, one_entry
from _surface import Args, Breakage, Draw
from hypothesis import strategies as st
from torch import Tensor


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
