"""accelerate: PyG layers on gnnkit's kernels, by one line."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch_geometric.nn.conv import MessagePassing

from gnnkit._accelerate._layer import FastLayer, convert, refusal, revert
from gnnkit._accelerate._mixins import mixin_of

Module = TypeVar("Module", bound=nn.Module)


def accelerate(module: Module, *, undo: bool = False, verbose: bool = False) -> Module:
    if not isinstance(module, nn.Module):
        raise ValueError(f"module: expected a torch.nn.Module (got {type(module).__name__})")
    lines = []
    for name, layer in module.named_modules():
        if not isinstance(layer, MessagePassing):
            continue
        what = f"{name or 'module'} ({type(layer).__name__})"
        if undo:
            if isinstance(layer, FastLayer):
                revert(layer)
                lines.append(f"{what}: PyG's own again")
        elif isinstance(layer, FastLayer):
            lines.append(f"{what}: accelerated before")
        elif reason := refusal(layer):
            lines.append(f"{what}: left as it is, it {reason}")
        else:
            convert(layer, mixin_of(type(layer)))
            lines.append(f"{what}: accelerated")
    if verbose:
        print("\n".join(lines or ["no PyG layers"]))
    return module
