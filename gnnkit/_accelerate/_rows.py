"""Rows: the rows of nodes at the ends of edges, not gathered yet.

PyG hands ``x_j`` to a layer's ``message``. Where the message is ``x_j`` itself or ``weight * x_j``, gathering it
(E rows written and read again) is what makes PyG slow: here it stays a promise, and `spmm` keeps it. Any other
operation gathers the rows and goes on with an ordinary tensor.
"""

from __future__ import annotations

import weakref
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._pytree import tree_map

from gnnkit._accelerate._cache import Topology

FLOATS = (torch.float32, torch.float64)
_PRODUCTS = {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
_FACTS = {
    Tensor.size,
    Tensor.dim,
    Tensor.numel,
    Tensor.__len__,
    Tensor.is_floating_point,
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "layout", "is_cuda")),
}


class EscapedError(RuntimeError):
    """Rows went where they cannot stay a promise: values or gradients would not be those of a tensor."""


class Rows(Tensor):
    """``weight * table[end of each edge]``, as a tensor whose elements are made when somebody looks at them.

    Attributes:
        table: ``[N, D]`` or ``[N, H, D]``.
        topology: The graph.
        end: Which node of an edge: ``"src"`` or ``"dst"``.
        weight: ``[E]`` or ``[E, H]`` in the original edge order, or None.
        family: References to all the rows of one call.
    """

    table: Tensor
    topology: Topology
    end: Literal["src", "dst"]
    weight: Tensor | None
    family: list[weakref.ref[Rows]]
    _gathered: Tensor | None
    _grad_enabled: bool
    _versions: tuple[int, int]

    @staticmethod
    def __new__(
        cls,
        table: Tensor,
        topology: Topology,
        end: Literal["src", "dst"],
        family: list[weakref.ref[Rows]],
        weight: Tensor | None = None,
    ) -> Rows:
        shape = (topology.adj.num_edges, *table.shape[1:])
        self: Rows = Tensor._make_wrapper_subclass(cls, shape, dtype=table.dtype, device=table.device)
        self.table, self.topology, self.end, self.weight, self.family = table, topology, end, weight, family
        self._gathered, self._grad_enabled = None, torch.is_grad_enabled()
        self._versions = _version(table), _version(weight)
        family.append(weakref.ref(self))
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func in _PRODUCTS and len(args) == 2 and not kwargs:
            product = _product(*args) if isinstance(args[0], Rows) else _product(args[1], args[0])
            if product is not None:
                return product
        args, kwargs = tree_map(materialised, (args, kwargs))
        return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise EscapedError(f"{func} met rows that were not gathered")

    @property
    def pending(self) -> bool:
        """Whether nobody has looked at the elements."""
        return self._gathered is None

    def materialise(self) -> Tensor:
        """Return the elements; from then on this is an ordinary tensor, which operations in place change."""
        tracked = self.table.requires_grad or (self.weight is not None and self.weight.requires_grad)
        if tracked and self._grad_enabled and not torch.is_grad_enabled():
            raise EscapedError("met without gradients, inside an autograd.Function or torch.no_grad()")
        if self._gathered is None:
            self.check_unwritten()
            with torch.set_grad_enabled(self._grad_enabled):
                rows = self.topology.adj.gather(self.table, self.end)
                if self.weight is not None:
                    rows = rows * self.weight.view(*self.weight.shape, *[1] * (rows.dim() - self.weight.dim()))
            self._gathered = rows
        return self._gathered

    def check_unwritten(self) -> None:
        """Raise if what the promise is about was written in place since."""
        if (_version(self.table), _version(self.weight)) != self._versions:
            raise EscapedError("what the rows are made of was written in place")


def _version(tensor: Tensor | None) -> int:
    return 0 if tensor is None or tensor.is_inference() else tensor._version


def materialised(value: Any) -> Any:
    """Return rows as an ordinary tensor, and anything else as it is."""
    return value.materialise() if isinstance(value, Rows) else value


def _product(rows: Rows, factor: Any) -> Rows | None:
    """Multiply rows by one number an edge (and head), if that is what the factor is."""
    if isinstance(factor, Rows) or type(factor) not in (Tensor, Parameter) or not rows.pending or rows.end != "src":
        return None
    if rows._grad_enabled != torch.is_grad_enabled():
        return None
    dims = rows.table.dim()
    # [E, 1] for x [N, D]; [E, 1, 1] or [E, H, 1] for x [N, H, D]
    fits = factor.dim() == dims and factor.shape[0] == rows.topology.adj.num_edges and factor.shape[-1] == 1
    if not fits or dims < 2 or factor.dtype != rows.table.dtype or factor.device != rows.table.device:
        return None
    if dims == 3 and factor.shape[1] not in (1, rows.table.shape[1]):
        return None
    weight = factor.squeeze(-1)
    weight = weight.squeeze(-1) if dims == 3 and factor.shape[1] == 1 else weight
    if rows.weight is not None:
        if rows.weight.dim() != weight.dim():
            return None
        weight = rows.weight * weight
    rows.check_unwritten()
    return Rows(rows.table, rows.topology, rows.end, rows.family, weight)
