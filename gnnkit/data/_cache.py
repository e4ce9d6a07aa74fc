"""Cached: the rows of another store that are wanted soon or often, kept in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.data import _policies
from gnnkit.data._accumulator import Accumulator
from gnnkit.data._cache_memory import Memory
from gnnkit.data._policies import Ints
from gnnkit.data._policies_rows import Residents
from gnnkit.data._policies_trace import make_policy
from gnnkit.data._scores import out_degree, reverse_pagerank
from gnnkit.data._store import FeatureStore, check_ids, output
from gnnkit.kernels import _check, gather_cached


@dataclass(frozen=True)
class CacheStats:
    """What a `Cached` store has done so far. A row that a batch names twice counts once.

    Attributes:
        reads: Distinct rows of all batches.
        hits: Of these, found in the cache.
        victim_hits: Of these, found in the victim buffer.
        storage_reads: Rows read from the store behind, those read early included.
        storage_calls: How many calls read them.
        evictions: Rows that left the cache.
        bytes: Served by ``"cache"`` and ``"victim"``, read from ``"storage"``.
    """

    reads: int
    hits: int
    victim_hits: int
    storage_reads: int
    storage_calls: int
    evictions: int
    bytes: dict[str, int]

    @property
    def hit_ratio(self) -> float:
        """``(hits + victim_hits) / reads``, 0 before the first read."""
        return (self.hits + self.victim_hits) / self.reads if self.reads else 0.0


class Cached:
    """A feature store that keeps rows of another one, as many as fit into a number of bytes.

    After every batch it keeps, of its rows and the batch's, those that its policy ranks highest. It is fully
    associative, and a line is a row. What it returns is always what the store behind would, whatever was announced.

    | policy | keeps |
    |---|---|
    | ``"degree"`` | the rows most often listed as neighbours (`out_degree`) |
    | ``"pagerank"`` | the rows of the highest `reverse_pagerank`, as GIDS's constant buffer |
    | ``"lru"`` | the rows used last |
    | ``"lookahead"`` | the rows that announced batches use soonest, then the rows used last |
    | ``"hybrid"`` | the rows that announced batches use soonest, then the rows of the highest score |
    | ``"random"``, ``"fifo"`` | any rows; the rows loaded last: what the others are compared with |

    Look-ahead evicts the farthest known reuse, and rows without a known one before all others (LSM-GNN's
    ``EP_WINDOW``, arXiv 2407.15264). A loader announces every batch when it is sampled, in order; each read consumes
    the oldest. With nothing announced ``"lookahead"`` is ``"lru"``. Scores rule from the first read on, without reading
    anything in advance: the cache fills as rows come by.

    The victim buffer takes rows that leave although their next use is known, for each of the next ``window`` batches
    as many, in host memory (pinned, for a GPU), and brings them back right before that batch.

    Differs from LSM-GNN: one process decides on the host from ids; no sets and ways; no cache lines of 4 KB holding
    several rows. Not for several threads reading at once; one may announce while another reads.

    Memory: ``capacity_bytes``; beside it the staging of one batch's misses and ``outstanding`` rows, 8 bytes a row of
    the table for its index, 8 more with a window, 4 more with scores, 4 with a victim buffer, and 24 a line.

    Args:
        store: What lies behind, with ``read``, ``shape`` and ``dtype``.
        policy: One of the table above.
        capacity_bytes: For lines and victim buffer together; 0 keeps nothing.
        device: Of the lines and of the ids; None for the CPU.
        adj: The graph, from which ``"degree"``, ``"pagerank"`` and ``"hybrid"`` (by `reverse_pagerank`) get scores.
        scores: ``[N]`` in place of ``adj``: higher is kept longer.
        window: How many announced batches look-ahead policies look at, beyond the one being read.
        victim_bytes: Of ``capacity_bytes``, for the victim buffer; look-ahead policies only.
        outstanding: Rows that a read from storage should hold: where a batch misses fewer, rows that announced batches
            will miss are read with it (`outstanding_accesses` says how many keep a disk busy).
        seed: Of ``"random"``.

    Raises:
        ValueError: An argument of another kind or range.

    Example:
        >>> import torch
        >>> from gnnkit.data import Cached, InMemory
        >>> table = torch.arange(12.0).view(6, 2)
        >>> store = Cached(InMemory(table), "lookahead", capacity_bytes=2 * 8)
        >>> batches = [torch.tensor(ids) for ids in ([0, 1], [2, 3], [0, 1])]
        >>> for ids in batches:
        ...     store.announce(ids)
        >>> all(torch.equal(store.read(ids), table[ids]) for ids in batches)
        True
        >>> stats = store.stats()
        >>> stats.reads, stats.hits, stats.storage_reads
        (6, 2, 4)
    """

    def __init__(
        self,
        store: FeatureStore,
        policy: str,
        capacity_bytes: int,
        device: torch.device | str | None = None,
        *,
        adj: Adjacency | None = None,
        scores: Tensor | None = None,
        window: int = 8,
        victim_bytes: int = 0,
        outstanding: int = 0,
        seed: int = 0,
    ) -> None:
        if not isinstance(store, FeatureStore):
            raise ValueError(
                f"store: expected a feature store with read, shape and dtype (got {_check.describe(store)})"
            )
        numbers = {"capacity_bytes": capacity_bytes, "window": window, "victim_bytes": victim_bytes}
        for name, value in {**numbers, "outstanding": outstanding}.items():
            _check.count(name, value)
        num_rows, row = store.shape[0], store.shape[1:]
        chosen = make_policy(policy, _scores(policy, adj, scores, num_rows), num_rows, seed)
        if victim_bytes > capacity_bytes or (victim_bytes and not (policy in _policies.WINDOWED and window)):
            allowed = f"at most capacity_bytes = {capacity_bytes}, and 0 for a policy without a window"
            raise ValueError(f"victim_bytes: expected {allowed} (got {victim_bytes} for {policy}, window {window})")
        self._device = torch.device("cpu" if device is None else device)
        self._row_bytes = row.numel() * store.dtype.itemsize
        fit = max(self._row_bytes, 1)
        self._residents = Residents(num_rows, capacity_bytes // fit, chosen, window, victim_bytes // fit)
        queues = self._residents.victims
        self._memory = Memory(self._residents.capacity, row, store.dtype, self._device, queues)
        self._source = Accumulator(store, outstanding)
        # ids, the place of each among the distinct ones, and these
        self._announced: deque[tuple[Ints, Ints, Ints]] = deque()
        self._torn = False  # whether the window may know of other batches than these
        self._scratch = np.empty(num_rows, np.int32)
        self._distinct_lock, self._announce_lock, self._read_lock = Lock(), Lock(), Lock()
        self._reads = self._hits = self._victim_hits = self._evictions = 0

    @property
    def shape(self) -> torch.Size:
        """``[N, D, …]``, of the store behind."""
        return self._source.store.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the store behind."""
        return self._source.store.dtype

    def announce(self, ids: Tensor) -> None:
        """Say which ids the next batch that nobody has announced yet will read; batches are read in this order.

        Args:
            ids: ``[K]`` int32 or int64 in ``[0, N)``, on any device; copied.

        Raises:
            ValueError: An id outside the table.
        """
        check_ids(ids, self.shape[0])
        host = _host(ids)
        distinct, inverse = self._distinct(host)
        with self._announce_lock:
            try:
                self._residents.window.announce(distinct)  # first: what `read` sees announced, the window has
                self._announced.append((host, inverse, distinct))
            except BaseException:
                self._torn = True
                raise

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the rows of ``ids``, as `FeatureStore.read` does; consumes the oldest announced batch, if any.

        Where the store behind fails, its error passes through, and the batch remains to be read.

        Raises:
            ValueError: An id outside the table, ids on another device than the cache, an ``out`` that does not fit, or
                ids that are not those of the oldest announced batch.
        """
        check_ids(ids, self.shape[0])
        if ids.device.type != self._device.type:
            raise ValueError(f"ids: expected ids on {self._device}, where the cache is (got {ids.device})")
        out = output(self, ids, out)
        with self._read_lock:
            if self._torn:
                self._begin_anew()
            try:
                self._serve(ids, out)
            except Exception:
                raise
            except BaseException:  # Ctrl-C, between any two lines
                self._torn = True
                raise
        return out

    def forget(self) -> None:
        """Drop what was announced and not read, as when an epoch ends half-way; rows that are held stay."""
        with self._read_lock, self._announce_lock:
            self._announced.clear()
            self._residents.forget()
            self._source.forget()

    def stats(self) -> CacheStats:
        """Return the counts since construction."""
        served = {"cache": self._hits, "victim": self._victim_hits, "storage": self._source.rows}
        return CacheStats(
            self._reads,
            self._hits,
            self._victim_hits,
            self._source.rows,
            self._source.calls,
            self._evictions,
            {tier: rows * self._row_bytes for tier, rows in served.items()},
        )

    def _serve(self, ids: Tensor, out: Tensor) -> None:
        host, told = _host(ids), bool(self._announced)  # another thread may announce from here on
        if told:
            announced, inverse, _ = self._announced[0]
            if not np.array_equal(host, announced):
                expected = f"the {len(announced)} ids of the oldest announced batch, in their order"
                raise ValueError(
                    f"ids: expected {expected} (got {len(host)} others; forget() drops what was announced)"
                )
            found = self._residents.look()
        else:
            distinct, inverse = self._distinct(host)
            found = self._residents.look(distinct)
        missing = found.ids[found.missing]
        self._source.read(missing, self._residents.missing_ahead(), self._memory.for_storage(len(missing)))
        self._memory.send(len(missing))
        where = self._memory.places(found)
        gather_cached(self._memory.lines, self._memory.staged, torch.from_numpy(where[inverse]).to(out.device), out)
        moves = self._residents.settle(found)
        self._memory.move(moves, where)
        self._residents.commit(found, moves)
        if told:
            self._announced.popleft()
        self._memory.bring_back(found.step + 1)
        self._count(len(found.ids), int((found.line >= 0).sum()), len(missing), len(moves.evicted))

    def _begin_anew(self) -> None:
        """Know again of what is announced and not read, and of nothing else, after a step was interrupted."""
        with self._announce_lock:
            self._residents.forget()
            for _, _, distinct in self._announced:
                self._residents.window.announce(distinct)
            self._torn = False

    def _count(self, reads: int, hits: int, missing: int, evictions: int) -> None:
        self._reads += reads
        self._hits += hits
        self._victim_hits += reads - hits - missing
        self._evictions += evictions

    def _distinct(self, ids: Ints) -> tuple[Ints, Ints]:
        """Return the distinct ids, and for each id its place among them. O(K), without sorting."""
        with self._distinct_lock:
            places = np.arange(len(ids))
            self._scratch[ids] = places  # of an id that is named twice, the last place stays
            last = self._scratch[ids]
        chosen = last == places
        return ids[chosen], (np.cumsum(chosen) - 1)[last]

    def __repr__(self) -> str:
        name, lines, victims = self._residents.policy.name, self._residents.capacity, self._residents.victims.num_rows
        return f"Cached({self._source.store!r}, {name!r}: {lines:,} lines, {victims:,} in the victim buffer)"


def _host(ids: Tensor) -> Ints:
    """A copy of the ids that nobody else writes."""
    return ids.detach().to("cpu", torch.int64, copy=True).numpy()


def _scores(policy: str, adj: Adjacency | None, scores: Tensor | None, num_rows: int) -> Tensor | None:
    if adj is None:
        return scores
    if scores is not None:
        raise ValueError("scores: expected a graph or scores, not both (got adj and scores)")
    if adj.num_src != num_rows:
        raise ValueError(f"adj: expected a graph with {num_rows} sources, one a row (got {adj.num_src})")
    if policy not in _policies.SCORED:
        return None
    return out_degree(adj) if policy == "degree" else reverse_pagerank(adj)
