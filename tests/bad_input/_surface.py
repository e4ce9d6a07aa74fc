"""What every surface is made of, the backends and the reductions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

BACKENDS = ("torch", "numba")
REDUCES = ("sum", "mean", "max", "min")

Draw = Callable[..., Any]
Args = dict[str, Any]
Breakage = Callable[[Draw, Args], Args]


@dataclass
class Surface:
    """One function: how to make valid arguments, how to call it, and what can be wrong."""

    kind: str
    make: Callable[[Draw], Args]
    call: Callable[..., Any]
    breakages: dict[str, Breakage] = field(default_factory=dict)
