"""What a process reads of its nodes: features at the first stage, targets at the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from gnnkit.pipeline._network import Network
from gnnkit.pipeline._part import Part

Loss = Callable[..., Tensor]


class Store(Protocol):
    """A feature store of gnnkit.data."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, F)``."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""

    def read(self, ids: Tensor) -> Tensor:
        """Return rows by id, on the device of ``ids``."""


class Features:
    """The features of a part's nodes, chunk by chunk: a tensor's rows are kept, a store's are read each time.

    Args:
        x: ``[N, F]``, a tensor or a store.
        part: The part.
        wanted: Whether this process reads features at all.
        device: Where they go.
    """

    def __init__(self, x: Tensor | Store, part: Part, wanted: bool, device: torch.device) -> None:
        self._part, self._device = part, device
        self._store = None if isinstance(x, Tensor) else x
        self._rows = x[part.nodes[: part.num_own]].to(device) if isinstance(x, Tensor) and wanted else None

    def __call__(self, chunk: int) -> Tensor:
        """Return ``[n, F]``."""
        low, high = self._part.rows(chunk)
        if self._rows is not None:
            return self._rows[low:high]
        assert self._store is not None
        return self._store.read(self._part.nodes[low:high].to(self._device))


class Targets:
    """A chunk's share of the mean loss over the training nodes of the whole graph.

    Args:
        y: ``[N, …]``.
        train: ``[T]`` ids of the training nodes.
        part: The part.
        loss: ``loss(outputs [n, C], y [n, …], reduction="sum")``.
        device: Where outputs are.
    """

    def __init__(self, y: Tensor, train: Tensor, part: Part, loss: Loss, device: torch.device) -> None:
        own = part.nodes[: part.num_own]
        trained = torch.zeros(part.num_nodes, dtype=torch.bool)
        trained[train.cpu()] = True
        self._rows = [trained[part.chunk_nodes(c)].nonzero().flatten().to(device) for c in range(part.num_chunks)]
        self._y = [
            y[own[low:high]].to(device)[rows] for (low, high), rows in zip(_bounds(part), self._rows, strict=True)
        ]
        self._loss, self._count = loss, len(train)

    def __call__(self, outputs: Tensor, chunk: int) -> Tensor:
        """Return a scalar; the chunks' add up to the mean over all training nodes."""
        rows = outputs.index_select(0, self._rows[chunk])
        if len(rows) == 0:
            return rows.sum()  # 0, with the way back that other chunks' gradients need
        return self._loss(rows, self._y[chunk], reduction="sum") / self._count


def _bounds(part: Part) -> list[tuple[int, int]]:
    return [part.rows(chunk) for chunk in range(part.num_chunks)]


def check_examples(x: Any, y: Tensor, train: Tensor, edge_attr: Tensor | None, num_nodes: int) -> None:
    """Require features, targets and training nodes that fit the graph.

    Raises:
        ValueError: They do not.
    """
    shape, dtype = tuple(getattr(x, "shape", ())), getattr(x, "dtype", None)
    if len(shape) != 2 or shape[0] != num_nodes or not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        got = f"{type(x).__name__} {list(shape)} {dtype}"
        raise ValueError(f"x: expected floating features of shape [{num_nodes}, F], a tensor or a store (got {got})")
    if dtype == torch.float16:
        raise ValueError(f"x: expected float32, float64 or bfloat16, whose gradients do not vanish (got {dtype})")
    if isinstance(x, Tensor) and x.requires_grad:
        raise ValueError("x: expected features that are constants (got requires_grad)")
    if isinstance(x, Tensor) and not bool(x.isfinite().all()):
        raise ValueError(f"x: expected finite features (got {int((~x.isfinite()).sum())} NaN or infinite)")
    if not isinstance(y, Tensor) or y.dim() == 0 or len(y) != num_nodes:
        raise ValueError(f"y: expected a target for each of {num_nodes} nodes (got {list(getattr(y, 'shape', ()))})")
    if not isinstance(train, Tensor):
        raise ValueError(f"train: expected int64 ids of nodes (got a {type(train).__name__})")
    if train.dim() != 1 or train.dtype != torch.int64 or len(train) == 0:
        raise ValueError(f"train: expected int64 ids of at least one node (got {train.dtype} {list(train.shape)})")
    distinct = len(torch.unique(train))
    if int(train.min()) < 0 or int(train.max()) >= num_nodes or distinct != len(train):
        got = f"{int(train.min())} to {int(train.max())}, {len(train)} of which {distinct} are distinct"
        raise ValueError(f"train: expected distinct ids below {num_nodes} (got {got})")
    if edge_attr is not None and (
        edge_attr.dim() != 2 or not edge_attr.is_floating_point() or not bool(edge_attr.isfinite().all())
    ):
        got = f"{edge_attr.dtype} {list(edge_attr.shape)}, {int((~edge_attr.isfinite()).sum())} NaN or infinite"
        raise ValueError(f"edge_attr: expected finite floating states of shape [E, De] (got {got})")


def check_network(network: Network, dtype: torch.dtype, seed: int) -> None:
    """Require a network that the trainer can execute in parts, in the features' precision, and a seed.

    Raises:
        ValueError: It is none.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: expected a whole number from 0 (got {seed!r})")
    if type(network).forward is not Network.forward:
        raise ValueError(f"network: expected a Network that is called as one (got {type(network).__name__}.forward)")
    names: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if not name.startswith(("first.", "layers.", "last.")):
            raise ValueError(f"network: expected parameters in first, layers and last (got {name})")
        other = names.setdefault(id(parameter), name)
        if other != name:
            raise ValueError(f"network: expected parameters of one part each (got {name}, which is {other} too)")
        if parameter.is_floating_point() and parameter.dtype != (torch.float32 if dtype.itemsize < 4 else dtype):
            raise ValueError(f"network: expected parameters of the features' {dtype} (got {name}, {parameter.dtype})")
