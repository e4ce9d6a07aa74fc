"""MemoryMapped: the rows that were written, through the page cache and past it, from any process and thread."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.data import FeatureStore, MemoryMapped, write_features
from gnnkit.data._disk import PAGE, predicted_read_bytes
from gnnkit.data._memmap_format import DTYPES, HEADER_BYTES


def has_direct(folder: Path) -> bool:
    """Whether the file system of the tests has O_DIRECT (tmpfs had not for long)."""
    probe = folder / "probe"
    probe.write_bytes(b"x")
    try:
        os.close(os.open(probe, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.fixture(params=[False, True], ids=["cached", "direct"])
def direct(request: pytest.FixtureRequest, tmp_path: Path) -> bool:
    """Read through the page cache, and past it where the file system can."""
    if request.param and not has_direct(tmp_path):
        pytest.skip("the file system has no O_DIRECT")
    value: bool = request.param
    return value


def table(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random rows."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 200).to(dtype)


def stored(folder: Path, rows: Tensor, **options: Any) -> MemoryMapped:
    """Write a table and open it."""
    write_features(folder / "rows", rows)
    return MemoryMapped(folder / "rows", **options)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 2, 5)], ids=str)
def test_every_dtype_and_shape_of_rows(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...], direct: bool
) -> None:
    rows = table(*shape, dtype=dtype)
    with stored(tmp_path, rows, direct=direct) as store:
        assert isinstance(store, FeatureStore)
        assert (store.shape, store.dtype) == (rows.shape, dtype)
        ids = torch.tensor([8, 0, 0, 5, 8])
        assert torch.equal(store.read(ids), rows[ids])
        out = torch.empty(5, *shape[1:], dtype=dtype)
        assert store.read(ids.int(), out) is out
        assert torch.equal(out, rows[ids])


@pytest.mark.parametrize("row_bytes", [1, 7, 400, 4095, 4096, 4097, 33_660, 300_000])
@pytest.mark.parametrize("queue_depth", [1, 7])
def test_rows_of_any_length_in_any_order(tmp_path: Path, row_bytes: int, queue_depth: int, direct: bool) -> None:
    rows = table(50, row_bytes, dtype=torch.uint8)
    with stored(tmp_path, rows, direct=direct, queue_depth=queue_depth) as store:
        for ids in (torch.arange(50), torch.arange(50).flip(0), torch.randint(50, (200,)), torch.tensor([49])):
            assert torch.equal(store.read(ids), rows[ids])


@given(
    ids=st.lists(st.integers(0, 199), max_size=60),
    row_bytes=st.integers(1, 9000),
    queue_depth=st.integers(1, 9),
)
def test_random_rows_past_the_page_cache(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], row_bytes: int, queue_depth: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    if not has_direct(folder):
        pytest.skip("the file system has no O_DIRECT")
    rows = torch.randint(256, (200, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    rows = (rows + torch.arange(row_bytes)).to(torch.uint8)
    wanted = torch.tensor(ids, dtype=torch.int64)
    with stored(folder, rows, direct=True, queue_depth=queue_depth) as store:
        assert torch.equal(store.read(wanted), rows[wanted])


@pytest.mark.parametrize("shape", [(0, 4), (5, 0), (0,)])
def test_tables_without_bytes(tmp_path: Path, shape: tuple[int, ...], direct: bool) -> None:
    with stored(tmp_path, torch.empty(shape), direct=direct) as store:
        ids = torch.arange(shape[0])
        assert store.read(ids).shape == shape
        assert store.predicted_read_bytes(ids) == 0


def test_bad_ids_and_buffers_are_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, table(5, 3))
    for bad, got in (([5], 5), ([0, -1], -1)):
        for call in (store.read, store.predicted_read_bytes):
            with pytest.raises(ValueError, match=rf"ids: expected ids in \[0, 5\) \(got {got}\)"):
                call(torch.tensor(bad))
    with pytest.raises(ValueError, match="ids: expected a 1-D int32 or int64 tensor"):
        store.read(torch.tensor([0.0]))
    with pytest.raises(ValueError, match=r"out: expected a float32 tensor of shape \[1, 3\]"):
        store.read(torch.tensor([0]), torch.empty(1, 2))
    for depth in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"queue_depth: expected a number of reads >= 1 \(got "):
            MemoryMapped(tmp_path / "rows", queue_depth=depth)  # type: ignore[arg-type]


# ------------------------------------------------------------------ what the disk reads


def pages_one_by_one(ids: list[int], row_bytes: int, begin: int) -> int:
    """The definition."""
    return len({byte // PAGE for i in ids for byte in range(begin + i * row_bytes, begin + (i + 1) * row_bytes)}) * PAGE


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 5000), st.integers(0, 9000))
def test_predicted_bytes_are_the_pages_touched(ids: list[int], row_bytes: int, begin: int) -> None:
    predicted = predicted_read_bytes(torch.tensor(ids, dtype=torch.int64), row_bytes, begin)
    assert predicted == pages_one_by_one(ids, row_bytes, begin)


def read_bytes() -> int | None:
    """What this process had storage read; None where the system does not count."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


