"""sddmm and the segment softmax against the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from graphs import Graph, make, reals
from machine import Machine
from torch import Tensor

from gnnkit.kernels import _cupy, _torch, _walk

Close = Callable[[Tensor, Tensor, Tensor], None]
DTYPES = tuple(_walk.DTYPES)


def check_sddmm(close: Close, graph: Graph, heads: int, depth: int, dtype: torch.dtype) -> None:
    csr = graph.indptr, graph.indices
    a = reals(graph.num_dst, heads, depth, dtype=dtype)
    b = reals(graph.num_src, heads, depth, dtype=dtype, seed=1)
    expected = _torch.sddmm(*csr, a.double(), b.double())
    close(_cupy.sddmm(*csr, a, b), expected, _torch.sddmm(*csr, a.double().abs(), b.double().abs()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [1, 3, 33, 129, 602])
def test_sddmm_of_every_dtype_and_width(machine: Machine, close: Close, width: int, dtype: torch.dtype) -> None:
    check_sddmm(close, make("skewed" if width < 602 else "sparse"), 1, width, dtype)


@pytest.mark.parametrize("heads", [(3, 8), (8, 16), (5, 3)], ids=str)
def test_sddmm_of_every_graph_with_heads(
    machine: Machine, close: Close, awkward: Graph, heads: tuple[int, int]
) -> None:
    check_sddmm(close, awkward, *heads, torch.float32)


def test_sddmm_over_a_long_run_of_rows_without_entries(machine: Machine, close: Close) -> None:
    pointers = [0] * 40 + [3] * 30 + [4] * 25 + [40]
    check_sddmm(close, Graph(torch.tensor(pointers), torch.arange(40) % 7, 7), 2, 4, torch.float32)


def test_sddmm_with_ids_outside_the_table_makes_nan(machine: Machine) -> None:
    a, b = torch.ones(2, 1, 4), torch.ones(3, 1, 4)
    out = _cupy.sddmm(torch.tensor([0, 2, 4]), torch.tensor([0, 3, -1, 2]), a, b)
    assert out.isnan().flatten().tolist() == [False, True, True, False]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", [1, 3, 8, 33])
def test_softmax_of_every_dtype(machine: Machine, close: Close, heads: int, dtype: torch.dtype) -> None:
    for kind in ("sparse", "skewed", "one hub"):
        check_softmax(close, make(kind), heads, dtype)


def check_softmax(close: Close, graph: Graph, heads: int, dtype: torch.dtype) -> None:
    logits = 4 * reals(graph.num_edges, heads, dtype=dtype)
    expected = _torch.segment_softmax(logits.double(), graph.indptr)
    close(_cupy.segment_softmax(logits, graph.indptr), expected, 4 * expected)
    out, grad = expected.to(dtype), reals(graph.num_edges, heads, dtype=dtype, seed=1)
    expected = _torch.segment_softmax_backward(out.double(), grad.double(), graph.indptr)
    scale = out.double() * (grad.double().abs() + (out.double() * grad.double().abs()).sum(0))
    close(_cupy.segment_softmax_backward(out, grad, graph.indptr), expected, scale)


@pytest.mark.parametrize("kind", ["no rows", "no edges"])
def test_softmax_of_nothing(machine: Machine, kind: str) -> None:
    graph = make(kind)
    assert _cupy.segment_softmax(torch.ones(0, 2), graph.indptr).shape == (0, 2)
    assert _cupy.segment_softmax_backward(torch.ones(0, 2), torch.ones(0, 2), graph.indptr).shape == (0, 2)


@pytest.mark.parametrize("length", [3, 60])
def test_softmax_of_infinities_and_nan_is_torchs(machine: Machine, length: int) -> None:
    inf, nan = float("inf"), float("nan")
    rows = [
        [-inf, 0.0, 1.0],
        [-inf, -inf, -inf],
        [inf, 0.0, -inf],
        [nan, 0.0, 1.0],
        [1e30, -1e30, 0.0],
        [0.0, -inf, nan],
    ]
    logits = torch.tensor(rows).repeat(1, length // 3)
    out = _cupy.segment_softmax(logits.view(-1, 1), torch.arange(7) * length)
    torch.testing.assert_close(out.view(6, length), logits.softmax(1), equal_nan=True)


@pytest.mark.parametrize("pointers", [[0, 5, 3, 60], [-4, 2, 3, 60], [0, 2, 3, 99], [0, 2**40, 3, 60]], ids=str)
def test_wrong_pointers_touch_nothing_outside(machine: Machine, pointers: list[int]) -> None:
    indptr = torch.tensor(pointers)
    assert _cupy.segment_softmax(torch.ones(60, 2), indptr).shape == (60, 2)
    assert _cupy.segment_softmax_backward(torch.ones(60, 2), torch.ones(60, 2), indptr).shape == (60, 2)
    ones = torch.ones(3, 1, 4)
    assert _cupy.sddmm(indptr, torch.zeros(60, dtype=torch.int32), ones, ones).shape == (60, 1)
