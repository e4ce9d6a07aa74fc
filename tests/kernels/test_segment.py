"""segment_reduce and segment_softmax: PyG's scatter and softmax over consecutive entries."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close
from torch_geometric.utils import scatter, softmax

from gnnkit.kernels import segment_reduce, segment_softmax

REDUCES = ("sum", "mean", "max", "min")
DTYPES = (torch.float32, torch.float64)
ROWS = {"[E]": (), "[E,D]": (3,), "[E,H,D]": (2, 3)}
NAN, INF = float("nan"), float("inf")


def draw(graph: Any, row: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Draw a row for every entry of the graph."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(graph.num_edges, *row, generator=generator, dtype=dtype).requires_grad_()


def gradient(out: Tensor, x: Tensor) -> Tensor:
    """Pull a fixed random gradient back."""
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(99), dtype=out.dtype)
    return torch.autograd.grad(out, x, grad)[0]


# ------------------------------------------------------------------ segment_reduce


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reduce_and_its_gradient_equal_pygs_scatter(
    backend: str, graph: Any, dtype: torch.dtype, reduce: str, row: tuple[int, ...]
) -> None:
    x = draw(graph, row, dtype)
    ours = segment_reduce(x, graph.indptr, reduce)
    theirs = scatter(x, graph.dst, dim=0, dim_size=graph.num_dst, reduce=reduce)
    assert_close(ours, theirs)
    assert_close(gradient(ours, x), gradient(theirs, x))


@pytest.mark.parametrize("reduce", ["max", "min"])
def test_ties_share_the_gradient_as_in_pyg(backend: str, graph: Any, reduce: str) -> None:
    x = draw(graph, (3,)).detach().round().clamp(-1, 1).requires_grad_()
    ours = segment_reduce(x, graph.indptr, reduce)
    theirs = scatter(x, graph.dst, dim=0, dim_size=graph.num_dst, reduce=reduce)
    assert_close(gradient(ours, x), gradient(theirs, x))


@pytest.mark.parametrize("width", [0, 1, 33, 129])
@pytest.mark.parametrize("reduce", REDUCES)
def test_reduce_of_any_width_equals_pyg(backend: str, random_graph: Any, reduce: str, width: int) -> None:
    x = draw(random_graph, (width,))
    ours = segment_reduce(x, random_graph.indptr, reduce)
    theirs = scatter(x, random_graph.dst, dim=0, dim_size=20, reduce=reduce)
    assert_close(ours, theirs)
    assert_close(gradient(ours, x), gradient(theirs, x))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("reduce", REDUCES)
def test_nan_and_infinity_stay_in_their_segment_and_column(backend: str, reduce: str, bad: float) -> None:
    x = torch.tensor([[1.0, 2.0], [bad, 4.0], [5.0, 6.0]])
    where = torch.tensor([0, 0, 1])
    ours = segment_reduce(x, torch.tensor([0, 2, 3]), reduce)
    assert_close(ours, scatter(x, where, dim=0, reduce=reduce), equal_nan=True)
    assert ours[1].isfinite().all()
    assert ours[0, 1].isfinite()


@pytest.mark.parametrize("reduce", REDUCES)
def test_reduce_derivatives_match_finite_differences(backend: str, reduce: str) -> None:
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    indptr = torch.tensor([0, 3, 3, 4, 6])
    assert gradcheck(lambda x: segment_reduce(x, indptr, reduce), (x,), fast_mode=True)
    assert gradgradcheck(lambda x: segment_reduce(x, indptr, reduce), (x,), fast_mode=True)


@pytest.mark.parametrize("reduce", REDUCES)
def test_reduce_reads_strides_and_int32_pointers(backend: str, random_graph: Any, reduce: str) -> None:
    x = draw(random_graph, (3,))
    expected = segment_reduce(x, random_graph.indptr, reduce)
    columns = x.detach().t().contiguous().t().requires_grad_()
    out = segment_reduce(columns, random_graph.indptr.int().repeat_interleave(2)[::2], reduce)
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(gradient(out, columns), gradient(expected, x), rtol=0, atol=0)


# ------------------------------------------------------------------ segment_softmax


@pytest.mark.parametrize("row", [(), (1,), (3,)], ids=["[E]", "[E,1]", "[E,3]"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_softmax_and_its_gradient_equal_pygs(
    backend: str, graph: Any, dtype: torch.dtype, row: tuple[int, ...]
) -> None:
    logits = draw(graph, row, dtype)
    ours = segment_softmax(logits, graph.indptr)
    theirs = softmax(logits, graph.dst, num_nodes=graph.num_dst)
    assert_close(ours, theirs)
    assert_close(gradient(ours, logits), gradient(theirs, logits))


@pytest.mark.parametrize("heads", [0, 33, 129])
def test_softmax_of_any_number_of_heads_equals_pyg(backend: str, random_graph: Any, heads: int) -> None:
    logits = draw(random_graph, (heads,))
    ours = segment_softmax(logits, random_graph.indptr)
    theirs = softmax(logits, random_graph.dst, num_nodes=20)
    assert_close(ours, theirs)
    assert_close(gradient(ours, logits), gradient(theirs, logits))


SPECIAL_ROWS = [
    [1.0, NAN, 2.0],
    [-INF, -INF],
    [-INF, 0.0, 1.0],
    [INF, 0.0],
    [INF, INF],
    [-INF, NAN],
    [-INF],
    [NAN],
    [1e4, -1e4, 1e4],
    [-1e30, -1e30],
    [3.0],
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_row_equals_torch_softmax_of_it_alone_also_with_nan_and_infinity(
    backend: str, dtype: torch.dtype
) -> None:
    rows = [torch.tensor(row, dtype=dtype) for row in SPECIAL_ROWS]
    indptr = torch.tensor([0, *map(len, rows)]).cumsum(0)
    logits = torch.cat(rows).requires_grad_()
    out = segment_softmax(logits, indptr)
    alone = [row.clone().requires_grad_() for row in rows]
    expected = [row.softmax(0) for row in alone]
    assert_close(out, torch.cat(expected), equal_nan=True)
    pull = gradient(out, logits)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(99), dtype=dtype)
    for (low, high), row, value in zip(pairwise(indptr.tolist()), alone, expected, strict=True):
        wanted = torch.autograd.grad(value, row, grad[low:high])[0]
        assert_close(pull[low:high], wanted, equal_nan=True)


def test_rows_of_a_softmax_sum_to_one_and_do_not_see_a_shift(backend: str, graph: Any) -> None:
    logits = draw(graph, (2,)).detach()
    out = segment_softmax(logits, graph.indptr)
    totals = torch.zeros(graph.num_dst, 2, dtype=out.dtype).index_add(0, graph.dst, out)
    filled = graph.indptr.diff() > 0
    assert_close(totals, filled.double().unsqueeze(-1).expand_as(totals))
    shift = torch.linspace(-50, 50, max(graph.num_dst, 1), dtype=out.dtype)[graph.dst].unsqueeze(-1)
    assert_close(segment_softmax(logits + shift, graph.indptr), out)


def test_softmax_derivatives_match_finite_differences(backend: str) -> None:
    logits = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    logits.requires_grad_()
    indptr = torch.tensor([0, 3, 3, 4, 6])
    assert gradcheck(lambda x: segment_softmax(x, indptr), (logits,), fast_mode=True)
    assert gradgradcheck(lambda x: segment_softmax(x, indptr), (logits,), fast_mode=True)


def test_softmax_reads_strides_and_int32_pointers(backend: str, random_graph: Any) -> None:
    logits = draw(random_graph, (3,))
    expected = segment_softmax(logits, random_graph.indptr)
    columns = logits.detach().t().contiguous().t().requires_grad_()
    out = segment_softmax(columns, random_graph.indptr.int().repeat_interleave(2)[::2])
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(gradient(out, columns), gradient(expected, logits), rtol=0, atol=0)
    constant = torch.zeros(1, dtype=torch.float64).expand(80)
    assert_close(segment_softmax(constant, random_graph.indptr), softmax(constant, random_graph.dst))


# ------------------------------------------------------------------ what a caller can get wrong


@pytest.mark.parametrize("function", [segment_reduce, segment_softmax])
@pytest.mark.parametrize("pointers", [[0, 2], [0, 4], [1, 3], [0, 2, 1, 3], [0, 9, 3], [0, -9, 3], [0]], ids=str)
def test_pointers_that_do_not_cut_the_entries_are_value_errors(
    backend: str, function: Any, pointers: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"^indptr: expected .* \(got .*\)$"):
        function(torch.ones(3), torch.tensor(pointers))


@pytest.mark.parametrize(
    ("function", "x", "indptr", "message"),
    [
        (segment_reduce, torch.ones(()), torch.tensor([0]), r"x: .*\[\]"),
        (segment_reduce, torch.ones(1, 1, 1, 1), torch.tensor([0, 1]), "x: .*1, 1, 1, 1"),
        (segment_reduce, torch.ones(2).long(), torch.tensor([0, 2]), "x: .*int64"),
        (segment_reduce, torch.ones(2), torch.tensor([0.0, 2.0]), "indptr: .*float32"),
        (segment_reduce, torch.ones(2), torch.tensor([]).long(), "indptr: .*at least 1"),
        (segment_softmax, torch.ones(1, 1, 1), torch.tensor([0, 1]), "logits: .*1, 1, 1"),
        (segment_softmax, torch.ones(2).cfloat(), torch.tensor([0, 2]), "logits: .*complex64"),
        (segment_softmax, [1.0], torch.tensor([0, 1]), "logits: .*list"),
        (segment_softmax, torch.ones(2), [0, 2], "indptr: .*list"),
        (segment_softmax, torch.ones(2), torch.tensor([0, 2], device="meta"), "logits and indptr: .*cpu"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(
    backend: str, function: Any, x: Any, indptr: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        function(x, indptr)


def test_an_unknown_reduction_is_a_value_error(backend: str) -> None:
    with pytest.raises(ValueError, match=r"^reduce: expected one of sum, mean, max, min \(got 'prod'\)$"):
        segment_reduce(torch.ones(2), torch.tensor([0, 2]), "prod")


def test_the_one_pass_gradient_of_softmax_is_the_differentiable_one(backend: str, graph: Any) -> None:
    logits = torch.randn(graph.num_edges, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(graph.num_edges, 3, dtype=torch.float64)
    (once,) = torch.autograd.grad((segment_softmax(logits, graph.indptr) * weight).sum(), logits)
    loss = (segment_softmax(logits, graph.indptr) * weight).sum()
    (again,) = torch.autograd.grad(loss, logits, create_graph=True)
    assert again.requires_grad
    torch.testing.assert_close(once, again.detach())
