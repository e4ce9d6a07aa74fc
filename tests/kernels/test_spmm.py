"""spmm: what PyG's gather, multiply and scatter give, on both backends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spmm_inputs import DTYPES, FORMS, REDUCES, by_pyg, draw, gradients
from torch import Tensor
from torch.testing import assert_close

from gnnkit.kernels import spmm


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_outputs_and_gradients_equal_pygs_scatter(
    backend: str, graph: Any, dtype: torch.dtype, reduce: str, form: str
) -> None:
    x, values = draw(graph, form, dtype)
    ours, theirs = spmm(graph.indptr, graph.src, x, values, reduce), by_pyg(graph, x, values, reduce)
    exact = {"rtol": 0, "atol": 0} if reduce in ("max", "min") else {}  # nothing is added up there
    assert_close(ours, theirs, **exact)
    assert_close(gradients(ours, x, values), gradients(theirs, x, values))


@pytest.mark.parametrize("weighted", [False, True])
def test_sum_and_mean_are_products_with_the_dense_matrix(backend: str, graph: Any, weighted: bool) -> None:
    x, values = draw(graph, "x[N,D] values[E]" if weighted else "x[N,D]")
    dense = torch.zeros(graph.num_dst, graph.num_src, dtype=x.dtype)
    ones = torch.ones(graph.num_edges, dtype=x.dtype)
    dense.index_put_(
        (graph.dst, graph.src), ones if values is None else values.detach(), accumulate=True
    )  # parallel edges add up
    degree = torch.bincount(graph.dst, minlength=graph.num_dst).clamp(min=1).unsqueeze(-1)
    assert_close(spmm(graph.indptr, graph.src, x, values), dense @ x)
    assert_close(spmm(graph.indptr, graph.src, x, values, "mean"), dense @ x / degree)


@pytest.mark.parametrize("width", [0, 1, 3, 33, 129])
@pytest.mark.parametrize("reduce", REDUCES)
def test_any_width_equals_pyg(backend: str, random_graph: Any, reduce: str, width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    x = torch.randn(20, width, generator=generator).requires_grad_()
    values = torch.randn(80, generator=generator).requires_grad_()
    ours = spmm(random_graph.indptr, random_graph.src, x, values, reduce)
    theirs = by_pyg(random_graph, x, values, reduce)
    assert_close(ours, theirs)
    assert_close(gradients(ours, x, values), gradients(theirs, x, values))


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("shape", [(2, 0), (0, 4)], ids=["D=0", "H=0"])
def test_heads_without_channels_and_no_heads_give_empty_rows(
    backend: str, random_graph: Any, shape: tuple[int, int], reduce: str
) -> None:
    x = torch.ones(20, *shape, requires_grad=True)
    values = torch.ones(80, shape[0], requires_grad=True)
    out = spmm(random_graph.indptr, random_graph.src, x, values, reduce)
    assert out.shape == (20, *shape)
    dx, dvalues = gradients(out, x, values)
    assert_close(dx, torch.zeros_like(x))
    assert_close(dvalues, torch.zeros_like(values))


@pytest.mark.parametrize("reduce", REDUCES)
def test_rows_without_edges_give_zero_also_beside_negative_rows(backend: str, reduce: str, csr_from_edges: Any) -> None:
    graph = csr_from_edges([(0, 1)], 1, 3)
    out = spmm(graph.indptr, graph.src, torch.tensor([[-5.0]]), None, reduce)
    assert out.tolist() == [[0.0], [-5.0], [0.0]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduce", REDUCES)
def test_strides_do_not_matter(backend: str, random_graph: Any, reduce: str, form: str) -> None:
    x, values = draw(random_graph, form)
    expected = spmm(random_graph.indptr, random_graph.src, x, values, reduce)
    expected_gradients = gradients(expected, x, values)

    def scrambled(tensor: Tensor | None) -> Tensor | None:
        """The same values in every other entry of a table stored column by column."""
        if tensor is None:
            return None
        order = list(range(tensor.dim()))[::-1]
        wide = tensor.detach().permute(order).repeat_interleave(2, -1).permute(order)[::2]
        assert torch.equal(wide, tensor)
        assert not wide.is_contiguous()
        return wide.requires_grad_(tensor.requires_grad)

    strided = [t.repeat_interleave(2)[::2] for t in (random_graph.indptr, random_graph.src)]  # not contiguous either
    x, values = scrambled(x), scrambled(values)
    out = spmm(*strided, x, values, reduce)
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(gradients(out, x, values), expected_gradients, rtol=0, atol=0)


@pytest.mark.parametrize("reduce", REDUCES)
def test_expanded_inputs_and_gradients_are_read_by_their_strides(backend: str, random_graph: Any, reduce: str) -> None:
    row = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    x = row.expand(20, 3).requires_grad_()
    values = torch.tensor([2.0], dtype=torch.float64).expand(80).requires_grad_()
    ours = spmm(random_graph.indptr, random_graph.src, x, values, reduce)
    theirs = by_pyg(random_graph, x, values, reduce)
    assert_close(ours, theirs)
    # the gradient of a sum is one number, expanded
    assert_close(torch.autograd.grad(ours.sum(), [x, values]), torch.autograd.grad(theirs.sum(), [x, values]))


@pytest.mark.parametrize("reduce", ["sum", "max"])
@pytest.mark.parametrize(
    ("pointer_dtype", "index_dtype"),
    [(torch.int32, torch.int32), (torch.int32, torch.int64), (torch.int64, torch.int32)],
    ids=str,
)
def test_index_dtypes_do_not_matter(
    backend: str, random_graph: Any, pointer_dtype: torch.dtype, index_dtype: torch.dtype, reduce: str
) -> None:
    x, values = draw(random_graph, "x[N,D] values[E]", torch.float32)
    expected = spmm(random_graph.indptr, random_graph.src, x, values, reduce)
    out = spmm(random_graph.indptr.to(pointer_dtype), random_graph.src.to(index_dtype), x, values, reduce)
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(gradients(out, x, values), gradients(expected, x, values), rtol=0, atol=0)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(-2, 2)), max_size=25),
    st.sampled_from(REDUCES),
    st.lists(st.integers(-3, 3), min_size=6, max_size=6),
)
def test_backends_agree_on_any_graph(edges: list[tuple[int, int, int]], reduce: str, rows: list[int]) -> None:
    """Small integers: sums are exact and ties abound, so that all but the divisions agree to the bit."""
    edges.sort(key=lambda edge: edge[1])
    degrees = [sum(dst == row for _, dst, _ in edges) for row in range(5)]
    indptr = torch.tensor([0, *degrees]).cumsum(0)
    src = torch.tensor([edge[0] for edge in edges], dtype=torch.int64)
    results = []
    for name in ("torch", "numba"):
        x = torch.tensor(rows, dtype=torch.float64).unsqueeze(-1).requires_grad_()
        values = torch.tensor([edge[2] for edge in edges], dtype=torch.float64).requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GNNKIT_BACKEND", name)
            out = spmm(indptr, src, x, values, reduce)
            results.append((out, *gradients(out, x, values)))
    assert_close(*(r[0] for r in results), rtol=0 if reduce != "mean" else 1e-15, atol=0)
    assert_close(*(r[1:] for r in results))
