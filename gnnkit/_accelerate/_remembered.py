"""What functions of a graph alone returned, found again by the content of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._pytree import tree_leaves, tree_map

from gnnkit._accelerate._cache import CACHE
from gnnkit.kernels import content_hash

_DTYPES = (torch.int32, torch.int64, torch.float32, torch.float64)
_SHARED = "_gnnkit_shared"


class Remembered:
    """A function that is computed once for each content of its arguments.

    Args:
        function: Depends on its arguments alone; returns tensors, or structures of them.
        share: Whether every caller gets the same tensors, which then nobody may write; else copies.
    """

    def __init__(self, function: Callable[..., Any], share: bool) -> None:
        self.function, self.share = function, share

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        key = self._key(args, kwargs)
        if key is None:
            return self.function(*args, **kwargs)

        def make() -> tuple[Any, int]:
            with torch.inference_mode(False), torch.no_grad():  # what is remembered serves training later
                made = self.function(*tree_map(_lasting, args), **tree_map(_lasting, kwargs))
            given = {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
            # what came in is the caller's, to write on
            made = tree_map(
                lambda leaf: leaf.clone() if isinstance(leaf, Tensor) and _memory(leaf) in given else leaf, made
            )
            tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
            for tensor in tensors:
                setattr(tensor, _SHARED, True)
            return made, sum(tensor.numel() * tensor.element_size() for tensor in tensors)

        made = CACHE.get(key, make)
        return made if self.share else unshared(made)

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable | None:
        """Return what tells a call's arguments apart; None if one is not of the kinds that this serves."""
        parts: list[Hashable] = [self.function, torch.get_default_dtype()]
        for name, value in (*enumerate(args), *kwargs.items()):  # another way to call it is another key
            if (part := _part(value)) is None:
                return None
            parts.append((name, part))
        return tuple(parts)


def unshared(value: Any) -> Any:
    """Return a structure with copies in place of tensors that are remembered."""
    return tree_map(lambda leaf: leaf.clone() if getattr(leaf, _SHARED, False) else leaf, value)


def _part(value: Any) -> Hashable | None:
    if value is None or type(value) in (bool, int, float, str, torch.dtype):
        return type(value).__name__, value
    plain = type(value) in (Tensor, Parameter) and value.layout is torch.strided and value.dtype in _DTYPES
    if not plain or value.device.type != "cpu" or (value.requires_grad and torch.is_grad_enabled()):
        return None
    if value.is_floating_point() and value.dim() > 1:
        return None  # rows of features would push the graphs out
    return content_hash(value), value.dtype, value.shape


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _lasting(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
