"""Parts of a graph as files: the graph is cut once, and each process reads its own part."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._chunks import ChunkedGraph
from gnnkit.pipeline._network import Neighbourhood
from gnnkit.pipeline._part import Exchange, Part, Piece
from gnnkit.pipeline._plan import Plan

_DIGEST_BYTES = 32


def write_parts(graph: ChunkedGraph, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the part of each way of a cut graph, one after the other, so that no process needs the whole.

    A file is whole or absent: it is written beside, ends with its SHA-256, and takes its name at the end.

    Args:
        graph: The whole graph and its plan.
        folder: Made if it is not there.

    Returns:
        The files, way by way.

    Example:
        >>> import tempfile, torch, gnnkit
        >>> from gnnkit.pipeline import ChunkedGraph, plan, read_part, write_parts
        >>> adj = gnnkit.Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))
        >>> cut = plan(adj, 4, ways=2, chunks=2, partitioner=torch.arange(4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = write_parts(ChunkedGraph(adj, cut), folder)
        ...     read_part(folder, cut, way=1).nodes.tolist()
        [2, 3, 1]
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for way in range(graph.plan.ways):
        buffer = io.BytesIO()
        torch.save(_content(graph.part(way)), buffer)
        payload = buffer.getvalue()
        path = _path(target, way)
        scratch = path.with_name(f".{path.name}.tmp")
        with scratch.open("wb") as file:
            file.write(payload + hashlib.sha256(payload).digest())
            file.flush()
            os.fsync(file.fileno())
        paths.append(scratch.replace(path))
    return paths


def read_part(folder: str | os.PathLike[str], plan: Plan, way: int) -> Part:
    """Read the part of one way; tensors and plain values only, so a stranger's file can run no code.

    Args:
        folder: That of `write_parts`.
        plan: The plan that the graph was cut by.
        way: Whose part.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is damaged, or was cut by another plan.
    """
    path = _path(Path(folder), way)
    content = path.read_bytes()
    payload, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path}: expected a part of a graph (got a damaged or foreign file)")
    found: Mapping[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
    if found["cut"] != plan.cut_digest():
        raise ValueError(f"{path}: expected a part cut by plan {plan.cut_digest()[:12]} (got {found['cut'][:12]})")
    return _part(found)


def _path(folder: Path, way: int) -> Path:
    return folder / f"part-{way:05d}.pt"


def _content(part: Part) -> dict[str, Any]:
    return {
        **{name: getattr(part, name) for name in ("ways", "nodes", "num_own", "bounds", "chunk_of_row", "segments")},
        **{name: getattr(part, name) for name in ("num_nodes", "edges", "cut")},
        "pieces": [[_piece_content(piece) for piece in row] for row in part.pieces],
        "exchanges": [[(each.way, each.give, each.low, each.high) for each in row] for row in part.exchanges],
    }


def _piece_content(piece: Piece) -> dict[str, Any]:
    adj = piece.graph.adj
    return {
        **{name: getattr(piece, name) for name in ("way", "low", "high", "waits", "crosses", "sources")},
        "indptr": adj.indptr,
        "indices": adj.indices,
        "edge_weight": piece.graph.edge_weight,
        "edge_attr": piece.graph.edge_attr,
    }


def _part(found: Mapping[str, Any]) -> Part:
    return Part(
        ways=tuple(found["ways"]),
        nodes=found["nodes"],
        num_own=found["num_own"],
        bounds=tuple(found["bounds"]),
        chunk_of_row=found["chunk_of_row"],
        segments=tuple(tuple(tuple(each) for each in row) for row in found["segments"]),
        pieces=tuple(tuple(_piece(each) for each in row) for row in found["pieces"]),
        exchanges=tuple(tuple(Exchange(*each) for each in row) for row in found["exchanges"]),
        num_nodes=found["num_nodes"],
        edges=found["edges"],
        cut=found["cut"],
    )


def _piece(found: Mapping[str, Any]) -> Piece:
    sources: Tensor = found["sources"]
    adj = Adjacency.from_csr(found["indptr"], found["indices"], len(sources))
    graph = Neighbourhood(adj, found["edge_weight"], found["edge_attr"])
    where = (found["way"], found["low"], found["high"], found["waits"], found["crosses"])
    return Piece(*where, sources, graph)
