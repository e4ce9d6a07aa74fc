"""The class that a PyG layer gets: its own, with `propagate` on gnnkit's kernels."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.nn.conv import MessagePassing

from gnnkit._accelerate import _compiled
from gnnkit._accelerate._aggregation import is_served
from gnnkit._accelerate._propagate import Call
from gnnkit._accelerate._rebound import rebound_class
from gnnkit._accelerate._rows import EscapedError
from gnnkit._accelerate._saved import attempted
from gnnkit._accelerate._watch import INTERNALS, is_compiled, is_untouched, is_unwatched, replaced

_GATHERED = "its rows are gathered, which takes memory and time: pending ones do not pass its code ({})"


class FastLayer(MessagePassing):  # type: ignore[misc]
    """Stands before a layer's class in the method resolution order: same layer, other aggregation.

    Attributes:
        plain_class: The layer's own class.
        why_gathered: Why its messages cannot work on pending rows; empty while nothing speaks against it.
    """

    plain_class: type[MessagePassing]
    why_gathered = ""

    def propagate(self, edge_index: Any, size: Any = None, **kwargs: Any) -> Any:
        """PyG's ``propagate`` on gnnkit's kernels, or PyG's own for the calls that these do not serve."""
        if is_fast_compiled(self, edge_index):
            out = _compiled.propagate(self, edge_index, size, kwargs)
            return super().propagate(edge_index, size=size, **kwargs) if out is None else out
        if not is_fast(self, edge_index) or (call := Call.of(self, self._user_args, edge_index, size, kwargs)) is None:
            return super().propagate(edge_index, size=size, **kwargs)
        return self._pending_first(call.run)

    def edge_updater(self, edge_index: Any, size: Any = None, **kwargs: Any) -> Any:
        """PyG's ``edge_updater``, its rows pending."""
        names = self._edge_user_args
        if not is_fast(self, edge_index) or (call := Call.of(self, names, edge_index, size, kwargs)) is None:
            return super().edge_updater(edge_index, size=size, **kwargs)
        return self._pending_first(call.run_edges)

    def _pending_first(self, run: Callable[..., Any]) -> Any:
        if type(self).why_gathered:
            return run(pending=False)
        random = torch.get_rng_state()
        try:
            return attempted(lambda: run(pending=True))
        except EscapedError as error:
            why = str(error)
        # Pending rows do not pass through an autograd.Function or TorchScript: gather, here and from now on.
        torch.set_rng_state(random)
        out = run(pending=False)
        if not type(self).why_gathered:
            type(self).why_gathered = why
            warnings.warn(f"{type(self).__name__}: {_GATHERED.format(why)}", stacklevel=3)
        return out

    def _set_jittable_templates(self, raise_on_error: bool = False) -> None:
        # PyG writes its propagate into the class of the layer that it finds: that has to be the plain one
        with plain(self):
            self._set_jittable_templates(raise_on_error)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restore, (self.plain_class,), self.__getstate__()

    def __prepare_scriptable__(self) -> MessagePassing:
        # TorchScript compiles source code: it gets the plain layer
        return revert(copy.copy(self))


class plain:  # noqa: N801 (a context manager reads as a word)
    """While it lasts, a layer has its plain class."""

    def __init__(self, layer: FastLayer) -> None:
        self.layer, self.fast_class = layer, type(layer)

    def __enter__(self) -> None:
        self.layer.__class__ = self.fast_class.plain_class

    def __exit__(self, *error: object) -> None:
        self.layer.__class__ = self.fast_class


_CLASSES: dict[tuple[type, type], type[FastLayer]] = {}


def fast_class(layer_class: type[MessagePassing], mixin: type[FastLayer]) -> type[FastLayer]:
    """Make the class of an accelerated layer; it prints, pickles and compares to instances as the plain one does."""
    if made := _CLASSES.get((layer_class, mixin)):
        return made
    names = {
        "plain_class": layer_class,
        "_jinja_propagate": mixin.propagate,  # what PyG goes back to after explaining
        "__module__": layer_class.__module__,
        "__qualname__": layer_class.__qualname__,
        "__doc__": layer_class.__doc__,
    }
    made = cast(type[FastLayer], type(layer_class.__name__, (mixin, rebound_class(layer_class)), names))
    return _CLASSES.setdefault((layer_class, mixin), made)


def convert(layer: MessagePassing, mixin: type[FastLayer]) -> None:
    """Give a layer its fast class, in place."""
    _drop_bound_propagate(layer)
    layer.__class__ = fast_class(type(layer), mixin)


def revert(layer: FastLayer) -> MessagePassing:
    """Give a layer its plain class back, in place."""
    _drop_bound_propagate(layer)
    layer.__class__ = layer.plain_class
    own = layer.__dict__.pop("propagate", None)  # the templates are of the class
    layer._set_jittable_templates()  # it may come from a pickle of another process
    if own is not None:
        layer.__dict__["propagate"] = own
    return layer


def _drop_bound_propagate(layer: MessagePassing) -> None:
    # PyG's explain binds the class's propagate to the instance, which would hide another class's
    if not layer.explain and layer.decomposed_layers == 1 and "propagate" not in replaced(layer):
        layer.__dict__.pop("propagate", None)


def _restore(layer_class: type[MessagePassing]) -> FastLayer:
    from gnnkit._accelerate._mixins import mixin_of

    made = fast_class(layer_class, mixin_of(layer_class))
    return made.__new__(made)


def refusal(layer: MessagePassing) -> str | None:
    """Say why a layer cannot be accelerated; None if it can."""
    cls = type(layer)
    for name in ("propagate", "edge_updater"):
        for base in cls.__mro__[: cls.__mro__.index(MessagePassing)]:
            written = base.__dict__.get(name)
            if written is not None and written is base.__dict__.get(f"_orig_{name}", written):
                return f"has {_article(name)} of its own"
    for name in INTERNALS:
        if getattr(cls, name) is not getattr(MessagePassing, name):
            return f"has {_article(name)} of its own"
    if patched := replaced(layer):
        return f"has {', '.join(sorted(patched))} replaced on the instance"
    if layer.node_dim not in (0, -2):
        return f"has its nodes in dimension {layer.node_dim}"
    return None


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'ae' else 'a'} {name}"


def remark(layer: MessagePassing) -> str:
    """Say what of a layer is not accelerated."""
    served = type(layer).aggregate is not MessagePassing.aggregate or is_served(layer.aggr_module, 2, 0)
    kept = "" if served else f", but for {layer.aggr_module}"
    why = layer.why_gathered if isinstance(layer, FastLayer) else ""
    return f"{kept}; {_GATHERED.format(why)}" if why else kept


def is_fast(layer: MessagePassing, edge_index: Any) -> bool:
    """Whether a call can be served: nobody looks in between, and the graph is a plain ``edge_index`` on the CPU."""
    return _is_served(edge_index) and is_unwatched(layer)


def is_fast_compiled(layer: MessagePassing, edge_index: Any) -> bool:
    """Whether a call that ``torch.compile`` traces can be one of our operations; as `is_fast` otherwise."""
    return is_compiled() and _is_served(edge_index) and is_untouched(layer)


def _is_served(edge_index: Any) -> bool:
    return (
        type(edge_index) is Tensor
        and edge_index.device.type == "cpu"
        and edge_index.layout is torch.strided
        and edge_index.dim() == 2
        and edge_index.shape[0] == 2
        and edge_index.dtype in (torch.int64, torch.int32)
    )
