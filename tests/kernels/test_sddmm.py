"""sddmm: the entries of a dense product that a graph picks, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from gnnkit.kernels import sddmm, transpose_csr

ROWS = {"[N,D]": (3,), "[N,H,D]": (2, 3)}


def by_dense_product(graph: Any, a: Tensor, b: Tensor) -> Tensor:
    """The oracle: multiply all pairs, then pick."""
    if a.dim() == 2:
        return (a @ b.t())[graph.dst, graph.src]
    return torch.einsum("ihd,jhd->ijh", a, b)[graph.dst, graph.src]


def draw(graph: Any, row: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw a and b, both asking for gradients."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(graph.num_dst, *row, generator=generator, dtype=dtype)
    b = torch.randn(graph.num_src, *row, generator=generator, dtype=dtype)
    return a.requires_grad_(), b.requires_grad_()


def gradients(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Pull a fixed random gradient back."""
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(99), dtype=out.dtype)
    return torch.autograd.grad(out, inputs, grad)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_outputs_and_gradients_equal_the_dense_product(
    backend: str, graph: Any, dtype: torch.dtype, row: tuple[int, ...]
) -> None:
    a, b = draw(graph, row, dtype)
    ours, dense = sddmm(graph.indptr, graph.src, a, b), by_dense_product(graph, a, b)
    assert_close(ours, dense)
    assert_close(gradients(ours, a, b), gradients(dense, a, b))


@pytest.mark.parametrize("row", [(0,), (1,), (33,), (129,), (0, 4), (4, 0), (3, 33)], ids=str)
def test_any_width_equals_the_dense_product(backend: str, random_graph: Any, row: tuple[int, ...]) -> None:
    a, b = draw(random_graph, row)
    ours, dense = sddmm(random_graph.indptr, random_graph.src, a, b), by_dense_product(random_graph, a, b)
    assert_close(ours, dense)
    assert_close(gradients(ours, a, b), gradients(dense, a, b))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_strides_do_not_matter(backend: str, random_graph: Any, row: tuple[int, ...]) -> None:
    a, b = draw(random_graph, row)
    expected = sddmm(random_graph.indptr, random_graph.src, a, b)
    last_first = a.detach().movedim(-1, 0).contiguous().movedim(0, -1).requires_grad_()
    every_other = b.detach().repeat_interleave(2, 0)[::2].requires_grad_()
    assert not last_first.is_contiguous()
    assert not every_other.is_contiguous()
    strided = [t.repeat_interleave(2)[::2] for t in (random_graph.indptr, random_graph.src)]
    out = sddmm(*strided, last_first, every_other)
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(gradients(out, last_first, every_other), gradients(expected, a, b), rtol=0, atol=0)
    expanded = a[:1].detach().expand_as(a)
    assert_close(
        sddmm(random_graph.indptr, random_graph.src, expanded, b),
        by_dense_product(random_graph, expanded, b),
    )


