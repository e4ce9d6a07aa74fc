"""Breakages that many surfaces share: of tensors, row pointers, ids, CSRs and transposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _surface import Args, Breakage, Draw
from hypothesis import strategies as st
from torch import Tensor

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
