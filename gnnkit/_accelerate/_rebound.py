"""A layer's own code, in which a few of PyG's functions are ours.

``forward`` of an SGConv calls ``gcn_norm``, ``message`` of a TransformerConv calls ``softmax``: functions that their
modules imported from PyG. The class made here holds the same functions of the layer, their bytecode unchanged, with
another view of their module's names, in which those few are from `_functions`. So every layer that calls them is
served, of PyG or of a user, without a second version of its ``forward`` that would have to follow PyG's. And nothing is
written into a module: plain layers and other threads see what they always saw.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor
from torch_geometric.nn.conv import MessagePassing

from gnnkit._accelerate import _functions
from gnnkit._accelerate._remembered import unshared
from gnnkit._accelerate._watch import is_unwatched

# what Python itself reads of a module, without asking __missing__
_DUNDERS = ("__builtins__", "__name__", "__package__", "__spec__", "__path__", "__file__", "__loader__")


class _Names(dict[str, Any]):
    """The names of a module as they are at each look, but for ours."""

    def __init__(self, module: dict[str, Any], ours: dict[Any, Any]) -> None:
        super().__init__({name: module[name] for name in _DUNDERS if name in module})
        self._module, self._ours = module, ours

    def __missing__(self, name: str) -> Any:
        found = self._module[name]
        return self._ours.get(found, found) if isinstance(found, FunctionType) else found


def rebound_class(layer_class: type[MessagePassing]) -> type[MessagePassing]:
    """Return a subclass whose functions call ours, or the class itself if none calls any."""
    bases = layer_class.__mro__[: layer_class.__mro__.index(MessagePassing)]
    # what is remembered is handed out as it is where nobody but PyG's own layers holds it, else as a copy
    pyg_only = all(base.__module__.startswith("torch_geometric.") for base in bases)
    ours = _functions.shared if pyg_only else _functions.copied
    names = {name for base in bases for name, value in vars(base).items() if isinstance(value, FunctionType)}
    made = {}
    for name in sorted(names):
        function = inspect.getattr_static(layer_class, name)
        if isinstance(function, FunctionType) and _calls(function, ours):
            made[name] = _rebound(layer_class, name, function, ours)
    if not made:
        return layer_class
    kept = {"__module__": layer_class.__module__, "__qualname__": layer_class.__qualname__}
    return type(layer_class.__name__, (layer_class,), made | kept)


def _calls(function: FunctionType, ours: dict[Any, Any]) -> bool:
    codes = list(_nested(function.__code__))
    found = (function.__globals__.get(name) for code in codes for name in code.co_names)
    return any(isinstance(value, FunctionType) and value in ours for value in found)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _rebound(
    layer_class: type[MessagePassing], name: str, function: FunctionType, ours: dict[Any, Any]
) -> Callable[..., Any]:
    names = _Names(function.__globals__, ours)
    twin = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    twin.__kwdefaults__ = function.__kwdefaults__

    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        now = getattr(layer_class, name)  # somebody may have written into the class since
        # a layer that keeps its normalised graph shows it to whoever asks: it gets one of its own
        keeps = name == "forward" and getattr(self, "cached", False)
        if now is not function or keeps or not is_unwatched(self):
            return now(self, *args, **kwargs)
        out = twin(self, *args, **kwargs)
        return out if isinstance(out, Tensor) or name != "forward" else unshared(out)

    return call
