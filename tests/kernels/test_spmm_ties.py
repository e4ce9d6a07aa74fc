"""spmm's ties, NaN and infinities go where they go in PyG."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spmm_inputs import DTYPES, FORMS, REDUCES, by_pyg, draw, gradients
from torch.testing import assert_close
from torch_geometric.utils import scatter

from gnnkit.kernels import spmm


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduce", ["max", "min"])
@pytest.mark.parametrize("form", FORMS)
def test_ties_share_the_gradient_as_in_pyg(
    backend: str, graph: Any, form: str, reduce: str, dtype: torch.dtype
) -> None:
    x, values = draw(graph, form, dtype)
    with torch.no_grad():
        x.copy_((2 * x).round().clamp(-1, 1))
        if values is not None:
            values.copy_(values.sign())
    ours, theirs = spmm(graph.indptr, graph.src, x, values, reduce), by_pyg(graph, x, values, reduce)
    assert_close(ours, theirs, rtol=0, atol=0)
    assert_close(gradients(ours, x, values), gradients(theirs, x, values))


def test_gradient_is_split_evenly_over_ties(backend: str) -> None:
    x = torch.tensor([[3.0], [3.0], [1.0], [3.0]], requires_grad=True)
    spmm(torch.tensor([0, 4]), torch.arange(4), x, None, "max").backward(torch.tensor([[6.0]]))
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [2.0, 2.0, 0.0, 2.0]


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_extreme_of_exactly_zero_counts_as_one_more_tie(backend: str, zero: float) -> None:
    """PyG scatters into zeros, and PyTorch's gradient takes that zero for one of the winners."""
    x = torch.tensor([[zero], [0.0], [-1.0]], requires_grad=True)
    indptr, src = torch.tensor([0, 3]), torch.arange(3)
    spmm(indptr, src, x, None, "max").backward(torch.tensor([[6.0]]))
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [2.0, 2.0, 0.0]
    theirs = torch.autograd.grad(scatter(x, torch.zeros(3).long(), 0, reduce="max"), x, torch.tensor([[6.0]]))
    assert torch.equal(x.grad, theirs[0])


@pytest.mark.parametrize("reduce", ["max", "min"])
def test_gradients_after_relu_equal_pyg(backend: str, graph: Any, reduce: str) -> None:
    x, values = draw(graph, "x[N,D] values[E]")
    assert values is not None
    weight = values.detach().abs().requires_grad_()  # zeros stay the smallest messages, in most rows tied
    ours = spmm(graph.indptr, graph.src, x.relu(), weight, reduce)
    theirs = by_pyg(graph, x.relu(), weight, reduce)
    assert_close(gradients(ours, x, weight), gradients(theirs, x, weight))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["x", "values"])
@pytest.mark.parametrize("reduce", REDUCES)
def test_nan_and_infinity_reach_the_outputs_and_gradients_that_they_reach_in_pyg(
    backend: str, random_graph: Any, reduce: str, where: str, bad: float
) -> None:
    x, values = draw(random_graph, "x[N,H,D] values[E,H]")
    assert values is not None
    with torch.no_grad():
        (x if where == "x" else values)[3, 1] = bad
    ours = spmm(random_graph.indptr, random_graph.src, x, values, reduce)
    theirs = by_pyg(random_graph, x, values, reduce)
    assert_close(ours, theirs, equal_nan=True)
    assert ours[:, 0].isfinite().all()  # the other head
    pulls = gradients(ours, x, values), gradients(theirs, x, values)
    assert_close(*pulls, equal_nan=True)
    assert not all(t.isfinite().all() for t in (theirs, *pulls[1]))


@pytest.mark.parametrize("reduce", ["max", "min"])
def test_gradient_of_an_extreme_that_is_nan_is_nan_as_in_pyg(backend: str, reduce: str) -> None:
    """A NaN in the loss must not become a gradient of 0, which would hide it from the optimiser's checks."""
    indptr, src, dst = torch.tensor([0, 2, 4]), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 1, 1])
    x = torch.tensor([[1.0], [float("nan")], [3.0]], requires_grad=True)
    ours = torch.autograd.grad(spmm(indptr, src, x, None, reduce).sum(), x)
    theirs = torch.autograd.grad(scatter(x[src], dst, 0, 2, reduce).sum(), x)
    assert_close(ours, theirs, equal_nan=True)
