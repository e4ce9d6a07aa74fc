"""What constructors of models can be given wrongly."""

from __future__ import annotations

import math
from collections.abc import Collection


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Require one of some words."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)} (got {value!r})")


def check_size(name: str, value: object, least: int = 1) -> None:
    """Require a whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number >= {least} (got {value!r})")


def check_rate(name: str, value: object) -> None:
    """Require a rate of dropout."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"{name}: expected a rate in [0, 1) (got {value!r})")


def check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Require a finite number, the bounds included."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name}: expected a number (got {value!r})")
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number in [{low}, {high}] (got {value!r})")
