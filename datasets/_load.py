"""The registry: which family serves a name."""

from __future__ import annotations

import difflib
import os
from typing import Any, Literal

from gnnkit.datasets import _embedded, _filtered, _graphs, _ogb_load, _planetoid, _tu, _zinc
from gnnkit.datasets._card import Card
from gnnkit.datasets._link_protocols import with_protocol
from gnnkit.datasets._root import data_root

_FAMILIES: tuple[Any, ...] = (_embedded, _planetoid, _graphs, _filtered, _tu, _zinc, _ogb_load)
_CARDS: dict[str, Card] = {name: facts for family in _FAMILIES for name, facts in family.CARDS.items()}


def names() -> list[str]:
    """Return the names that `load` takes."""
    return list(_CARDS)


def card(name: str, root: str | os.PathLike[str] | None = None) -> Card:
    """Return the card of a dataset without loading it.

    Args:
        name: One of `names()`, or ``ogbn-…``, ``ogbl-…``, ``ogbg-…`` as given to ``ogb.io.DatasetSaver``. A
            protocol may follow the name of a graph with classes of nodes: ``cora:link``, ``cora:heart``.
        root: Where to look for what ``DatasetSaver`` wrote; None for ``GNNKIT_DATA``, else the user's cache.

    Raises:
        ValueError: No dataset has this name; the message suggests the nearest one.
    """
    base, colon, protocol = str(name).partition(":")
    known, place = names(), ""  # too many to print them all
    if base in _CARDS:
        return with_protocol(_CARDS[base], protocol) if colon else _CARDS[base]
    if base.startswith(_ogb_load.PREFIXES):
        if (found := _ogb_load.card(base, data_root(root))) is not None:
            return with_protocol(found, protocol) if colon else found
        known = [each for each in known if each.startswith("ogb")]
        place = f", or one that ogb.io.DatasetSaver wrote below {data_root(root)}"
    near = difflib.get_close_matches(base, known, n=1)
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"dataset: expected a name that `gnnkit datasets` lists{place} (got {name!r}){suggestion}")


def load(
    name: str, root: str | os.PathLike[str] | None = None, *, features: Literal["memory", "memmap"] = "memory"
) -> Any:
    """Load a dataset as PyG knows it, with a ``card`` (task, metric, splits, source, licence).

    One graph is a ``Data``; for a task on graphs the result is a dataset of them, to be indexed and iterated.
    ``raw_digest`` is the SHA-256 of the raw files that were read, empty for embedded sets.

    Embedded sets need no files. The others are read from ``root`` in the layout of their PyG loader, and
    downloaded into it when missing. No file runs code: pickles are checked before they are read. Raw files may
    be read-only: processed ones go to the user's cache.

    Args:
        name: One of `names()`, or a set of the user's own as for `card`.
        root: Folder of the raw data; None for ``GNNKIT_DATA``, else the user's cache.
        features: ``"memmap"`` for a graph of OGB whose features are larger than memory: they go from the raw file to
            a file in the user's cache, some rows at a time, and in place of ``x`` the graph, or each type of nodes
            that has them, holds ``features``, a `gnnkit.data.MemoryMapped` of float32.

    Raises:
        ValueError: Unknown name, raw files that are damaged or differ from the published ones, or ``"memmap"`` for a
            set without features or one that is not a graph of OGB.
        FileNotFoundError: Files are missing and cannot be downloaded; names the folder and the command.

    Example:
        >>> from gnnkit.datasets import load
        >>> data = load("karate")
        >>> data.num_nodes, data.card.metric, data.card.split(data, seed=0).sizes
        (34, 'accuracy', (4, 10, 20))
    """
    facts = card(name, root)
    name = name.partition(":")[0]
    family = next((family for family in _FAMILIES if name in family.CARDS), _ogb_load)
    if features == "memory":
        data = family.load(name, data_root(root))
    elif features == "memmap" and family is _ogb_load and not facts.task.startswith("graph") and facts.num_features:
        data = family.load(name, data_root(root), features)
    else:
        one = "memory, or memmap for one graph of OGB with features of nodes"
        raise ValueError(f"features: expected {one} (got {features!r} for {name})")
    data.card = facts
    data.raw_digest = getattr(data, "raw_digest", "")  # PyG stores no None
    found = _sizes(data, facts.task.startswith("graph"))
    expected = {size: getattr(facts, size) for size in found}
    if any(wanted not in (None, found[size]) for size, wanted in expected.items()):
        raise ValueError(f"{name}: expected the sizes of its card, {expected} (got {found}); other raw files?")
    return data


def _sizes(data: Any, graphs: bool) -> dict[str, int]:
    features = data.num_features
    if isinstance(features, dict):  # of each type of nodes
        features = max(features.values(), default=0)
    for store in [] if graphs else data.node_stores:
        if "features" in store:  # in a file
            features = max(features, store.features.shape[1])
    if graphs:
        return {"num_graphs": len(data), "num_features": features}
    return {"num_nodes": data.num_nodes, "num_edges": data.num_edges, "num_features": features}
