"""Tables read a chunk at a time: what NumPy and pandas would read at once; what is damaged is told."""

from __future__ import annotations

import gzip
import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_sets import write_csv

from gnnkit.datasets import _table
from gnnkit.datasets._table import CsvTable, NpzTable, npz_names

needs_pandas = pytest.mark.skipif(
    importlib.util.find_spec("pandas") is None, reason="needs the package pandas: pip install 'gnnkit[ogb]'"
)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_table, "CHUNK", 10)


# ------------------------------------------------------------------ CSV


@needs_pandas
@pytest.mark.parametrize("fraction", [None, 0, 4, 6])
def test_the_first_fraction_makes_all_of_it_floats(tmp_path: Path, fraction: int | None) -> None:
    rows = np.arange(28, dtype=object).reshape(7, 4)
    if fraction is not None:
        rows[fraction, 1] = 0.1
    write_csv(tmp_path / "x", rows)
    table = CsvTable(tmp_path / "x.csv.gz", 7)
    assert [len(chunk) for chunk in table.chunks()] == [2, 2, 2, 1]
    expected = torch.tensor(rows.astype(float))
    found = table.read()
    assert found.dtype == (torch.int64 if fraction is None else torch.float32)
    assert torch.equal(found, expected.to(found.dtype))
    assert torch.equal(table.read(floats=True), expected.float())


@needs_pandas
def test_a_missing_number_is_nan(tmp_path: Path) -> None:
    write_csv(tmp_path / "x", [["1"], ["2"], [""], ["4"]])
    write_csv(tmp_path / "y", [["1", "2"], ["2", ""], ["3", "4"]])
    assert CsvTable(tmp_path / "y.csv.gz", 3).read().nan_to_num(-1).tolist() == [[1, 2], [2, -1], [3, 4]]
    assert CsvTable(tmp_path / "x.csv.gz", 4).read().nan_to_num(-1).tolist() == [[1], [2], [-1], [4]]


@needs_pandas
def test_an_empty_line_is_not_passed_over(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "x.csv.gz", "wt") as file:
        file.write("1\n2\n\n4\n")  # pandas reads three rows
    with pytest.raises(ValueError, match=r"^x\.csv\.gz: expected 4 rows \(got 3\)$"):
        CsvTable(tmp_path / "x.csv.gz", 4).read()


@needs_pandas
@pytest.mark.parametrize(("rows", "got"), [(6, "more"), (8, "7"), (0, "more")])
def test_another_number_of_rows_is_told(tmp_path: Path, rows: int, got: str) -> None:
    write_csv(tmp_path / "x", np.arange(14).reshape(7, 2))
    for read in (CsvTable.read, lambda table: table.read_edges(both=False)):
        with pytest.raises(ValueError, match=rf"^x\.csv\.gz: expected {rows} rows \(got {got}\)$"):
            read(CsvTable(tmp_path / "x.csv.gz", rows))


@needs_pandas
def test_edges_and_their_inverses_take_turns(tmp_path: Path) -> None:
    write_csv(tmp_path / "edge", [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]])
    table = CsvTable(tmp_path / "edge.csv.gz", 6, repeat=2)
    assert table.read()[:, 0].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    both = CsvTable(tmp_path / "edge.csv.gz", 6).read_edges(both=True)
    assert both[:, :4].tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    assert both.is_contiguous()
    assert torch.equal(both[:, ::2], CsvTable(tmp_path / "edge.csv.gz", 6).read_edges(both=False))


@needs_pandas
@pytest.mark.parametrize("content", [[["a", "b"]], [[1, 2, 3]], [[1]], [[1.5, 2]], [["", 2]]])
def test_what_is_no_pair_of_numbers_is_no_edge(tmp_path: Path, content: list[list[Any]]) -> None:
    write_csv(tmp_path / "edge", content)
    with pytest.raises(ValueError, match=r"edge.csv.gz: expected two columns of whole numbers \(got "):
        CsvTable(tmp_path / "edge.csv.gz", 1).read_edges(both=False)


# ------------------------------------------------------------------ NumPy

