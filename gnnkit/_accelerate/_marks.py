"""A mark on the ``index`` that PyG hands to a layer: which graph its edges end in.

PyG's layers pass it on, to ``softmax(alpha, index)`` or ``scatter(inputs, index, …)``: there the graph is known
without looking for it. A mark holds for what the tensor was when it was marked.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnnkit._accelerate._cache import Topology

_NAME = "_gnnkit_mark"


@dataclass(frozen=True)
class _Mark:
    topology: Topology
    state: tuple[int, int, int]


def mark(index: Tensor, topology: Topology) -> None:
    """Say that ``index`` holds the destination of every edge of a graph; an inference tensor keeps no mark."""
    if not index.is_inference():
        setattr(index, _NAME, _Mark(topology, _state(index)))


def topology_of(index: object) -> Topology | None:
    """Return the graph of a marked index that nobody wrote since; None for any other."""
    found = getattr(index, _NAME, None)
    if found is None or type(index) is not Tensor or _state(index) != found.state:
        return None
    topology: Topology = found.topology
    return topology


def _state(index: Tensor) -> tuple[int, int, int]:
    return index._version, index.data_ptr(), index.numel()
