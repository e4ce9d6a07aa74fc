"""Datasets, splits and tasks, with their valid cases and their breakages."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from _shared_breakages import FOREIGN, NOT_INDEX, SIZES, altered, as_dtype, no_tensor, sparse, wrong_word
from _surface import Args, Breakage, Draw, Surface
from _valid_cases import numbers
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data import Split, from_masks, per_class
from gnnkit.datasets import load, names
from gnnkit.train import NodeClassification


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


DATA: dict[str, Surface] = {
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
