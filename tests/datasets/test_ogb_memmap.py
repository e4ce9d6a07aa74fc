"""Features that stay on disk: the same rows as in memory, and what loading takes of memory."""

from __future__ import annotations

import gzip
import importlib.util
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_targets import read
from official_sets import papers100m, rng, write_csv, write_ids, write_set

from gnnkit import Adjacency
from gnnkit.data import MemoryMapped, NeighborLoader, as_pyg
from gnnkit.datasets import load

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.usefixtures("empty_cache", "alone", "any_size"),
    pytest.mark.skipif(
        importlib.util.find_spec("ogb") is None, reason="needs the package ogb: pip install 'gnnkit[ogb]'"
    ),
]


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "processed").rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-products", "ogbn-papers100M", "ogbl-citation2", "ogbl-ppa"])
def test_rows_in_a_file_are_those_in_memory(name: str, tmp_path: Path, empty_cache: Path) -> None:
    write_set(tmp_path, name)
    for _ in range(2):  # made, and kept
        mapped = load(name, tmp_path, features="memmap")
        assert "x" not in mapped
        assert isinstance(mapped.features, MemoryMapped)
        assert mapped.features.shape[1] == mapped.card.num_features
    assert files(empty_cache) == ["content.pt", "x.gnnkit"]
    whole = load(name, tmp_path)
    assert torch.equal(mapped.features.read(torch.arange(whole.num_nodes)), whole.x.float())
    assert torch.equal(mapped.edge_index, whole.edge_index)
    assert mapped.raw_digest == whole.raw_digest
    if name.startswith("ogbn"):
        assert torch.equal(mapped.y, whole.y)
        assert torch.equal(mapped.card.split(mapped, 0).train, whole.card.split(whole, 0).train)


def test_typed_nodes_have_a_file_a_type(tmp_path: Path, empty_cache: Path) -> None:
    write_set(tmp_path, "ogbn-mag")
    mapped, whole = load("ogbn-mag", tmp_path, features="memmap"), load("ogbn-mag", tmp_path)
    assert files(empty_cache) == ["content.pt", "content.pt", "x-paper.gnnkit"]
    assert [kind for kind in mapped.node_types if "features" in mapped[kind]] == ["paper"]
    assert torch.equal(mapped["paper"].features.read(torch.arange(12)), whole["paper"].x)


def test_a_users_own_set_is_mapped_too(ogb_sets: Any, tmp_path: Path) -> None:
    ogb_sets.nodes(tmp_path)
    mapped, whole = load("ogbn-ring", tmp_path, features="memmap"), load("ogbn-ring", tmp_path)
    assert torch.equal(mapped.features.read(torch.arange(12)), whole.x)


def test_batches_are_drawn_from_the_file(tmp_path: Path) -> None:
    write_set(tmp_path, "ogbn-arxiv")
    data, whole = load("ogbn-arxiv", tmp_path, features="memmap"), load("ogbn-arxiv", tmp_path)
    pair = as_pyg({"x": data.features, "y": data.y}, Adjacency.from_pyg(data))
    train = data.card.split(data, 0).train
    seen = []
    for batch in NeighborLoader(pair, num_neighbors=[3, 2], input_nodes=train, batch_size=4):
        assert torch.equal(batch.x, whole.x[batch.n_id])
        assert torch.equal(batch.y, whole.y[batch.n_id])
        seen.append(batch.n_id[: batch.batch_size])
    assert torch.equal(torch.cat(seen), train)


def test_a_damaged_file_is_made_anew(tmp_path: Path, empty_cache: Path) -> None:
    write_set(tmp_path, "ogbn-arxiv")
    before = load("ogbn-arxiv", tmp_path, features="memmap").features.read(torch.arange(30))
    (path,) = empty_cache.rglob("x.gnnkit")
    content = bytearray(path.read_bytes())
    content[-500] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"damaged \(ValueError\), made anew"):
        again = load("ogbn-arxiv", tmp_path, features="memmap")
    assert torch.equal(again.features.read(torch.arange(30)), before)


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-papers100M"])
def test_damaged_raw_features_leave_nothing(name: str, tmp_path: Path, empty_cache: Path) -> None:
    raw = write_set(tmp_path, name) / "raw"
    path = raw / ("data.npz" if name == "ogbn-papers100M" else "node-feat.csv.gz")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match=rf"^{name}: expected whole files of OGB in ") as error:
        load(name, tmp_path, features="memmap")
    assert str(path) in str(error.value)
    assert files(empty_cache) == []


