"""LoaderStages: how a loader makes a batch, step by step, for `Batches`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from gnnkit.data._hops import hop_key
from gnnkit.data._streams import SideStream


class LoaderStages:
    """The `gnnkit.data._prefetch.Stages` of a loader's pass over its inputs.

    Args:
        loader: A `Threaded`.
        key: Of the pass; batch k has the key that it makes with k.
    """

    def __init__(self, loader: Any, key: int) -> None:
        self._loader, self._key = loader, key
        self._fetcher = loader._fetcher
        self.announces, self.window = bool(self._fetcher.announced), loader.window
        self._unread = 0
        device = getattr(loader._sampler, "device", None)
        threads = loader.prefetch > 0
        self._side = SideStream(device) if threads and device is not None and device.type == "cuda" else None
        self._pins = loader.pin_memory and self._side is None and torch.cuda.is_available()

    def sample(self, number: int, index: Any) -> Any:
        """Sample."""
        with self._side.work() if self._side else nullcontext():
            return self._loader.collate_fn(index, hop_key(self._key, number))

    def announce(self, sampled: Any) -> None:
        """Announce the rows of a batch to the stores that want to know."""
        self._fetcher.announce(sampled)
        self._unread += 1

    def read(self, sampled: Any) -> Any:
        """Read, unless that is the caller's part."""
        if not self._loader.filter_per_worker:
            return self._side.depart(sampled) if self._side else sampled
        with self._side.work() if self._side else nullcontext():
            batch = self._filter(sampled)
            return self._side.depart(batch) if self._side else batch

    def finish(self, batch: Any) -> Any:
        """The caller's part: nothing, or waiting on a GPU, or reading."""
        batch = self._side.arrive(batch) if self._side else batch
        return batch if self._loader.filter_per_worker else self._filter(batch)

    def describe(self, index: Any) -> str:
        """The first inputs of a batch."""
        return str(self._loader._name_inputs(index))

    def cancel(self) -> None:
        """Let stores forget what they wait for."""
        if self._unread:
            self._unread = 0
            for store in self._fetcher.announced.values():
                store.forget()

    def _filter(self, sampled: Any) -> Any:
        batch = self._loader.filter_fn(sampled)
        if self.announces:
            self._unread -= 1  # where reading fails, the store still waits for it
        return batch.pin_memory() if self._pins else batch
