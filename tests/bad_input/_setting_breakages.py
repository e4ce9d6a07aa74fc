"""Settings of the form path=value, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _surface import Breakage, Draw, Surface
from hypothesis import strategies as st

from gnnkit.bench import recipe
from gnnkit.train import override

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


CONFIG: dict[str, Surface] = {
    "override": Surface(
        "config",
        lambda draw: {"setting": f"train.lr={draw(st.floats(1e-6, 1))}"},
        lambda setting: override(recipe("karate", "gat"), setting),
        {name: wrong_setting(name) for name in SETTINGS},
    )
}
