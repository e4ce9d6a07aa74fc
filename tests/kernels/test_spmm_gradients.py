"""spmm's derivatives, first and second, with a transpose and without, of all inputs and of one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spmm_inputs import FORMS, REDUCES, draw, gradients
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from gnnkit.kernels import spmm, transpose_csr


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduce", REDUCES)
def test_first_and_second_derivatives_match_finite_differences(
    backend: str, reduce: str, form: str, csr_from_edges: Any
) -> None:
    graph = csr_from_edges([(0, 0), (1, 0), (2, 0), (1, 1), (1, 1), (3, 3)], 4, 4)
    x, values = draw(graph, form, seed=3)
    inputs = (x,) if values is None else (x, values)

    def function(x: Tensor, values: Tensor | None = None) -> Tensor:
        return spmm(graph.indptr, graph.src, x, values, reduce)

    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduce", REDUCES)
def test_a_given_transpose_changes_no_bit_of_the_gradients(backend: str, graph: Any, reduce: str, form: str) -> None:
    x, values = draw(graph, form)
    transpose = transpose_csr(graph.indptr, graph.src, graph.num_src)
    without = spmm(graph.indptr, graph.src, x, values, reduce)
    given_ = spmm(graph.indptr, graph.src, x, values, reduce, transpose=transpose)
    assert_close(gradients(given_, x, values), gradients(without, x, values), rtol=0, atol=0)


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("wanted", ["x", "values"])
def test_one_gradient_alone_equals_the_same_of_both(backend: str, random_graph: Any, wanted: str, reduce: str) -> None:
    x, values = draw(random_graph, "x[N,H,D] values[E,H]")
    assert values is not None
    both = gradients(spmm(random_graph.indptr, random_graph.src, x, values, reduce), x, values)
    kept, other = (x, values) if wanted == "x" else (values, x)
    other.requires_grad_(False)
    out = spmm(random_graph.indptr, random_graph.src, x, values, reduce)
    assert_close(gradients(out, kept)[0], both[0 if wanted == "x" else 1], rtol=0, atol=0)


def test_inputs_are_left_alone(backend: str, random_graph: Any) -> None:
    x, values = draw(random_graph, "x[N,D] values[E]")
    assert values is not None
    tensors = random_graph.indptr, random_graph.src, x.detach(), values.detach()
    before = [t.clone() for t in tensors]
    for reduce in REDUCES:
        gradients(spmm(random_graph.indptr, random_graph.src, x, values, reduce), x, values)
    assert all(torch.equal(old, new) for old, new in zip(before, tensors, strict=True))
