"""Frozen configs, changed only by making a new one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Config = TypeVar("Config")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        lr: Learning rate of Adam.
        predictor_lr: Another one for the parameters of ``model.predictor``, for links; None for the same.
        weight_decay: L2 penalty.
        decay: Which parameters it acts on: ``"all"``, or ``"first"`` for the first layer alone, as in Kipf
            and Welling's GCN.
        max_epochs: Epochs at the most.
        patience: Stop at an evaluation so many epochs after the best one; 0 never stops early.
        monitor: What "better validation" means: the ``"metric"`` (ties by the loss) or the ``"loss"``.
        batch_size: Graphs of a step, at the most, or edges for links; a task on the nodes of one whole graph takes one
            step an epoch.
        schedule: Learning rate over the epochs: ``"constant"`` or ``"cosine"`` (to 0 at ``max_epochs``).
        eval_every: Epochs between evaluations; the last epoch is evaluated too.
        checkpoint_every: Epochs between checkpoints: what a killed run can lose.

    Raises:
        ValueError: A value is out of its range.
    """

    lr: float = 0.01
    predictor_lr: float | None = None
    weight_decay: float = 5e-4
    decay: Literal["all", "first"] = "all"
    max_epochs: int = 200
    patience: int = 0
    monitor: Literal["metric", "loss"] = "metric"
    batch_size: int = 32
    schedule: Literal["constant", "cosine"] = "constant"
    eval_every: int = 1
    checkpoint_every: int = 25

    def __post_init__(self) -> None:
        require("train.lr", self.lr, low=0, above=True)
        if self.predictor_lr is not None:
            require("train.predictor_lr", self.predictor_lr, low=0, above=True)
        require("train.weight_decay", self.weight_decay, low=0)
        require("train.max_epochs", self.max_epochs, low=1, high=1e9)
        require("train.patience", self.patience, low=0, high=1e9)
        require("train.batch_size", self.batch_size, low=1, high=1e9)
        require("train.eval_every", self.eval_every, low=1, high=1e9)
        require("train.checkpoint_every", self.checkpoint_every, low=1, high=1e9)
        for name in ("decay", "monitor", "schedule"):
            choices = typing.get_args(typing.get_type_hints(TrainConfig)[name])
            if getattr(self, name) not in choices:
                expected = " or ".join(choices)
                raise ValueError(f"train.{name}: expected {expected} (got {getattr(self, name)!r})")


def require(name: str, value: float, low: float, high: float = math.inf, above: bool = False) -> None:
    """Require a finite number in ``[low, high)``, or in ``(low, high)`` with ``above``."""
    fits = (low < value if above else low <= value) and value < high  # NaN compares false
    if not fits:
        bound = f"a number {'>' if above else '>='} {low:g}" + (f" and < {high:g}" if high < math.inf else "")
        raise ValueError(f"{name}: expected {bound} (got {value!r})")


def override(config: Config, *settings: str) -> Config:
    """Return a copy of a config with fields set by ``"path.to.field=value"``.

    The text is read as the field's type: int, float, bool (true/false), str, a choice, a tuple
    (``15,10,5``), or None where the field allows it.

    Args:
        config: A frozen dataclass, possibly of frozen dataclasses.
        settings: Assignments, applied from left to right.

    Raises:
        ValueError: No such field (the nearest is suggested), text that does not fit the field's type, or a
            value that the config refuses.

    Example:
        >>> from gnnkit.train import TrainConfig, override
        >>> override(TrainConfig(), "lr=3e-4", "patience=20").lr
        0.0003
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise ValueError(f"override: expected path=value (got {setting!r})")
        config = _replace(config, path.strip().split("."), text.strip(), path.strip())
    return config


def _replace(config: Any, parts: list[str], text: str, path: str) -> Any:
    names = [field.name for field in dataclasses.fields(config)]
    name, rest = parts[0], parts[1:]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"override {path}: expected one of {', '.join(names)} (got {name!r}){hint}")
    current = getattr(config, name)
    if dataclasses.is_dataclass(current):
        if not rest:
            inner = ", ".join(f"{path}.{field.name}" for field in dataclasses.fields(current))
            raise ValueError(f"override {path}: expected a field, one of {inner} (got {path!r})")
        return dataclasses.replace(config, **{name: _replace(current, rest, text, path)})
    if rest:
        raise ValueError(f"override {path}: expected a field without parts (got {'.'.join(parts)!r})")
    hint = typing.get_type_hints(type(config))[name]
    try:
        value = _parse(text, hint)
    except ValueError:
        raise ValueError(f"override {path}: expected {_describe(hint)} (got {text!r})") from None
    return dataclasses.replace(config, **{name: value})


def _parse(text: str, hint: Any) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if text not in options:
            raise ValueError
        return text
    if origin is types.UnionType:
        if text.lower() == "none":
            return None
        return _parse(text, next(option for option in options if option is not type(None)))
    if origin is tuple:
        return tuple(_parse(part, options[0]) for part in text.split(",")) if text else ()
    if hint is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _fail()
    return hint(text)


def _fail() -> Any:
    raise ValueError


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(typing.get_args(hint))
    if hint is bool:
        return "true or false"
    return {int: "a whole number", float: "a number"}.get(hint, str(hint))