@pytest.mark.parametrize("every", [False, True], ids=["some", "all"])
def test_the_disk_reads_what_was_predicted(tmp_path: Path, direct: bool, every: bool) -> None:
    with stored(tmp_path, table(20_000, 100), direct=direct) as store:
        some = torch.randint(20_000, (300,), generator=torch.Generator().manual_seed(5))
        ids = torch.arange(20_000) if every else some
        out = store.read(ids)  # loads what reading needs from the disk
        store.drop_cache()
        before = read_bytes()
        store.read(ids, out)
        after = read_bytes()
        if before is None or after is None or after == before:
            pytest.skip("the system does not count what the disk reads, or the files are in memory")
        # the process may read a page of a library meanwhile, or the system keep one that it was told to drop
        assert after - before == pytest.approx(store.predicted_read_bytes(ids), rel=0.1)


# ------------------------------------------------------------------ processes and threads


def test_a_store_is_pickled_by_its_path(tmp_path: Path, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(6, 4)
    write_features(tmp_path / "rows", rows)
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(MemoryMapped("rows", direct=direct, queue_depth=3))
    monkeypatch.chdir("/")
    store: MemoryMapped = pickle.loads(sent)
    assert torch.equal(store.read(torch.tensor([5])), rows[5:])
    assert (store.queue_depth, repr(store)) == (3, f"MemoryMapped('{tmp_path}/rows', float32, [6, 4])")
    write_features(tmp_path / "rows", rows + 1)
    with pytest.raises(ValueError, match=r"expected the table that was pickled \(got another\)"):
        pickle.loads(sent)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_reads_after_its_parent_did(tmp_path: Path, direct: bool) -> None:
    rows = table(500, 4)
    store = stored(tmp_path, rows, direct=direct, queue_depth=4)
    ids = torch.randint(500, (300,))
    assert torch.equal(store.read(ids), rows[ids])
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send_bytes(store.read(ids).numpy().tobytes()))
    child.start()
    assert np.array_equal(np.frombuffer(ours.recv_bytes(), np.float32), rows[ids].numpy().ravel())
    child.join()
    assert torch.equal(store.read(ids), rows[ids])


def test_threads_read_at_once_and_closing_waits_for_them(tmp_path: Path, direct: bool) -> None:
    rows = table(2000, 30)
    store = stored(tmp_path, rows, direct=direct, queue_depth=3)

    def read(seed: int) -> bool:
        ids = torch.randint(2000, (400,), generator=torch.Generator().manual_seed(seed))
        return torch.equal(store.read(ids), rows[ids])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(24)))
    store.close()
    store.close()
    for call in (lambda: store.read(torch.tensor([0])), store.drop_cache, lambda: pickle.dumps(store)):
        with pytest.raises(ValueError, match=r"expected an open store \(got a closed one\)"):
            call()


def test_descriptors_are_closed(tmp_path: Path, direct: bool) -> None:
    write_features(tmp_path / "rows", table(10, 4))
    MemoryMapped(tmp_path / "rows", direct=direct).read(torch.arange(10))
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        MemoryMapped(tmp_path / "rows", direct=direct).read(torch.arange(10))  # dropped
        with MemoryMapped(tmp_path / "rows", direct=direct):
            pass
        with pytest.raises(ValueError, match="ids"):
            MemoryMapped(tmp_path / "rows", direct=direct).read(torch.tensor([10]))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_rows_begin_where_a_page_does() -> None:
    """Else a page-sized row would cost two pages."""
    assert HEADER_BYTES % 4096 == 0
