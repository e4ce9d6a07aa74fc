"""Threaded: what the loaders of nodes and of links share, PyG's loaders with threads in place of worker processes."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnnkit.data._fetch import Fetcher
from gnnkit.data._hops import hop_key
from gnnkit.data._keys import random_key
from gnnkit.data._prefetch import Batches
from gnnkit.data._stages import LoaderStages


class Threaded:
    """Goes before PyG's ``NodeLoader`` or ``LinkLoader`` among the bases, and ``_options`` before their ``__init__``.

    Those who derive say how to ask the sampler, and what it says about a batch.
    """

    if TYPE_CHECKING:  # what PyG's loaders and PyTorch's DataLoader hold
        data: Any
        input_data: Any
        transform: Any
        transform_sampler_output: Any
        custom_cls: Any
        generator: torch.Generator | None
        num_workers: int
        timeout: float
        _index_sampler: Any

        def __len__(self) -> int: ...

    def _options(
        self, data: Any, options: dict[str, Any], *, prefetch: int | None, seed: int | None, features: Any, window: int
    ) -> dict[str, Any]:
        """Check and keep the options that are not PyG's; return those for PyG."""
        if options.get("worker_init_fn") is not None:
            raise ValueError("worker_init_fn: expected None, since there are no worker processes (got a function)")
        if options.get("batch_size", 1) is None and options.get("batch_sampler") is None:
            raise ValueError("batch_size: expected a number (got None)")
        if prefetch is None:
            prefetch = 2 if options.get("prefetch_factor") is None else options["prefetch_factor"]
        for name, value in (("prefetch", prefetch), ("window", window)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name}: expected a number of batches >= 0 (got {value!r})")
        if seed is not None:
            random_key(seed)  # checks it
        self._order = torch.Generator() if seed is not None and options.get("generator") is None else None
        self.prefetch, self.window, self.seed, self.epoch = prefetch, window, seed, 0
        self._fetcher = Fetcher(features, data)
        self._newest: weakref.ref[Batches] | None = None
        kept = {name: value for name, value in options.items() if name != "multiprocessing_context"}
        return kept if self._order is None else {**kept, "generator": self._order}

    def _ready(self) -> None:
        """Drop the method of its own that ``DataLoader`` keeps, so that a loader is freed as soon as it is dropped."""
        self.__dict__.pop("collate_fn", None)
        self._keyed = "key" in inspect.signature(getattr(self._sampler, self._method)).parameters

    def check_worker_number_rationality(self) -> None:
        """PyTorch warns of more worker processes than cores; here are none."""

    def enable_cpu_affinity(self, *_: Any, **__: Any) -> None:
        """Refused: there are no worker processes to bind."""
        raise ValueError("enable_cpu_affinity: expected worker processes (got a loader with threads)")

    def enable_multithreading(self, *_: Any, **__: Any) -> None:
        """Refused: there are no worker processes to have threads."""
        raise ValueError("enable_multithreading: expected worker processes (got a loader with threads)")

    # ------------------------------------------------------------------ batches

    def __iter__(self) -> Batches:
        key = random_key(self.seed, self.generator)
        if self.seed is not None:
            key = hop_key(key, self.epoch)
        if self._order is not None:
            self._order.manual_seed(key % 2**63)
        self.epoch += 1
        before = self._newest() if self._newest is not None else None
        if before is not None and self._fetcher.announced:
            before.displace()  # a store keeps one list of what was announced
        batches = Batches(
            LoaderStages(self, key),
            iter(self._index_sampler),
            self.__len__,
            threads=max(1, self.num_workers),
            prefetch=self.prefetch,
            timeout=self.timeout,
        )
        self._newest = weakref.ref(batches)
        return batches

    def _get_iterator(self) -> Iterator[Any]:
        return iter(self)

    def __call__(self, index: Tensor | Sequence[int]) -> Any:
        """Make the batch of these inputs, now and here."""
        return self.filter_fn(self.collate_fn(index))

    def collate_fn(self, index: Tensor | Sequence[int], key: int | None = None) -> Any:
        """Sample the batch of these inputs, and transform what the sampler gives."""
        options = {"key": key} if self._keyed and key is not None else {}
        out = self._sample(self.input_data[index], options)
        return out if self.transform_sampler_output is None else self.transform_sampler_output(out)

    def filter_fn(self, out: Any) -> Any:
        """Make the batch of a sampler's output: read its rows, and transform it."""
        batch = self._fetcher.read(self.data, out, self._sampler.edge_permutation, self.custom_cls)
        batch = self._describe(batch, out)
        return batch if self.transform is None else self.transform(batch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_newest": None}

    _method: str  # of the sampler

    @property
    def _sampler(self) -> Any:
        raise NotImplementedError

    def _sample(self, inputs: Any, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _describe(self, batch: Any, out: Any) -> Any:
        raise NotImplementedError
