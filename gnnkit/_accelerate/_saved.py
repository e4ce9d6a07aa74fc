"""What an attempt saves for the backward reaches saved-tensor hooks only if it succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnkit._accelerate._rows import EscapedError


@dataclass
class _Saved:
    """A saved tensor, and from the attempt's success on what the hook made of it."""

    value: Any
    version: int
    is_packed: bool = False


def attempted(run: Callable[[], Any]) -> Any:
    """Run an attempt that may end in an `EscapedError`.

    ``torch.utils.checkpoint`` counts by its hooks what a forward saves, and its recomputation makes no attempt where
    the forward's has failed: what that has saved must not be counted.
    """
    hooks: Any = torch._C._autograd._top_saved_tensors_default_hooks(False)  # None where there are none
    if hooks is None:
        return run()
    pack, unpack = hooks
    saved: list[_Saved] = []

    def keep(tensor: Tensor) -> _Saved:
        saved.append(_Saved(tensor, tensor._version))
        return saved[-1]

    def give(kept: _Saved) -> Tensor:
        tensor: Tensor = unpack(kept.value) if kept.is_packed else kept.value
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, give):
        out = run()
    if any(kept.value._version != kept.version for kept in saved):
        raise EscapedError("saved for the backward, then written")
    with torch.no_grad():  # as hooks are called
        for kept in saved:
            kept.value, kept.is_packed = pack(kept.value), True
    return out
