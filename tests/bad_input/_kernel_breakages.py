"""Breakages of the kernels that aggregate, weight and multiply."""

from __future__ import annotations

import math

import torch
from _shared_breakages import (
    altered,
    as_dtype,
    csr_breakages,
    elsewhere,
    more_dims,
    other_float,
    other_rows,
    pointer_breakages,
    real_breakages,
    transpose_breakages,
    wider,
    wrong_word,
)
from _surface import REDUCES, Args, Breakage, Draw
from hypothesis import strategies as st
from torch import Tensor


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
