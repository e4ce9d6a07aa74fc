"""write_features: the same file however the rows come, and no table where the writing did not end."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gnnkit.data import MemoryMapped, write_features
from gnnkit.data import _write_features as module

ROWS = torch.rand(6000, 100, generator=torch.Generator().manual_seed(0))  # 2.4 MB: three blocks


def rows_of(path: Path) -> Tensor:
    """All rows of a table."""
    with MemoryMapped(path) as store:
        return store.read(torch.arange(store.shape[0]))


def pieces(rows: Tensor, *lengths: int) -> Iterator[Tensor]:
    """Cut rows into chunks of these lengths, and the rest."""
    yield from rows.split([*lengths, len(rows) - sum(lengths)])


WAYS: dict[str, Callable[[], Any]] = {
    "tensor": lambda: ROWS,
    "array": ROWS.numpy,
    "one chunk": lambda: [ROWS],
    "row by row": lambda: iter(ROWS[:, None].unbind(0)),
    "uneven": lambda: pieces(ROWS, 1, 0, 2620, 3, 0, 3000),
    "arrays and tensors": lambda: [ROWS[:9].numpy(), ROWS[9:]],
    "array backwards": lambda: np.ascontiguousarray(ROWS.numpy()[::-1])[::-1],
    "array of the other byte order": lambda: ROWS.numpy().astype(ROWS.numpy().dtype.newbyteorder()),
    "strided": lambda: (chunk.t().contiguous().t() for chunk in ROWS.split(777)),
    "with gradients": lambda: [ROWS.clone().requires_grad_()],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_file_is_the_same_however_rows_come(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_features(tmp_path / "expected", ROWS)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 100_000)
    assert write_features(tmp_path / "rows", WAYS[way]()) == ROWS.shape
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "expected").read_bytes()
    assert torch.equal(rows_of(tmp_path / "rows"), ROWS)
    assert sorted(os.listdir(tmp_path)) == ["expected", "rows"]  # noqa: PTH208


def test_read_only_arrays_are_written(tmp_path: Path) -> None:
    """Such as another file, mapped."""
    np.save(tmp_path / "rows.npy", ROWS.numpy())
    write_features(tmp_path / "rows", np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert torch.equal(rows_of(tmp_path / "rows"), ROWS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8])
def test_rows_are_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    write_features(tmp_path / "rows", (part * 100 for part in ROWS.split(999)), dtype=dtype)
    assert torch.equal(rows_of(tmp_path / "rows"), (ROWS * 100).to(dtype))


@pytest.mark.parametrize("shape", [(0, 3), [0], torch.Size([0, 2, 2])])
def test_no_rows_at_all(tmp_path: Path, shape: Any) -> None:
    assert write_features(tmp_path / "rows", [], shape=shape, dtype=torch.int32) == torch.Size(shape)
    assert rows_of(tmp_path / "rows").shape == torch.Size(shape)
    write_features(tmp_path / "rows", torch.empty(shape))
    assert MemoryMapped(tmp_path / "rows").dtype == torch.float32


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (None, {}, "rows: expected a table, or chunks that are tables of rows .got NoneType"),
        (torch.tensor(1.0), {}, r"rows: expected a table.*\[\]"),
        (torch.eye(2).to_sparse(), {}, "rows: expected a table.*sparse"),
        ([[1.0, 2.0]], {}, "rows: expected a table.*got list"),
        ("rows", {}, "rows: expected a table.*got str"),
        ([torch.ones(2, 3), torch.ones(2, 4)], {}, r"rows: expected rows of shape \[3\] .got \[4\]"),
        ([torch.ones(2, 3), torch.ones(2)], {}, r"rows: expected rows of shape \[3\] .got \[\]"),
        (
            [torch.ones(2, 3), torch.ones(2, 3).half()],
            {},
            "chunks of dtype torch.float32, or dtype= .*got torch.float16",
        ),
        (torch.ones(2, dtype=torch.complex64), {}, "chunks of dtype one of float16, .*got torch.complex64"),
        (np.array(["a"]), {}, "rows: expected numbers of a type that torch has .got <U1"),
        ([], {}, r"rows: expected at least one chunk, or shape and dtype .got none"),
        ([], {"shape": (0, 2)}, r"rows: expected at least one chunk, or shape and dtype .got none"),
        (torch.ones(2, 3), {"shape": (3, 3)}, "rows: expected 3 rows in all, as in shape .got 2"),
        (torch.ones(2, 3), {"shape": (2, 2)}, r"rows: expected rows of shape \[2\] .got \[3\]"),
        (torch.ones(2, 3), {"shape": ()}, "shape: expected the number of rows, then the shape of a row"),
        (torch.ones(2, 3), {"shape": 2}, "shape: expected the number of rows, then the shape of a row"),
        (torch.ones(2, 3), {"shape": (2, -1)}, "shape: expected the number of rows, then the shape of a row"),
        (torch.ones(2, 3), {"dtype": torch.complex64}, "dtype: expected one of float16, .*got torch.complex64"),
        (torch.ones(2, 3), {"dtype": "float32"}, "dtype: expected one of float16, .*got float32"),
    ],
)
def test_what_is_no_table_is_refused_and_leaves_nothing(
    tmp_path: Path, rows: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_features(tmp_path / "rows", rows, **options)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ writing that does not end


@pytest.mark.parametrize("error", [KeyError("mine"), OSError(5, "the source's own"), KeyboardInterrupt()], ids=repr)
def test_an_error_of_the_source_is_passed_on_and_leaves_the_old_table(tmp_path: Path, error: BaseException) -> None:
    write_features(tmp_path / "rows", ROWS)

    def failing() -> Iterator[Tensor]:
        yield ROWS + 1
        raise error

    with pytest.raises(type(error)) as raised:
        write_features(tmp_path / "rows", failing())
    assert raised.value is error
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert torch.equal(rows_of(tmp_path / "rows"), ROWS)


@pytest.mark.parametrize("room", [0, 5000, 1_500_000, ROWS.nbytes + 4096])
def test_a_full_disk_is_an_error_and_leaves_the_old_table(tmp_path: Path, room: int) -> None:
    """A limit on the length of files stands for the disk: the write call fails in the same way."""
    write_features(tmp_path / "rows", ROWS[:7])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match=r"write_features: expected to write .*rows \(got File too large\)"):
            write_features(tmp_path / "rows", ROWS.split(500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert torch.equal(rows_of(tmp_path / "rows"), ROWS[:7])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"write_features: expected to write .*none/rows \(got No such file"):
        write_features(tmp_path / "none" / "rows", ROWS)


WRITER = """
import sys, time, torch
from gnnkit.data import write_features

