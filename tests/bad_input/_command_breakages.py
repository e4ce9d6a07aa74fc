"""Wrong command lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _setting_breakages import SETTINGS
from _surface import Draw
from hypothesis import strategies as st

from gnnkit.bench import MODELS
from gnnkit.datasets import names

OPTIONS = ["model", "seeds", "root", "device", "set", "out", "json", "debug", "help"]
BENCH = ["bench", "karate", "--model", "gcn", "--seeds", "1"]


def outside(known: Any) -> Any:
    """Plain words that are not known."""
    return st.from_regex(r"[a-z]{1,10}", fullmatch=True).filter(lambda word: word not in known)


def wrong_option(name: str) -> Callable[[Draw], list[str]]:
    return lambda draw: [*BENCH, "--set", SETTINGS[name](draw)]


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
