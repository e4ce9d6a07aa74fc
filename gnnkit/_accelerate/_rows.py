"""Rows: the rows of nodes at the ends of edges, not gathered yet.

PyG hands ``x_j`` to a layer's ``message``. Where the message is ``x_j`` itself or ``weight * x_j``, gathering it
(E rows written and read again) is what makes PyG slow: here it stays a promise, and `spmm` keeps it. What else
keeps it one is in `_rules`; any other operation gathers the rows and goes on with an ordinary tensor.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from gnnkit._accelerate._cache import Topology

End = Literal["src", "dst"]
FLOATS = (torch.float32, torch.float64)
# function -> what it does with promises: a result, or None where they have to be gathered
RULES: dict[Any, Callable[..., Any]] = {}
_FACTS = {
    Tensor.size,
    Tensor.dim,
    Tensor.numel,
    Tensor.__len__,
    Tensor.is_floating_point,
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "layout", "is_cuda")),
}
_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
_WRITERS = {"__setitem__", "__set__", *(f"__i{name}__" for name in _OPERATORS)}


class EscapedError(RuntimeError):
    """Rows went where they cannot stay a promise: values or gradients would not be those of a tensor."""


@dataclass
class Family:
    """The promises of one call.

    Attributes:
        members: References to them.
        escape: Why one of them could not stay a promise; empty while all could.
    """

    members: list[weakref.ref[Pending]] = field(default_factory=list)
    escape: str = ""

    def escaped(self, why: str) -> EscapedError:
        """Note it on the call, for TorchScript makes another error of it and a layer may catch it; return the error."""
        self.escape = why
        return EscapedError(why)


class Pending(Tensor):
    """A tensor with one row an edge, whose elements are made when somebody looks at them.

    Attributes:
        topology: The graph.
        family: All the promises of one call.
        is_view: Whether PyTorch would have made it a view of another, or another a view of it.
    """

    topology: Topology
    family: Family
    is_view: bool
    _gathered: Tensor | None
    _grad_enabled: bool

    @classmethod
    def _promise(cls, shape: tuple[int, ...], like: Tensor, topology: Topology, family: Family) -> Any:
        self = Tensor._make_wrapper_subclass(cls, shape, dtype=like.dtype, device=like.device)
        torch._C._set_throw_on_mutable_data_ptr(self)  # else who asks for its memory is given address 0
        self.topology, self.family, self.is_view = topology, family, False
        self._gathered, self._grad_enabled = None, torch.is_grad_enabled()
        family.members.append(weakref.ref(self))
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        rule = RULES.get(func)
        if rule is not None and (result := rule(*args, **kwargs)) is not None:
            return result
        for target in (*args[:1], kwargs.get("out")):
            if isinstance(target, Pending) and target.is_view and _writes(func, kwargs):
                raise target.family.escaped("written in place, and another is a view of it")
        return func(*_without_promises(args), **_without_promises(kwargs))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        rows = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Pending))
        raise rows.family.escaped(f"{func} met rows that were not gathered")

    @property
    def is_pending(self) -> bool:
        """Whether nobody has looked at the elements, and gradients flow as when it was promised."""
        return self._gathered is None and self._grad_enabled == torch.is_grad_enabled()

    @property
    @abstractmethod
    def tracked(self) -> bool:
        """Whether what it is made of requires gradients."""

    @abstractmethod
    def make(self) -> Tensor:
        """Return the elements in memory that nobody else holds."""

    def materialise(self) -> Tensor:
        """Return the elements; from then on this is an ordinary tensor, which operations in place change."""
        if self._grad_enabled and not torch.is_grad_enabled() and self.tracked:
            raise self.family.escaped("met without gradients, inside an autograd.Function or torch.no_grad()")
        if self._gathered is None:
            with torch.set_grad_enabled(self._grad_enabled):
                self._gathered = self.make()
        return self._gathered


class Rows(Pending):
    """``weight * table[end of each edge]``.

    Attributes:
        table: ``[N, ...]``; with ``batched``, ``[B, N, D]`` (one graph, B tables: PyG's static graphs).
        end: Which node of an edge: ``"src"`` or ``"dst"``.
        weight: ``[E]`` or ``[E, H]`` in the original edge order, or None.
        batched: Whether edges are the second dimension.
        is_flat: Whether heads and channels are one dimension, ``[E, H * D]``.
    """

    table: Tensor
    end: End
    weight: Tensor | None
    batched: bool
    is_flat: bool
    _own: Tensor | None
    _versions: tuple[int, int]

    @staticmethod
    def __new__(
        cls,
        table: Tensor,
        topology: Topology,
        end: End,
        family: Family,
        weight: Tensor | None = None,
        batched: bool = False,
        is_flat: bool = False,
    ) -> Rows:
        num_edges = topology.adj.num_edges
        row = (table.shape[1:].numel(),) if is_flat else tuple(table.shape[1:])
        shape = (table.shape[0], num_edges, *table.shape[2:]) if batched else (num_edges, *row)
        self: Rows = cls._promise(shape, table, topology, family)
        self.table, self.end, self.weight, self.batched, self.is_flat = table, end, weight, batched, is_flat
        self._own, self._versions = None, (version(table), version(weight))
        return self

    def like(self, table: Tensor, weight: Tensor | None = None, is_view: bool = False) -> Rows:
        """Return rows of another table at the same ends."""
        self.check_unwritten()
        out = Rows(table, self.topology, self.end, self.family, weight, self.batched)
        if is_view:
            self.is_view = out.is_view = True
        else:
            out._own = self._own if table is self.table else table
        return out

    def flattened(self) -> Rows:
        """Return rows ``[E, H, D]`` as ``[E, H * D]``."""
        self.check_unwritten()
        out = Rows(self.table, self.topology, self.end, self.family, self.weight, is_flat=True)
        self.is_view = out.is_view = True
        out._own = self._own
        return out

    @property
    def tracked(self) -> bool:
        """Whether what it is made of requires gradients."""
        return self.table.requires_grad or (self.weight is not None and self.weight.requires_grad)

    def make(self) -> Tensor:
        """Return the elements in memory that nobody else holds."""
        self.check_unwritten()
        table = self.table.transpose(0, 1) if self.batched else self.table
        rows = self.topology.adj.gather(table, self.end)
        if self.weight is not None:
            rows = rows * self.weight.view(*self.weight.shape, *[1] * (rows.dim() - self.weight.dim()))
        if self.is_flat:
            return rows.flatten(1)
        return rows.transpose(0, 1).contiguous() if self.batched else rows

    def is_node_level(self, multiplies: bool = False) -> bool:
        """Whether a function of each row may be computed on the table: no more rows, and the same gradients.

        Args:
            multiplies: Whether its backward multiplies by elements of the table. A node without edges has
                gradient 0, which an infinite one would turn into NaN; gathered rows do not hold it.
        """
        if not self.is_pending or self.weight is not None or self.batched:
            return False
        if self.topology.adj.num_edges < len(self.table) or torch.is_autocast_enabled("cpu"):
            return False
        return not multiplies or not torch.is_grad_enabled() or bool(self.table.detach().sum().isfinite())

    def own_table(self) -> Tensor:
        """Return the table as a backward may keep it: the caller may write on, ``h += conv(h, edge_index)``."""
        self.check_unwritten()
        if self._own is None:
            self._own = self.table.clone() if torch.is_grad_enabled() else self.table
        return self._own

    def check_unwritten(self) -> None:
        """Raise if what the promise is about was written in place since."""
        if (version(self.table), version(self.weight)) != self._versions:
            raise self.family.escaped("what the rows are made of was written in place")


def materialised(value: Any) -> Any:
    """Return a promise as an ordinary tensor, and anything else as it is."""
    return value.materialise() if isinstance(value, Pending) else value


def _without_promises(value: Any) -> Any:
    # what lies deeper is no argument of a function of tensors; if it is met all the same, it raises
    if isinstance(value, Pending):
        return value.materialise()
    if type(value) in (tuple, list):
        return type(value)(_without_promises(one) for one in value)
    return {name: _without_promises(one) for name, one in value.items()} if type(value) is dict else value


def version(tensor: Tensor | None) -> int:
    """Return how often a tensor was written in place; what counts nothing gives 0."""
    return 0 if tensor is None or tensor.is_inference() else tensor._version


def _writes(func: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function may change its first argument."""
    name = getattr(func, "__name__", "")
    in_place = (name.endswith("_") and not name.endswith("__")) or name in _WRITERS
    return in_place or "out" in kwargs or bool(kwargs.get("inplace"))