@pytest.mark.parametrize(
    ("pointer_dtype", "index_dtype"),
    [(torch.int32, torch.int32), (torch.int32, torch.int64), (torch.int64, torch.int32)],
    ids=str,
)
def test_index_dtypes_do_not_matter(
    backend: str, random_graph: Any, pointer_dtype: torch.dtype, index_dtype: torch.dtype
) -> None:
    a, b = draw(random_graph, (3,), torch.float32)
    expected = sddmm(random_graph.indptr, random_graph.src, a, b)
    out = sddmm(random_graph.indptr.to(pointer_dtype), random_graph.src.to(index_dtype), a, b)
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(gradients(out, a, b), gradients(expected, a, b), rtol=0, atol=0)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_dotted_with_itself_is_its_squared_norm(backend: str, row: tuple[int, ...]) -> None:
    a = torch.randn(5, *row, generator=torch.Generator().manual_seed(1))
    loops = torch.arange(6), torch.arange(5)
    assert_close(sddmm(*loops, a, a), a.square().sum(-1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("table", [0, 1], ids=["a", "b"])
def test_nan_and_infinity_reach_the_edges_of_their_row_and_no_others(
    backend: str, random_graph: Any, table: int, bad: float
) -> None:
    tables = draw(random_graph, (3,))
    clean = sddmm(random_graph.indptr, random_graph.src, *tables)
    with torch.no_grad():
        tables[table][7, 1] = bad
    ours = sddmm(random_graph.indptr, random_graph.src, *tables)
    touched = (random_graph.dst, random_graph.src)[table] == 7
    assert touched.any()
    # the picked products only: a dense product would spread 0 * inf
    picked = (tables[0][random_graph.dst] * tables[1][random_graph.src]).sum(-1)
    assert_close(ours[touched], picked[touched], equal_nan=True)
    assert_close(ours[~touched], clean[~touched], rtol=0, atol=0)
    assert not ours[touched].isfinite().any()
    assert_close(gradients(ours, *tables), gradients(picked, *tables), equal_nan=True)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_first_and_second_derivatives_match_finite_differences(
    backend: str, row: tuple[int, ...], csr_from_edges: Any
) -> None:
    graph = csr_from_edges([(0, 0), (1, 0), (2, 0), (1, 1), (1, 1), (4, 3)], 5, 4)

    def function(a: Tensor, b: Tensor) -> Tensor:
        return sddmm(graph.indptr, graph.src, a, b)

    assert gradcheck(function, draw(graph, row), fast_mode=True)
    assert gradgradcheck(function, draw(graph, row), fast_mode=True)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_given_transpose_changes_no_bit_of_the_gradients(backend: str, graph: Any, row: tuple[int, ...]) -> None:
    a, b = draw(graph, row)
    transpose = transpose_csr(graph.indptr, graph.src, graph.num_src)
    without = sddmm(graph.indptr, graph.src, a, b)
    given = sddmm(graph.indptr, graph.src, a, b, transpose=transpose)
    assert_close(gradients(given, a, b), gradients(without, a, b), rtol=0, atol=0)


@pytest.mark.parametrize("wanted", [0, 1], ids=["a", "b"])
def test_one_gradient_alone_equals_the_same_of_both(backend: str, random_graph: Any, wanted: int) -> None:
    tables = draw(random_graph, (2, 3))
    both = gradients(sddmm(random_graph.indptr, random_graph.src, *tables), *tables)
    tables[1 - wanted].requires_grad_(False)
    out = sddmm(random_graph.indptr, random_graph.src, *tables)
    assert_close(gradients(out, tables[wanted])[0], both[wanted], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("pointers", "indices"),
    [
        ([0, 2, 3], [0, 1, 4]),
        ([0, 2, 3], [0, -1, 1]),
        ([0, 2, 4], [0, 1, 2]),
        ([1, 2, 3], [0, 1, 2]),
        ([0, 9, 3], [0, 1, 2]),
        ([0, -7, 3], [0, 1, 2]),
    ],
)
def test_a_bad_pointer_or_index_is_a_value_error_that_names_it(
    backend: str, pointers: list[int], indices: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"^ind(ptr|ices): expected .* \(got .*-?\d.*\)$"):
        sddmm(torch.tensor(pointers), torch.tensor(indices), torch.ones(2, 3), torch.ones(4, 3))


LOOPS = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
GOOD: dict[str, Any] = dict(zip(("indptr", "indices"), LOOPS, strict=True)) | {
    "a": torch.ones(2, 3),
    "b": torch.ones(2, 3),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"indptr": LOOPS[0].double()}, "indptr: .*float64"),
        ({"indices": LOOPS[1].bool()}, "indices: .*bool"),
        ({"a": torch.ones(2)}, r"a: .*\[2\]"),
        ({"a": torch.ones(3, 3)}, "a: .*N_dst = 2 rows .*3"),
        ({"a": None}, "a: .*NoneType"),
        ({"b": torch.ones(2, 3).half()}, "a and b: .*one dtype.*float16, torch.float32"),
        ({"b": torch.ones(2, 4)}, r"b: .*\[3\].*\[4\]"),
        ({"b": torch.ones(2, 1, 3)}, r"b: .*\[3\].*\[1, 3\]"),
        ({"b": torch.ones(2, 3).double()}, "a and b: .*one dtype.*float32, torch.float64"),
        ({"b": torch.ones(2, 3, device="meta")}, "a and b: .*one device.*cpu, meta"),
        ({"transpose": LOOPS}, "transpose: .*tuple"),
        ({"transpose": (torch.tensor([0, 2]), LOOPS[1], LOOPS[1])}, "t_indptr: .*N_src.*2"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(backend: str, wrong: dict[str, Any], message: str) -> None:
    assert sddmm(**GOOD).tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        sddmm(**{**GOOD, **wrong})
