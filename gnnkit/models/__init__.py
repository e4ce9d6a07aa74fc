"""Whole networks, one paper a file.

Importing it is cheap: a module is loaded when one of its names is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.models._link_encoder import LinkEncoder
    from gnnkit.models._link_predictor import LinkPredictor
    from gnnkit.models._ncn import NCN
    from gnnkit.models._ncnc import NCNC

_HOME = {"LinkEncoder": "_link_encoder", "NCN": "_ncn", "NCNC": "_ncnc", "LinkPredictor": "_link_predictor"}
__all__ = ["LinkEncoder", "NCN", "NCNC", "LinkPredictor"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gnnkit.models' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gnnkit.models.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
