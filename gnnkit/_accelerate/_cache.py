"""What was built from a graph's content, bounded in bytes, the least recently used out first.

The key is a hash of the content, computed at every call. Nothing cheaper is sound: the same object may hold
other edges (written through NumPy, or in inference mode, where tensors count no versions), and other edges may
lie at an address that was freed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops, remove_self_loops

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import content_hash

LIMIT_BYTES = 1 << 30


class ContentCache:
    """A dictionary of bounded size; safe to use from several threads.

    Attributes:
        limit_bytes: Entries are dropped above it; the newest one always stays.
        nbytes: What the entries hold.
        hits: How often a key was found.
        misses: How often it was not.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = self.hits = self.misses = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:
        """Return the value of a key; a missing one is made: ``make()`` returns it and its size in bytes."""
        with self._lock:
            if key in self._entries:
                self.hits += 1
                self._entries.move_to_end(key)
                return self._entries[key][0]
            self.misses += 1
        value, nbytes = make()  # outside the lock: two threads may make the same thing, and one is kept
        with self._lock:
            if key not in self._entries:
                self._entries[key] = value, nbytes
                self.nbytes += nbytes
            while self.nbytes > self.limit_bytes and len(self._entries) > 1:
                self.nbytes -= self._entries.popitem(last=False)[1][1]
        return value

    def clear(self) -> None:
        """Drop every entry."""
        with self._lock:
            self._entries.clear()
            self.nbytes = self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)


CACHE = ContentCache(LIMIT_BYTES)


class Topology:
    """An `Adjacency` and the key that its content has in the cache.

    Attributes:
        adj: The graph by destination.
        key: What tells it apart from every other.
    """

    __slots__ = ("adj", "key")

    def __init__(self, adj: Adjacency, key: Hashable) -> None:
        self.adj = adj
        self.key = key

    def values(self, weight: Tensor) -> Values:
        """Bring constant ``[E]`` or ``[E, H]`` weights into the kernels' orders; remembered by their content."""
        with torch.inference_mode(False):  # what is remembered serves training later
            constant = weight.clone() if weight.is_inference() else weight.detach()
            key = self.key, content_hash(constant), constant.dtype, constant.shape

            def make() -> tuple[Values, int]:
                values = Values(self.adj, constant.index_select(0, self.adj.edge_ids))
                return values, values.nbytes

            return CACHE.get(key, make)  # type: ignore[no-any-return]


class Values:
    """Constant weights of the edges, in the order of the CSR and of its transpose.

    Attributes:
        by_dst: In CSR order.
    """

    def __init__(self, adj: Adjacency, by_dst: Tensor) -> None:
        self._adj, self.by_dst = adj, by_dst
        self._by_src: Tensor | None = None

    @property
    def by_src(self) -> Tensor:
        """In the order of the transpose; made at first use."""
        if self._by_src is None:
            with torch.inference_mode(False):
                self._by_src = self.by_dst.index_select(0, self._adj.transpose[2])
        return self._by_src

    @property
    def nbytes(self) -> int:
        """The bytes of both orders."""
        return 2 * self.by_dst.numel() * self.by_dst.element_size()


def of_edges(edge_index: Tensor, sizes: tuple[int, int]) -> Topology:
    """Return the topology of a ``[2, E]`` edge_index between ``sizes`` = (sources, destinations).

    Raises:
        ValueError: An id that ``sizes`` does not admit.
    """
    key = edges_key(edge_index, sizes)

    def make() -> tuple[Topology, int]:
        adj = Adjacency.from_edge_index(edge_index, sizes)
        return Topology(adj, key), nbytes(adj)

    return CACHE.get(key, make)  # type: ignore[no-any-return]


def of_looped_edges(edge_index: Tensor, sizes: tuple[int, int], loops: int | None) -> Adjacency:
    """Return a graph whose first ``loops`` nodes have a self-loop each, after all others, in place of every other one.

    None leaves it as it is. Raises as `of_edges`.
    """
    if loops is None:
        return of_edges(edge_index, sizes).adj

    def make() -> tuple[Adjacency, int]:
        with torch.inference_mode(False):
            edges = edge_index.clone() if edge_index.is_inference() else edge_index
            edges, _ = add_self_loops(remove_self_loops(edges)[0], num_nodes=loops)
            adj = Adjacency.from_edge_index(edges, sizes)
        return adj, nbytes(adj)

    key = "loops", loops, edges_key(edge_index, sizes)
    return CACHE.get(key, make)  # type: ignore[no-any-return]


def edges_key(edge_index: Tensor, sizes: tuple[int, int]) -> Hashable:
    """Return the key of a graph's content."""
    return content_hash(edge_index), edge_index.dtype, edge_index.shape[1], sizes


def nbytes(adj: Adjacency) -> int:
    """Return the bytes of an adjacency with everything that it builds at first use."""
    # CSR, its transpose, positions both ways, both ends of each edge, the edges by source, the rows of entries
    return 60 * adj.num_edges + 8 * (adj.num_src + adj.num_dst)
