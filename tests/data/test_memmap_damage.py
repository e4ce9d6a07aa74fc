"""Damaged, foreign and unfinished files: a clear error, never wrong rows."""

from __future__ import annotations

import os
import random
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gnnkit.data import MemoryMapped, write_features
from gnnkit.data._memmap_format import HEADER_BYTES

ROWS = torch.rand(3000, 100, generator=torch.Generator().manual_seed(0))  # 1.2 MB: two blocks
DATA_BYTES = ROWS.nbytes
FILE_BYTES = HEADER_BYTES + DATA_BYTES + 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good table."""
    write_features(tmp_path / "rows", ROWS)
    assert (tmp_path / "rows").stat().st_size == FILE_BYTES
    return tmp_path / "rows"


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def bits_in(low: int, high: int, count: int) -> list[int]:
    """Random bits of bytes low to high, the first and the last among them."""
    draw = random.Random(low)
    return [8 * low, 8 * high - 1, *(draw.randrange(8 * low, 8 * high) for _ in range(count))]


@pytest.mark.parametrize("size", [0, 5, 100, 4095, 4096, 4097, 900_000, FILE_BYTES - 8, FILE_BYTES - 1, FILE_BYTES + 1])
@pytest.mark.parametrize("verify", [True, False])
def test_a_file_of_another_length_is_refused(path: Path, size: int, verify: bool) -> None:
    os.truncate(path, size)
    with pytest.raises(ValueError, match=r"rows: expected .* \(got .*\)$"):
        MemoryMapped(path, verify=verify)


@pytest.mark.parametrize(
    ("part", "bits"),
    [
        ("header", bits_in(0, HEADER_BYTES, 60)),
        ("rows", bits_in(HEADER_BYTES, HEADER_BYTES + DATA_BYTES, 40)),
        ("checksums", bits_in(FILE_BYTES - 8, FILE_BYTES, 20)),
    ],
)
def test_a_flipped_bit_is_found(path: Path, part: str, bits: list[int]) -> None:
    for bit in bits:
        flip(path, bit)
        with pytest.raises(ValueError, match=r"rows: expected .* \(got .*\)$"):
            MemoryMapped(path)
        if part != "rows":
            with pytest.raises(ValueError, match=r"rows: expected .* \(got .*\)$"):
                MemoryMapped(path, verify=False)
        flip(path, bit)
    assert torch.equal(MemoryMapped(path).read(torch.arange(3000)), ROWS)


@pytest.mark.parametrize(("row", "named"), [(0, "0 to 2621"), (2999, "2621 to 2999")])
def test_the_error_names_the_rows_of_the_block(path: Path, row: int, named: str) -> None:
    flip(path, 8 * (HEADER_BYTES + 400 * row))
    with pytest.raises(ValueError, match=f"expected rows {named} with the checksum they were written with"):
        MemoryMapped(path)
    MemoryMapped(path, verify=False).read(torch.tensor([1500]))  # what verify=False does not look at


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "text": (lambda path: path.write_text("hello " * 5000), "a file that begins with b'hello hello '"),
    "zeros": (lambda path: path.write_bytes(bytes(50_000)), "no header"),
    "npy": (lambda path: path.write_bytes(b"\x93NUMPY" + bytes(500)), r"a file that begins with b'\\x93NUMPY"),
    "torch": (lambda path: torch.save(torch.ones(3), path), "a file that begins with b'PK"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("verify", [True, False])
def test_a_foreign_file_is_refused(tmp_path: Path, kind: str, verify: bool) -> None:
    make, got = FOREIGN[kind]
    make(tmp_path / "rows")
    expected = r"rows: expected a finished table of gnnkit.data.write_features \(got "
    with pytest.raises(ValueError, match=expected + got):
        MemoryMapped(tmp_path / "rows", verify=verify)


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        MemoryMapped(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        MemoryMapped(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"version": 1', b'"version": 2', r"expected version 1 \(got 2\)"),
        (b'"little"', b'"giant" ', r"expected byteorder little \(got giant\)"),
        (b'"float32"', b'"float31"', r"expected a header that version 1 describes \(got .*float31"),
        (b"[3000, 100]", b"[3000, -10]", r"expected a header that version 1 describes \(got .*-10"),
        (b"[3000, 100]", b"[]         ", r"expected a header that version 1 describes \(got "),
        (b"[3000, 100]", b"[3000, 1.5]", r"expected a header that version 1 describes \(got "),
        (b'"shape": [3000, 100]', b'"ahape": [3000, 100]', r"expected a header that version 1 describes \(got "),
        (b'{"version"', b'["version"', r"expected a header that version 1 describes \(got "),
    ],
)
def test_a_header_of_another_kind_is_refused(path: Path, old: bytes, new: bytes, message: str) -> None:
    """With a checksum that fits: written by a later version, or on purpose."""
    content = path.read_bytes()
    page = content[: HEADER_BYTES - 4].replace(old, new)
    assert page != content[: HEADER_BYTES - 4]
    path.write_bytes(page + zlib.crc32(page).to_bytes(4, "little") + content[HEADER_BYTES:])
    with pytest.raises(ValueError, match=message):
        MemoryMapped(path)


# ------------------------------------------------------------------ after opening


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("size", [0, HEADER_BYTES + 2000, FILE_BYTES - 8])
def test_a_file_cut_short_while_open_is_an_error_and_no_signal(path: Path, direct: bool, size: int) -> None:
    store = opened(path, direct)
    os.truncate(path, size)
    for ids in (torch.arange(3000), torch.tensor([0]), torch.tensor([2999, 4])):
        with pytest.raises(ValueError, match=r"expected (row \d+ to end at|the file as it was) .* \(got .*\)$"):
            store.read(ids)


@pytest.mark.parametrize("direct", [False, True])
def test_a_file_written_to_while_open_is_an_error(path: Path, direct: bool) -> None:
    store = opened(path, direct)
    time.sleep(0.05)  # the system's clock of changes ticks every few milliseconds
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(b"x")
    with pytest.raises(ValueError, match=r"expected the file as it was when it was opened \(got one changed since\)"):
        store.read(torch.tensor([2]))


def test_a_file_replaced_while_open_is_still_read(path: Path) -> None:
    store = MemoryMapped(path)
    write_features(path, ROWS + 1)
    assert torch.equal(store.read(torch.tensor([7])), ROWS[7:8])
    assert torch.equal(MemoryMapped(path).read(torch.tensor([7])), ROWS[7:8] + 1)


def test_a_file_replaced_while_it_is_opened_is_not_read_for_the_one_checked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(path, True)
    monkeypatch.setattr("gnnkit.data._memmap._check_content", lambda *args: write_features(path, ROWS + 1))
    with pytest.raises(ValueError, match=r"rows: expected the file that was checked \(got one that replaced it"):
        MemoryMapped(path, direct=True)


@pytest.mark.parametrize("direct", [False, True])
def test_a_failing_read_that_succeeds_again_gives_the_rows(
    path: Path, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted call, say: rows are read once more before anything is said."""
    store = opened(path, direct)
    monkeypatch.setattr("gnnkit.data._disk.read_pages" if direct else "gnnkit.data._disk.read_rows", lambda *args: 1)
    ids = torch.tensor([5, 2999, 5])
    assert torch.equal(store.read(ids), ROWS[ids])


def test_a_failing_disk_is_an_os_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryMapped(path)

    def broken(*args: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("gnnkit.data._disk.read_rows", lambda *args: 1)
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OSError, match="Input/output error"):
        store.read(torch.tensor([5]))


def opened(path: Path, direct: bool) -> MemoryMapped:
    """Open a table, or skip where the file system has no O_DIRECT."""
    try:
        return MemoryMapped(path, direct=direct)
    except OSError as error:
        if "expected a file system with O_DIRECT" not in str(error):
            raise
        pytest.skip("the file system has no O_DIRECT")


def test_without_o_direct_it_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = os.open

    def refusing(name: Path, flags: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return open_file(name, flags)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(OSError, match=r"direct: expected a file system with O_DIRECT .* \(got Invalid argument\)"):
        MemoryMapped(path, direct=True)
