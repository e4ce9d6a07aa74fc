"""Who has come to a collective operation: what torch.distributed's own errors do not tell."""

from __future__ import annotations

from collections.abc import Sequence

from torch.distributed import distributed_c10d as c10d


class Arrivals:
    """A number for each rank and group in the store that all ranks met in: how many collectives it has come to.

    Cost: one small request to the store for each collective; the numbers are read only after a failure.
    """

    def __init__(self, rank: int) -> None:
        self._store = c10d.PrefixStore("gnnkit_arrivals", c10d._get_default_store())
        self._rank, self._count = rank, dict[tuple[int, ...], int]()

    def come(self, ranks: Sequence[int]) -> None:
        """Say that this rank is about to take part in the next collective of these ranks."""
        ranks = tuple(ranks)
        self._count[ranks] = self._count.get(ranks, 0) + 1
        self._store.set(self._key(ranks, self._rank), str(self._count[ranks]))

    def missing(self, ranks: Sequence[int]) -> list[int]:
        """Give the ranks that have not come to the collective that this rank was last at."""
        ranks = tuple(ranks)
        return [rank for rank in ranks if rank != self._rank and self._came(ranks, rank) < self._count[ranks]]

    def _came(self, ranks: tuple[int, ...], rank: int) -> int:
        key = self._key(ranks, rank)
        return int(self._store.get(key)) if self._store.check([key]) else 0

    def _key(self, ranks: tuple[int, ...], rank: int) -> str:
        return f"{'-'.join(map(str, ranks))}/{rank}"
