"""Parts of a graph: rows, edges, trades, and files of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_plans import random_graph, random_plan

from gnnkit.pipeline import ChunkedGraph, Part, read_part, write_parts

CUTS = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6))


def edges_of(part: Part) -> list[tuple[int, int, float]]:
    """List the edges of a part, by the graph's nodes, with their weights."""
    found = []
    for chunk, pieces in enumerate(part.pieces):
        nodes = part.chunk_nodes(chunk)
        for piece in pieces:
            src, dst = piece.graph.adj.to_edge_index()
            weight = piece.graph.edge_weight
            assert weight is not None
            ends = part.nodes[piece.sources][src], nodes[piece.low : piece.high][dst], weight
            found += list(zip(*(each.tolist() for each in ends), strict=True))
    return sorted(found)


@settings(deadline=None, max_examples=40)
@given(CUTS)
def test_parts_are_the_whole_graph(cut: tuple[int, int, int]) -> None:
    ways, chunks, seed = cut
    adj = random_graph(seed=seed)
    weight = torch.rand(adj.num_edges)
    plan = random_plan(adj.num_dst, [2, 1], ways, chunks, seed)
    graph = ChunkedGraph(adj, plan, edge_weight=weight)
    whole = sorted(zip(*adj.to_edge_index().tolist(), weight.tolist(), strict=True))
    alone, parts = graph.part(), [graph.part(way) for way in range(ways)]
    assert edges_of(alone) == whole
    assert sorted(edge for part in parts for edge in edges_of(part)) == whole
    assert sorted(torch.cat([part.nodes[: part.num_own] for part in parts]).tolist()) == list(range(adj.num_dst))
    for part in (alone, *parts):
        for chunk, pieces in enumerate(part.pieces):
            low, high = part.rows(chunk)
            assert [row for p in pieces for row in range(p.low, p.high)] == list(range(high - low))
            assert [row for _, a, b in part.segments[chunk] for row in range(a, b)] == list(range(high - low))
            for piece in pieces:
                assert torch.equal(
                    piece.sources[: piece.high - piece.low], torch.arange(low + piece.low, low + piece.high)
                )
                assert len(piece.sources.unique()) == len(piece.sources)


@settings(deadline=None, max_examples=40)
@given(CUTS)
def test_what_one_gives_is_what_the_other_reads(cut: tuple[int, int, int]) -> None:
    ways, chunks, seed = cut
    adj = random_graph(seed=seed)
    plan = random_plan(adj.num_dst, [1], ways, chunks, seed)
    graph = ChunkedGraph(adj, plan)
    parts = [graph.part(way) for way in range(ways)]
    for way, part in enumerate(parts):
        for chunk in range(chunks):
            assert all(each.way != way for each in part.exchanges[chunk])
            for each in part.exchanges[chunk]:
                back = next(other for other in parts[each.way].exchanges[chunk] if other.way == way)
                given_nodes, read = part.nodes[each.give], parts[each.way].nodes[back.low : back.high]
                assert torch.equal(given_nodes, read)
                assert bool((plan.chunk[given_nodes] == chunk).all())
            flying = {row for each in part.exchanges[chunk] for row in range(each.low, each.high)}
            for piece in part.pieces[chunk]:
                assert piece.waits == bool(flying & set(piece.sources.tolist()))


def test_parts_as_files(tmp_path: Path) -> None:
    adj = random_graph()
    weight, attr = torch.rand(adj.num_edges), torch.rand(adj.num_edges, 2)
    plan = random_plan(adj.num_dst, [2], 2, 3)
    graph = ChunkedGraph(adj, plan, edge_weight=weight, edge_attr=attr)
    files = write_parts(graph, tmp_path / "parts")
    assert [path.name for path in files] == ["part-00000.pt", "part-00001.pt"]
    for way in range(2):
        read, made = read_part(tmp_path / "parts", plan, way), graph.part(way)
        assert edges_of(read) == edges_of(made)
        assert read.exchanges[0][0].give.tolist() == made.exchanges[0][0].give.tolist()
        assert torch.equal(read.nodes, made.nodes)
        assert all(
            torch.equal(a, b)
            for chunk in range(3)
            if (a := read.edge_attr(chunk)) is not None and (b := made.edge_attr(chunk)) is not None
        )
    other = random_plan(adj.num_dst, [2], 2, 3, seed=1)
    with pytest.raises(ValueError, match=r"expected a part cut by plan \w{12} \(got \w{12}\)"):
        read_part(tmp_path / "parts", other, 0)
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a part of a graph \(got a damaged or foreign file\)"):
        read_part(tmp_path / "parts", plan, 0)
    with pytest.raises(FileNotFoundError):
        read_part(tmp_path / "parts", plan, 2)


def test_refused() -> None:
    adj = random_graph(30)
    plan = random_plan(30, [1], 2, 2)
    with pytest.raises(ValueError, match=r"way: expected one of 2 \(got 2\)"):
        ChunkedGraph(adj, plan).part(2)
    with pytest.raises(ValueError, match=r"adj: expected one set of nodes, the plan's \(got 31 sources"):
        ChunkedGraph(random_graph(31), plan)
    with pytest.raises(ValueError, match=r"edge_weight: expected shape \[120\] \(got \[3\]\)"):
        ChunkedGraph(adj, plan, edge_weight=torch.rand(3))
    with pytest.raises(ValueError, match=r"edge_attr: expected shape \[120, De\] \(got \[120\]\)"):
        ChunkedGraph(adj, plan, edge_attr=torch.rand(120))