def chunks():
    for i in range(40):
        yield torch.full((1000, 100), float(i))
        if i == 20:
            print("now", flush=True)
            time.sleep(60)

write_features(sys.argv[1], chunks())
"""


def test_a_killed_writer_leaves_no_table(tmp_path: Path) -> None:
    write_features(tmp_path / "rows", ROWS)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "rows")], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"now\n"
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    assert torch.equal(rows_of(tmp_path / "rows"), ROWS)
    (left,) = (path for path in tmp_path.iterdir() if path.name != "rows")
    assert left.name.startswith(f".rows.{writer.pid}-")
    assert left.name.endswith(".partial")
    assert left.stat().st_size > 1_000_000
    for verify in (True, False):
        with pytest.raises(ValueError, match=r"expected a finished table .* \(got no header\)"):
            MemoryMapped(left, verify=verify)
    other = tmp_path / left.name.replace(".rows", ".rows.old")
    other.touch()
    write_features(tmp_path / "rows", ROWS[:5])
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "rows"]  # the dead writer's went, no other


def test_writers_of_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    """One begins and ends while the other, of the same process, writes."""

    def first() -> Iterator[Tensor]:
        yield ROWS + 1
        write_features(tmp_path / "rows", ROWS)
        assert torch.equal(rows_of(tmp_path / "rows"), ROWS)
        yield ROWS + 2

    write_features(tmp_path / "rows", first())
    assert torch.equal(rows_of(tmp_path / "rows"), torch.cat([ROWS + 1, ROWS + 2]))
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_file_taken_for_abandoned_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, taken = fcntl.flock, list[Path]()

    def late(file: Any, how: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write_features(tmp_path / "rows", ROWS)
    assert len(taken) == 1
    assert torch.equal(rows_of(tmp_path / "rows"), ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a small file system in memory, where the system lets us have one."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    try:
        with pytest.raises(OSError, match=r"write_features: .* \(got No space left on device\)"):
            write_features(folder / "rows", ROWS)
        assert not list(folder.iterdir())
        write_features(folder / "rows", ROWS[:100])
        assert torch.equal(rows_of(folder / "rows"), ROWS[:100])
    finally:
        subprocess.run(["umount", folder], check=True)
