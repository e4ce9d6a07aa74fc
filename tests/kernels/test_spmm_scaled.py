"""spmm_scaled against a product with two diagonal matrices, its gradients, and GCN's propagation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import scatter

from gnnkit import Adjacency
from gnnkit.kernels import _numba, spmm_scaled

NUM_SRC, NUM_DST, NUM_EDGES = 30, 20, 150


@pytest.fixture
def adj() -> Adjacency:
    """A graph with empty rows and isolated sources."""
    draw = torch.Generator().manual_seed(0)
    edges = (torch.randint(count - 3, (NUM_EDGES,), generator=draw) for count in (NUM_SRC, NUM_DST))
    return Adjacency.from_edge_index(torch.stack(list(edges)), (NUM_SRC, NUM_DST))


def numbers(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    draw = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()


def dense(adj: Adjacency, x: Tensor, src: Tensor | None, dst: Tensor | None, values: Tensor | None) -> Tensor:
    """The same by a dense matrix of float64."""
    rows = torch.arange(NUM_DST).repeat_interleave(adj.indptr.diff())
    ones = torch.ones(NUM_EDGES, dtype=torch.float64)
    matrix = torch.zeros(NUM_DST, NUM_SRC, dtype=torch.float64)
    matrix = matrix.index_put((rows, adj.indices.long()), ones if values is None else values.double(), accumulate=True)
    matrix = matrix if src is None else matrix * src.double()
    matrix = matrix if dst is None else matrix * dst.double().unsqueeze(-1)
    return (matrix @ x.double().flatten(1)).view(NUM_DST, *x.shape[1:])


@pytest.mark.parametrize(
    "given", [(), ("src",), ("dst",), ("src", "dst"), ("values",), ("src", "dst", "values")], ids=str
)
@pytest.mark.parametrize("shape", [(1,), (5,), (130,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("with_transpose", [False, True])
def test_outputs_and_gradients(
    backend: str, adj: Adjacency, given: tuple[str, ...], shape: tuple[int, ...], with_transpose: bool
) -> None:
    x = numbers(NUM_SRC, *shape)
    src, dst = (numbers(n) if name in given else None for name, n in (("src", NUM_SRC), ("dst", NUM_DST)))
    values = numbers(NUM_EDGES) if "values" in given else None
    transpose = adj.transpose if with_transpose else None
    actual = spmm_scaled(adj.indptr, adj.indices, x, src, dst, values, transpose=transpose)
    expected = dense(adj, x, src, dst, values)
    assert_close(actual, expected)
    inputs = [t for t in (x, src, dst, values) if t is not None]
    pull = torch.randn_like(expected)
    assert_close(torch.autograd.grad(actual, inputs, pull), torch.autograd.grad(expected, inputs, pull))


def test_gradients_of_gradients(backend: str, adj: Adjacency) -> None:
    small = Adjacency.from_edge_index(torch.tensor([[0, 1, 1, 2, 0], [0, 0, 1, 1, 1]]), (3, 3))

    def run(*inputs: Tensor) -> Tensor:
        return spmm_scaled(small.indptr, small.indices, *inputs)

    inputs = numbers(3, 2, 2), numbers(3), numbers(3), numbers(5)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale_dtype", ["same", "float32"])
def test_rows_of_16_bits_are_added_up_in_float32(
    backend: str, adj: Adjacency, dtype: torch.dtype, scale_dtype: str
) -> None:
    of_scales = torch.float32 if scale_dtype == "float32" else dtype
    x, src, dst, values = (
        numbers(*shape, dtype=d)
        for shape, d in (((NUM_SRC, 9), dtype), *(((n,), of_scales) for n in (NUM_SRC, NUM_DST, NUM_EDGES)))
    )
    actual = spmm_scaled(adj.indptr, adj.indices, x, src, dst, values)
    expected = dense(adj, x, src, dst, values)
    assert actual.dtype == dtype
    # one rounding of a sum that is itself good to float32
    eps = torch.finfo(dtype).eps
    assert_close(actual.double(), expected, rtol=eps / 2 * 1.01, atol=1e-5)
    grads = torch.autograd.grad(actual.sum(), [x, src, dst, values])
    assert [g.dtype for g in grads] == [dtype, *[of_scales] * 3]


def test_it_is_gcns_propagation() -> None:
    draw = torch.Generator().manual_seed(1)
    edges, weight = gcn_norm(torch.randint(40, (2, 200), generator=draw), None, 40, dtype=torch.float64)
    adj, x = Adjacency.from_edge_index(edges, 40), numbers(40, 6)
    scale = adj.indptr.diff().double().pow(-0.5)
    expected = scatter(x[edges[0]] * weight.unsqueeze(-1), edges[1], 0, 40)
    assert_close(spmm_scaled(adj.indptr, adj.indices, x, scale, scale), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_row_that_is_cut(monkeypatch: pytest.MonkeyPatch, adj: Adjacency, dtype: torch.dtype) -> None:
    x, src, dst, values = (numbers(*s, dtype=dtype) for s in ((NUM_SRC, 4), (NUM_SRC,), (NUM_DST,), (NUM_EDGES,)))
    cut: list[bool] = []
    pieces = _numba._pieces

    def watched(*args: Tensor) -> object:
        found = pieces(*args)
        cut.append(found is not None)
        return found

    monkeypatch.setattr(_numba, "LONG_ROW", 3)
    monkeypatch.setattr(_numba, "_pieces", watched)
    monkeypatch.setenv("GNNKIT_BACKEND", "numba")
    long_rows = Adjacency.from_edge_index(
        torch.stack([adj.indices.long(), torch.arange(NUM_EDGES) // 100]), (NUM_SRC, NUM_DST)
    )
    actual = spmm_scaled(long_rows.indptr, long_rows.indices, x, src, dst, values)
    assert True in cut
    eps = torch.finfo(dtype).eps
    assert_close(actual.double(), dense(long_rows, x, src, dst, values), rtol=eps, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "src_scale",
            torch.ones(NUM_SRC - 1),
            r"src_scale: expected a float32 tensor of shape \[30\] \(got float32 tensor of shape \[29\]\)",
        ),
        ("dst_scale", torch.ones(NUM_DST, 1), r"dst_scale: expected a float32 tensor of shape \[20\] \(got"),
        ("values", torch.ones(NUM_EDGES).double(), r"values: expected a float32 tensor of shape \[150\] \(got float64"),
        ("src_scale", torch.ones(NUM_SRC, device="meta"), r"indptr, indices, x and scales: expected one device \(got"),
        ("transpose", (1, 2), r"transpose: expected \(t_indptr, t_indices, t_perm\) \(got tuple\)"),
    ],
)
def test_bad_input(adj: Adjacency, name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spmm_scaled(adj.indptr, adj.indices, torch.ones(NUM_SRC, 2), **{name: value})  # type: ignore[arg-type]


def test_an_id_outside(backend: str, adj: Adjacency) -> None:
    indices = adj.indices.clone()
    indices[7] = NUM_SRC
    with pytest.raises(ValueError, match=r"^indices: expected ids in \[0, 30\) \(got 30\)$"):
        spmm_scaled(adj.indptr, indices, torch.ones(NUM_SRC, 2))