@pytest.mark.parametrize("features", ["memory", "memmap"])
def test_a_full_disk_is_told_and_leaves_nothing(features: Any, tmp_path: Path, empty_cache: Path) -> None:
    write_set(tmp_path, "ogbn-arxiv")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, limits[1]))  # features are 15 KB
    try:
        with pytest.raises(
            OSError, match=r"^ogbn-arxiv: expected to read below .* and to write below .*\(got "
        ) as error:
            load("ogbn-arxiv", tmp_path, features=features)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert files(empty_cache) == []
    assert load("ogbn-arxiv", tmp_path, features=features).num_nodes == 30


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("karate", "memmap"),
        ("ogbn-proteins", "memmap"),
        ("ogbg-molesol", "memmap"),
        ("karate", "disk"),
        ("karate", None),
    ],
)
def test_what_cannot_be_mapped_is_told_before_anything_is_read(name: str, features: Any, tmp_path: Path) -> None:
    expected = rf"^features: expected memory, or memmap for one graph of OGB .*\(got {features!r} for {name}\)$"
    with pytest.raises(ValueError, match=expected):
        load(name, tmp_path, features=features)


# ------------------------------------------------------------------ memory


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``peak(folder, name, features)`` in bytes, of anonymous memory, in a process of its own."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = sys.modules.pop("_harness", None)
    import _harness

    yield lambda folder, *rest: _harness.peak_rss_anon_bytes(read, str(folder), *rest)
    del sys.modules["_harness"]
    if before is not None:
        sys.modules["_harness"] = before


def write_wide(folder: Path, nodes: int, edges: int) -> int:
    """Write an ogbn-arxiv of so many nodes, the same thousand over and over; return how large its tensors are."""
    raw = folder / "raw"
    blocks = {
        "node-feat": (rng().normal(size=(1000, 128)).round(6), nodes),
        "edge": (rng(1).integers(0, nodes, (1000, 2)), edges),
        "node_year": (rng(2).integers(1990, 2020, (1000, 1)), nodes),
        "node-label": (rng(3).integers(0, 40, (1000, 1)), nodes),
    }
    raw.mkdir(parents=True)
    for name, (block, rows) in blocks.items():
        text = "".join(",".join(map(str, row)) + "\n" for row in block.tolist())
        with gzip.open(raw / f"{name}.csv.gz", "wt", compresslevel=1) as file:
            for _ in range(rows // 1000):
                file.write(text)
    write_csv(raw / "num-node-list", [nodes])
    write_csv(raw / "num-edge-list", [edges])
    write_ids(folder / "split" / "time", nodes)
    return nodes * (128 * 4 + 8 + 8 + 3) + edges * 16


def test_files_of_csv_go_to_their_tensors_without_a_second_copy(tmp_path: Path, peak: Any) -> None:
    final = write_wide(tmp_path / "arxiv", nodes=50_000, edges=500_000)
    taken = peak(tmp_path / "arxiv", "ogbn-arxiv", "memory")
    print(f"{taken:,} bytes for tensors of {final:,}")
    assert 0.9 * final < taken < 1.5 * final


def test_features_that_go_to_a_file_are_never_in_memory(tmp_path: Path, peak: Any) -> None:
    nodes, edges = 200_000, 200_000
    papers100m(tmp_path / "papers", nodes, edges)
    table, rest = nodes * 128 * 4, nodes * (8 + 8 + 3) + edges * 16
    taken = peak(tmp_path / "papers", "ogbn-papers100M", "memmap")
    print(f"{taken:,} bytes for tensors of {rest:,}, with a table of {table:,} in a file")
    assert taken < rest + table / 4
