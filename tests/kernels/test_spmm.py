"""spmm: what PyG's gather, multiply and scatter give, forward and backward, on both backends."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close
from torch_geometric.utils import scatter

from gnnkit.kernels import spmm, transpose_csr

REDUCES = ("sum", "mean", "max", "min")
DTYPES = (torch.float32, torch.float64)
# how x and the values may be shaped: name -> (shape of a row of x, shape of an edge's value)
FORMS: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "x[N,D]": ((3,), None),
    "x[N,D] values[E]": ((3,), ()),
    "x[N,H,D]": ((2, 3), None),
    "x[N,H,D] values[E]": ((2, 3), ()),
    "x[N,H,D] values[E,H]": ((2, 3), (2,)),
}


def by_pyg(graph: Any, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """The oracle: materialise the messages and scatter them."""
    messages = x[graph.src]  # [E, (H,) D]
    if values is not None:
        messages = messages * values.reshape(*values.shape, *[1] * (x.dim() - values.dim()))
    return scatter(messages, graph.dst, dim=0, dim_size=graph.num_dst, reduce=reduce)


def draw(graph: Any, form: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    """Draw x and values of a form, both asking for gradients."""
    row, value = FORMS[form]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(graph.num_src, *row, generator=generator, dtype=dtype).requires_grad_()
    if value is None:
        return x, None
    values = torch.randn(graph.num_edges, *value, generator=generator, dtype=dtype).requires_grad_()
    return x, values


def gradients(out: Tensor, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    """Pull a fixed random gradient back to those inputs that are there."""
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(99), dtype=out.dtype)
    return torch.autograd.grad(out, [t for t in inputs if t is not None], grad)


# ------------------------------------------------------------------ the values


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


# ------------------------------------------------------------------ ties, NaN, infinity


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


# ------------------------------------------------------------------ differentiation


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


# ------------------------------------------------------------------ what a caller can get wrong


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize(
    ("pointers", "indices"),
    [
        ([0, 2, 3], [0, 1, 4]),
        ([0, 2, 3], [0, -1, 1]),
        ([0, 2, 4], [0, 1, 2]),
        ([0, 2, 2], [0, 1, 2]),
        ([1, 2, 3], [0, 1, 2]),
        ([0, 3, 1, 3], [0, 1, 2]),
        ([0, 9, 3], [0, 1, 2]),
        ([0, -7, 3], [0, 1, 2]),
        ([0], [0]),
    ],
)
def test_a_bad_pointer_or_index_is_a_value_error_that_names_it(
    backend: str, pointers: list[int], indices: list[int], reduce: str
) -> None:
    with pytest.raises(ValueError, match=r"^ind(ptr|ices): expected .* \(got .*-?\d.*\)$"):
        spmm(torch.tensor(pointers), torch.tensor(indices), torch.ones(4, 2), None, reduce)


@given(
    st.lists(st.integers(-3, 9), min_size=1, max_size=8),
    st.lists(st.integers(-2, 6), max_size=8),
    st.sampled_from(REDUCES),
    st.sampled_from(["torch", "numba"]),
)
def test_any_integers_are_refused_or_served_right(
    pointers: list[int], indices: list[int], reduce: str, name: str
) -> None:
    rises = all(low <= high for low, high in pairwise(pointers))
    valid = rises and pointers[0] == 0 and pointers[-1] == len(indices) and all(0 <= j < 5 for j in indices)
    x = torch.arange(1.0, 6.0).unsqueeze(-1)
    indptr, src = torch.tensor(pointers), torch.tensor(indices, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNKIT_BACKEND", name)
        if not valid:
            with pytest.raises(ValueError, match=r"\(got "):
                spmm(indptr, src, x, None, reduce)
            return
        out = spmm(indptr, src, x, None, reduce)
    rows = [x[src[low:high]] for low, high in pairwise(pointers)]
    python = {"sum": Tensor.sum, "mean": Tensor.mean, "max": Tensor.amax, "min": Tensor.amin}[reduce]
    expected = [float(python(row)) if len(row) else 0.0 for row in rows]
    assert_close(out.flatten(), torch.tensor(expected))


EYE = torch.tensor([0, 1, 2]), torch.tensor([0, 1])  # two nodes with a loop each
GOOD: dict[str, Any] = {"indptr": EYE[0], "indices": EYE[1], "x": torch.ones(2, 3)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"indptr": [0, 1, 2]}, "indptr: .*list"),
        ({"indptr": EYE[0].float()}, "indptr: .*float32"),
        ({"indptr": EYE[0].unsqueeze(0)}, r"indptr: .*\[1, 3\]"),
        ({"indptr": EYE[0][:0]}, "indptr: .*at least 1"),
        ({"indices": EYE[1].short()}, "indices: .*int16"),
        ({"indices": None}, "indices: .*NoneType"),
        ({"x": torch.ones(2)}, r"x: .*\[2\]"),
        ({"x": torch.ones(2, 1, 1, 1)}, r"x: .*\[2, 1, 1, 1\]"),
        ({"x": torch.ones(2, 3).cfloat()}, "x: .*complex64"),
        ({"x": torch.ones(2, 3).long()}, "x: .*int64"),
        ({"values": torch.ones(3)}, r"values: .*\[3\]"),
        ({"values": torch.ones(2, 1)}, r"values: .*\[2, 1\]"),
        ({"values": torch.ones(2, 3)}, r"values: .*\[2, 3\]"),
        ({"x": torch.ones(2, 4, 3), "values": torch.ones(2, 3)}, r"values: .*\[2, 3\]"),
        ({"values": torch.ones(2).double()}, "x and values: .*one dtype .*float32, torch.float64"),
        ({"values": torch.ones(2, device="meta")}, "x and values: .*one device .*cpu, meta"),
        ({"reduce": "add"}, "reduce: .*'add'"),
        ({"reduce": None}, "reduce: .*None"),
        ({"transpose": EYE}, "transpose: .*tuple"),
        ({"transpose": (EYE[0], EYE[1], EYE[1][:1])}, "t_perm: .*1"),
        ({"transpose": (EYE[0], EYE[1][:1], EYE[1])}, "t_indices: .*1"),
        ({"transpose": (torch.tensor([0, 2]), EYE[1], EYE[1])}, "t_indptr: .*2"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(backend: str, wrong: dict[str, Any], message: str) -> None:
    assert spmm(**GOOD).shape == (2, 3)
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        spmm(**{**GOOD, **wrong})


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize(
    "transpose",
    [
        (torch.tensor([0, 1, 2]), torch.tensor([0, 2]), torch.tensor([0, 1])),  # no such destination
        (torch.tensor([0, 5, 2]), torch.tensor([0, 1]), torch.tensor([0, 1])),  # pointers that fall
        (torch.tensor([0, 1, 2]), torch.tensor([0, 1]), torch.tensor([0, 2])),  # no such entry
    ],
    ids=["t_indices", "t_indptr", "t_perm"],
)
def test_a_transpose_that_leaves_its_tables_is_refused_in_the_backward_pass(
    backend: str, transpose: tuple[Tensor, Tensor, Tensor], reduce: str
) -> None:
    """It is trusted to be the transpose, but never to stay within bounds (PyTorch raises IndexError)."""
    x = torch.ones(2, 3, requires_grad=True)
    out = spmm(*EYE, x, torch.ones(2), reduce, transpose=transpose)
    with pytest.raises((ValueError, IndexError), match=r"\(got |out of range"):
        out.sum().backward()
