"""How a benchmark's model gets its graph and features: whole, or sampled and read from a store."""

from __future__ import annotations

import hashlib
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from gnnkit import data as stores
from gnnkit import datasets
from gnnkit.adjacency import Adjacency
from gnnkit.data import Split
from gnnkit.train import SampledNodeClassification
from gnnkit.train._config import require

if TYPE_CHECKING:
    from gnnkit.data import FeatureStore


@dataclass(frozen=True)
class LoaderConfig:
    """What a training step of a task on nodes sees.

    Attributes:
        kind: ``"full"``: the whole graph. ``"neighbor"``: some training nodes and sampled neighbours.
        fanout: Neighbours a node, nearest hop first, -1 for all; one number serves every layer.
        batch_size: Training nodes of a step, at the most.
        num_workers: Sampling threads.
        prefetch: Steps made ahead, a thread.
    """

    kind: Literal["full", "neighbor"] = "full"
    fanout: tuple[int, ...] = (10,)
    batch_size: int = 1024
    num_workers: int = 1
    prefetch: int = 2

    def __post_init__(self) -> None:
        require_choices(self, "loader", "kind")
        if not self.fanout or min(self.fanout) < -1:
            raise ValueError(f"loader.fanout: expected numbers of neighbours, or -1 for all (got {self.fanout})")
        require("loader.batch_size", self.batch_size, low=1, high=1e9)
        require("loader.num_workers", self.num_workers, low=0, high=1e4)
        require("loader.prefetch", self.prefetch, low=0, high=1e6)

    def per_layer(self, num_layers: int) -> list[int]:
        """Return a fan-out for each layer.

        Raises:
            ValueError: There are neither one nor as many as layers.
        """
        if len(self.fanout) not in (1, num_layers):
            got = ",".join(map(str, self.fanout))
            raise ValueError(f"loader.fanout: expected one number, or one a layer ({num_layers}) (got {got})")
        return list(self.fanout) * (num_layers // len(self.fanout))


@dataclass(frozen=True)
class FeaturesConfig:
    """What becomes of a dataset's features before a model reads them, and where they lie.

    Attributes:
        scale: ``"rows"`` divides every feature row by its sum where that exceeds 1, as Kipf and Welling do;
            ``"as_is"`` does not.
        kind: With ``loader.kind=neighbor``: ``"memory"``, ``"memmap"`` (a file on disk), ``"pinned"`` (host memory that
            a GPU reads) or ``"cached"`` (the file on disk behind a cache).
        policy: What a cache keeps; see `gnnkit.data.Cached`.
        cache_share: Bytes of the cache, as a share of the table's.
        window: Training steps ahead that the cache knows of.
    """

    scale: Literal["as_is", "rows"] = "as_is"
    kind: Literal["memory", "memmap", "pinned", "cached"] = "memory"
    policy: Literal["degree", "pagerank", "lru", "lookahead", "hybrid"] = "hybrid"
    cache_share: float = 0.1
    window: int = 8

    def __post_init__(self) -> None:
        require_choices(self, "features", "scale", "kind", "policy")
        require("features.cache_share", self.cache_share, low=0, high=1.000001)
        require("features.window", self.window, low=0, high=1e4)


def require_choices(config: Any, prefix: str, *names: str) -> None:
    """Require that fields hold what their types list."""
    hints = typing.get_type_hints(type(config))
    for name in names:
        choices = typing.get_args(hints[name])
        if getattr(config, name) not in choices:
            raise ValueError(f"{prefix}.{name}: expected {' or '.join(choices)} (got {getattr(config, name)!r})")


def check(loader: LoaderConfig, features: FeaturesConfig, num_layers: int, task: str, name: str) -> None:
    """Require settings that fit each other and the dataset's task.

    Raises:
        ValueError: They do not.
    """
    if task != "node_classification":
        if features.scale == "rows":
            raise ValueError(f"features.scale=rows: expected a dataset of one graph (got {name})")
        if loader.kind == "neighbor":
            raise ValueError(f"loader.kind=neighbor: expected a task on nodes of one graph (got {name}, {task})")
    if loader.kind == "neighbor":
        loader.per_layer(num_layers)
        if features.kind == "pinned" and not torch.cuda.is_available():
            raise ValueError("features.kind=pinned: expected a CUDA device, or features.kind=memory (got no device)")
    elif features.kind != "memory":
        raise ValueError(f"features.kind={features.kind}: expected loader.kind=neighbor with it (got full)")


def check_effect(overrides: Sequence[str], task: str, heuristic: str | None) -> None:
    """Require that what is set is read: for links `link` and not `model`, of a heuristic the graph alone.

    Raises:
        ValueError: A setting would have no effect.
    """
    links = task == "link_prediction"
    for setting in overrides:
        path = setting.partition("=")[0].strip()
        if heuristic is not None:
            idle, reason = path != "link.valid_as_input", f"link.valid_as_input or nothing for {heuristic}"
        elif links:
            idle, reason = path.startswith(("model.", "accelerate")), "link.… for the shape of a model of links"
        else:
            idle, reason = path.startswith("link."), "model.… for the shape of a model that predicts no links"
        if idle:
            raise ValueError(f"--set {path}: expected {reason} (got a setting without effect)")


def on_disk(x: torch.Tensor, name: str) -> Path:
    """Return the file of a dataset's features in the user's cache, written where it is missing."""
    folder = datasets.cache_dir() / "features"
    # by content: raw files alone do not say what a version of PyG or of scikit-learn makes of them
    content = hashlib.sha256(x.contiguous().view(-1).view(torch.uint8).numpy().data).hexdigest()
    path = folder / f"{name}-{content[:16]}.rows"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        stores.write_features(path, x)
    return path


class SampledInputs:
    """The graph and the features of a dataset, for training on samples; made once for all seeds."""

    def __init__(self, data: Any, loader: LoaderConfig, features: FeaturesConfig, num_layers: int) -> None:
        self.data, self.loader, self.features = data, loader, features
        self.fanout = loader.per_layer(num_layers)
        self.adj = Adjacency.from_edge_index(data.edge_index, num_nodes=data.num_nodes)
        self.store = self._store()

    def _store(self) -> FeatureStore:
        x = self.data.x
        if not isinstance(x, torch.Tensor):
            raise ValueError(f"{self.data.card.name}: expected features of nodes to train on (got {type(x).__name__})")
        if self.features.kind == "memory":
            return stores.InMemory(x)
        if self.features.kind == "pinned":
            return stores.Pinned(x)
        path = on_disk(x, self.data.card.name)
        self.data.num_nodes, self.data.x = self.adj.num_dst, None  # the file serves from here on
        return stores.MemoryMapped(path)

    def task(self, split: Split, device: torch.device, scratch: Path) -> tuple[SampledNodeClassification, FeatureStore]:
        """Return the task of one seed, and the store that its steps read: a cache is empty at first."""
        store = self.store
        if self.features.kind == "cached":
            row_bytes = store.shape[1] * store.dtype.itemsize
            store = stores.Cached(
                store,
                self.features.policy,
                int(self.features.cache_share * store.shape[0]) * row_bytes,
                None if device.type == "cpu" else device,
                adj=self.adj,
                window=self.features.window,
            )
        on_disk = self.features.kind in ("memmap", "cached")
        card = self.data.card
        task = SampledNodeClassification(
            store,
            self.adj,
            self.data.y,
            split,
            card.metric,
            fanout=self.fanout,
            batch_size=self.loader.batch_size,
            evaluator=card.evaluator,
            device=device,
            num_workers=self.loader.num_workers,
            prefetch=self.loader.prefetch,
            window=self.features.window,
            scored=self.store,
            scratch=scratch if on_disk else None,
        )
        return task, store


def traffic(store: FeatureStore) -> dict[str, Any]:
    """Return what a cache counted, for a result row; nothing for other stores."""
    return {"cache": asdict(store.stats())} if isinstance(store, stores.Cached) else {}
