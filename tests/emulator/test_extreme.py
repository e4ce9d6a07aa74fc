"""What the gradient of max and min is made of: ties, masked sums, masked products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from graphs import Graph, make, numbers
from machine import Machine
from torch import Tensor

from gnnkit.kernels import _cupy, _torch, transpose_csr

Close = Callable[[Tensor, Tensor, Tensor], None]
DTYPES = (torch.float32, torch.float64)  # extremes of 16-bit rows come as float32


def check(close: Close, graph: Graph, heads: int, depth: int, dtype: torch.dtype, weighted: bool) -> None:
    """Compare all three on numbers that tie often and whose sums every dtype holds exactly or nearly so."""
    csr = graph.indptr, graph.indices
    t_indptr, t_indices, t_perm = transpose_csr(*csr, graph.num_src)
    x = numbers(graph.num_src, heads, depth, dtype=dtype)
    share = numbers(graph.num_dst, heads, depth, dtype=dtype, seed=1)
    values = numbers(graph.num_edges, heads, dtype=dtype, seed=2)
    weight = numbers(graph.num_edges, heads, dtype=dtype, seed=3) if weighted else None
    extreme = _torch.spmm(*csr, x, weight, "max")

    assert torch.equal(_cupy.extreme_ties(*csr, x, weight, extreme), _torch.extreme_ties(*csr, x, weight, extreme))

    def wide(*tensors: Tensor | None) -> list[Tensor | None]:
        return [None if t is None else t.double() for t in tensors]

    def size(*tensors: Tensor | None) -> list[Tensor | None]:
        return [None if t is None else t.double().abs() for t in tensors]

    mask = wide(x, extreme, weight)
    for z, v in ((x, values), (x, None)):
        expected = _torch.spmm_masked(*csr, *wide(z, v), *mask, False)
        scale = _torch.spmm(*csr, *size(z, v), "sum")
        close(_cupy.spmm_masked(*csr, z, v, x, extreme, weight, False), expected, scale)
    carried = None if weight is None else weight[t_perm]
    expected = _torch.spmm_masked(t_indptr, t_indices, *wide(share, values[t_perm]), *wide(x, extreme, carried), True)
    scale = _torch.spmm(t_indptr, t_indices, *size(share, values[t_perm]), "sum")
    args = t_indptr, t_indices, share, values[t_perm], x, extreme, carried, True
    close(_cupy.spmm_masked(*args), expected, scale)

    expected = _torch.sddmm_masked(*csr, *wide(share, x), *mask)
    close(_cupy.sddmm_masked(*csr, share, x, x, extreme, weight), expected, _torch.sddmm(*csr, *size(share, x)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [1, 3, 33, 129, 602])
def test_every_dtype_and_width(machine: Machine, close: Close, width: int, dtype: torch.dtype) -> None:
    graph = make("skewed" if width < 602 or dtype == torch.float32 else "sparse")
    check(close, graph, 1, width, dtype, weighted=width != 3)


def test_every_graph_with_heads(machine: Machine, close: Close, awkward: Graph) -> None:
    check(close, awkward, 3, 8, torch.float32, weighted=True)
    check(close, awkward, 2, 5, torch.float64, weighted=False)


def test_an_infinite_share_of_an_extreme_that_is_nan_stays_nan(machine: Machine) -> None:
    csr = torch.tensor([0, 2]), torch.tensor([0, 1])
    x, share = torch.tensor([[[1.0]], [[float("nan")]]]), torch.tensor([[[float("inf")]]])
    args = torch.tensor([0, 1, 2]), torch.tensor([0, 0]), share, None, x, _torch.spmm(*csr, x, None, "max"), None, True
    assert torch.equal(_cupy.spmm_masked(*args).isnan(), _torch.spmm_masked(*args).isnan())


def test_an_id_outside_the_table_makes_nan(machine: Machine) -> None:
    indptr, x = torch.tensor([0, 2, 3]), torch.ones(2, 1, 4)
    indices, extreme = torch.tensor([0, 2, 1]), torch.ones(2, 1, 4)
    for out in (
        _cupy.extreme_ties(indptr, indices, x, None, extreme),
        _cupy.spmm_masked(indptr, indices, x, None, x, extreme, None, False),
    ):
        assert out.isnan().all(-1).flatten().tolist() == [True, False]
    products = _cupy.sddmm_masked(indptr, indices, extreme, x, x, extreme, None)
    assert products.isnan().flatten().tolist() == [False, True, False]
