"""spmm's CUDA source against the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from graphs import Graph, make, numbers, reals
from machine import Machine
from torch import Tensor

from gnnkit.kernels import _cupy, _torch, _walk

DTYPES = tuple(_walk.DTYPES)
EXACT = (torch.float32, torch.float64)  # extremes of 16-bit rows come as float32
WIDTHS = (1, 3, 33, 129, 602)
Close = Callable[[Tensor, Tensor, Tensor], None]


def wide(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.double()


def check(close: Close, graph: Graph, x: Tensor, values: Tensor | None) -> None:
    """Compare all four reduces: sums to the rounding of their terms, extremes exactly."""
    csr = graph.indptr, graph.indices
    for reduce in ("sum", "mean"):
        scale = _torch.spmm(*csr, x.double().abs(), None if values is None else values.double().abs(), reduce)
        close(_cupy.spmm(*csr, x, values, reduce), _torch.spmm(*csr, x.double(), wide(values), reduce), scale)
    for reduce in ("max", "min") if x.dtype in EXACT else ():
        actual = _cupy.spmm(*csr, x, values, reduce)
        assert torch.equal(actual, _torch.spmm(*csr, x, values, reduce))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_dtype_and_width(machine: Machine, close: Close, width: int, dtype: torch.dtype) -> None:
    graph = make("skewed" if width < 602 or dtype == torch.float32 else "sparse")
    check(close, graph, reals(graph.num_src, 1, width, dtype=dtype), None)
    for values in {dtype, dtype if dtype in EXACT else torch.float32}:
        check(close, graph, reals(graph.num_src, 1, width, dtype=dtype), reals(graph.num_edges, 1, dtype=values))


@pytest.mark.parametrize("heads", [(1, 8), (3, 5), (8, 16), (5, 4)], ids=str)
def test_every_graph_with_heads(machine: Machine, close: Close, awkward: Graph, heads: tuple[int, int]) -> None:
    x = reals(awkward.num_src, *heads, dtype=torch.float32)
    check(close, awkward, x, None)
    check(close, awkward, x, reals(awkward.num_edges, heads[0], dtype=torch.float32))
    wide_ids = Graph(awkward.indptr.int(), awkward.indices.long(), awkward.num_src)
    check(close, wide_ids, x, None)


def test_ties_and_zeros(machine: Machine, close: Close) -> None:
    graph = make("skewed")
    check(close, graph, numbers(graph.num_src, 1, 4, dtype=torch.float32), None)


def test_rows_that_do_not_start_at_multiples_of_16_bytes(machine: Machine, close: Close) -> None:
    graph = make("skewed")
    x = reals(graph.num_src * 8 + 1, dtype=torch.float32)[1:].view(graph.num_src, 1, 8)
    assert x.data_ptr() % 16
    check(close, graph, x, None)
    assert not any("4," in kernel for kernel in machine.launched)


def test_no_features(machine: Machine) -> None:
    graph = make("skewed")
    assert _cupy.spmm(graph.indptr, graph.indices, torch.ones(graph.num_src, 1, 0), None, "sum").shape[2] == 0


def test_the_same_bits_in_whatever_order_threads_run(machine: Machine) -> None:
    graph, results = make("skewed"), []
    x = reals(graph.num_src, 1, 5, dtype=torch.float32)
    for machine.seed in range(4):
        results.append([_cupy.spmm(graph.indptr, graph.indices, x, None, reduce) for reduce in ("sum", "max")])
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0], strict=True))


def test_the_chunk_as_it_is(machine: Machine, close: Close, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("gnnkit.kernels._launch.run", machine.run)
    draw = torch.Generator().manual_seed(0)
    indices = torch.randint(50, (3 * _walk.CHUNK + 7,), generator=draw, dtype=torch.int32)
    graph = Graph(torch.tensor([0, 3, len(indices) - 2, len(indices)]), indices, 50)
    check(close, graph, reals(50, 1, 20, dtype=torch.float32), None)
    assert "spmm_sum<float, 4, true>" in machine.launched


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("bad", [-1, 11, 2**31 - 1])
def test_an_id_outside_the_table_makes_nan_of_its_row_alone(machine: Machine, reduce: str, bad: int) -> None:
    graph = make("skewed")
    x = reals(graph.num_src, 1, 4, dtype=torch.float32)
    right = _cupy.spmm(graph.indptr, graph.indices, x, None, reduce)
    indices = graph.indices.clone()
    indices[[0, 100]] = bad  # in rows 0 and 2, a hub
    out = _cupy.spmm(graph.indptr, indices, x, None, reduce)
    assert out[[0, 2]].isnan().all()
    out[[0, 2]] = right[[0, 2]]
    assert torch.equal(out, right)


@pytest.mark.parametrize(
    "pointers", [[0, 5, 3, 9], [-4, 2, 3, 9], [0, 2, 3, 99], [7, 7, 9, 9], [0, 2**40, 3, 9]], ids=str
)
def test_wrong_pointers_read_nothing_outside(machine: Machine, pointers: list[int]) -> None:
    indices = torch.zeros(60, dtype=torch.int32)
    out = _cupy.spmm(torch.tensor(pointers), indices, torch.ones(2, 1, 4), None, "sum")
    assert out.shape == (3, 1, 4)


def test_asked_to_check_it_raises(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_CHECK", "1")
    with pytest.raises(ValueError, match=r"^indices: expected ids in \[0, 2\) \(got 2\)$"):
        _cupy.spmm(torch.tensor([0, 1]), torch.tensor([2]), torch.ones(2, 1, 4), None, "sum")


def test_entries_without_a_row_to_read_are_an_error(machine: Machine) -> None:
    with pytest.raises(ValueError, match=r"^indices: expected no entries where there is no row to read \(got 1\)$"):
        _cupy.spmm(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(0, 1, 4), None, "sum")


@pytest.mark.parametrize(
    ("dtype", "width"), [(torch.float32, 128), (torch.float32, 256), (torch.bfloat16, 256)], ids=str
)
def test_a_warp_asks_for_every_line_of_a_row_once(machine: Machine, dtype: torch.dtype, width: int) -> None:
    graph = make("sparse")
    memory = torch.ones((graph.num_src + 1) * width, dtype=dtype)
    start = -memory.data_ptr() // dtype.itemsize % (128 // dtype.itemsize)  # rows begin where lines do
    x = memory[start : start + graph.num_src * width].view(graph.num_src, 1, width)
    machine.count_lines_of = 12  # x, among the kernel's arguments
    _cupy.spmm(graph.indptr, graph.indices, x, None, "sum")
    assert machine.lines == graph.num_edges * width * dtype.itemsize // 128


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [1, 33, 128])
def test_scaled(machine: Machine, close: Close, awkward: Graph, width: int, dtype: torch.dtype) -> None:
    num_dst = len(awkward.indptr) - 1
    of_numbers = dtype if dtype in EXACT else torch.float32
    csr, x = (awkward.indptr, awkward.indices), reals(awkward.num_src, 1, width, dtype=dtype)
    scales = reals(awkward.num_src, dtype=of_numbers), reals(num_dst, dtype=of_numbers)
    for values in (None, reals(awkward.num_edges, 1, dtype=of_numbers)):
        right = wide(x), wide(values), *map(wide, scales)
        size = (None if t is None else t.abs() for t in right)
        close(
            _cupy.spmm_scaled(*csr, x, values, *scales),
            _torch.spmm_scaled(*csr, *right),
            _torch.spmm_scaled(*csr, *size),
        )


def test_scaled_with_an_id_outside_the_table_makes_nan_of_its_row_alone(machine: Machine) -> None:
    graph = make("skewed")
    x, ones = reals(graph.num_src, 1, 4, dtype=torch.float32), torch.ones(max(graph.num_src, len(graph.indptr)))
    scales = ones[: graph.num_src], ones[: len(graph.indptr) - 1]
    right = _cupy.spmm_scaled(graph.indptr, graph.indices, x, None, *scales)
    indices = graph.indices.clone()
    indices[[0, 100]] = graph.num_src
    out = _cupy.spmm_scaled(graph.indptr, indices, x, None, *scales)
    assert out[[0, 2]].isnan().all()
    out[[0, 2]] = right[[0, 2]]
    assert torch.equal(out, right)