ARRAYS = {
    "matrix": np.arange(21, dtype=np.float32).reshape(7, 3),
    "columns": np.asfortranarray(np.arange(21).reshape(7, 3)),
    "cube": np.arange(60, dtype=np.float64).reshape(5, 4, 3),
    "folded": np.asfortranarray(np.arange(60, dtype=np.int32).reshape(5, 4, 3)),
    "vector": np.arange(23, dtype=np.int16),
    "flags": np.arange(5) % 2 == 0,
    "number": np.array(7),
    "nothing": np.empty((0, 3), dtype=np.float16),
    "thin": np.empty((4, 0), dtype=np.float32),
    "column": np.asfortranarray(np.arange(25.0)[:, None]),
}


@pytest.fixture(params=[np.savez, np.savez_compressed])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    request.param(tmp_path / "data.npz", **ARRAYS)
    return tmp_path / "data.npz"


def test_arrays_are_those_of_numpy(archive: Path) -> None:
    assert npz_names(archive) == list(ARRAYS)
    for name, array in ARRAYS.items():
        table = NpzTable(archive, name)
        assert table.shape == array.shape
        assert torch.equal(table.read(), torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape))
        floats = table.read(floats=True)
        assert floats.dtype == (torch.float32 if array.dtype.kind in "biu" else table.read().dtype)
        assert torch.equal(floats, table.read().to(floats.dtype))


def test_chunks_are_rows(archive: Path) -> None:
    for name in ("matrix", "cube", "vector", "column", "nothing", "thin"):
        chunks = list(NpzTable(archive, name).chunks())
        assert all(chunk.size <= max(10, ARRAYS[name][0].size) for chunk in chunks)
        assert np.array_equal(np.concatenate([ARRAYS[name][:0], *chunks]), ARRAYS[name])
    for name in ("columns", "folded"):
        with pytest.raises(ValueError, match=rf"^data\.npz: expected {name} row by row \(got it column by column\)$"):
            list(NpzTable(archive, name).chunks())


@pytest.mark.parametrize("dtype", ["object", ">f4", "complex64", "U3", [("a", "f4")]])
def test_what_holds_no_numbers_of_this_machine_is_refused(dtype: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros(3, dtype=dtype))
    with pytest.raises(ValueError, match=r"^data\.npz: expected numbers in x \(got "):
        NpzTable(tmp_path / "data.npz", "x").read()


def write_npy(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", content)


def npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version)
    return out.getvalue()


def test_fewer_or_more_bytes_than_the_shape_are_told(tmp_path: Path) -> None:
    path, whole = tmp_path / "data.npz", npy(np.arange(30))
    for content, message in ((whole[:-1], "the whole of x"), (whole + b"1", "no more than the shape of x")):
        write_npy(path, content)
        with pytest.raises(ValueError, match=rf"^data\.npz: expected {message} \(got "):
            NpzTable(path, "x").read()
        with pytest.raises(ValueError, match=rf"^data\.npz: expected {message} \(got "):
            list(NpzTable(path, "x").chunks())


def test_a_flipped_bit_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    write_npy(path, npy(np.arange(30)))
    content = bytearray(path.read_bytes())
    content[content.index(np.int64(17).tobytes())] ^= 1
    path.write_bytes(content)
    for read in (NpzTable.read, lambda table: list(table.chunks())):
        with pytest.raises(zipfile.BadZipFile, match="CRC"):
            read(NpzTable(path, "x"))


def test_formats_of_numpy(tmp_path: Path) -> None:
    for version in ((1, 0), (2, 0)):
        write_npy(tmp_path / "data.npz", npy(np.arange(30), version))
        assert NpzTable(tmp_path / "data.npz", "x").read().tolist() == [*range(30)]
    write_npy(tmp_path / "data.npz", npy(np.arange(30), (3, 0)))
    with pytest.raises(ValueError, match=r"expected x in NumPy's format 1 or 2 \(got 3\)"):
        NpzTable(tmp_path / "data.npz", "x").read()
    write_npy(tmp_path / "data.npz", b"no array")
    with pytest.raises(ValueError, match="magic"):
        NpzTable(tmp_path / "data.npz", "x").read()
