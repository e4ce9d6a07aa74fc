"""Fused GAT and GATv2 against the reference, forward and backward."""

from __future__ import annotations

import pytest
import torch
from graphs import Graph, make, reals
from machine import Machine
from torch import Tensor

from gnnkit.kernels import _cupy, _torch, _walk, transpose_csr

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 1e-2, torch.bfloat16: 6e-2}


def wide(*tensors: Tensor | float | None) -> list[Tensor | float | None]:
    return [t.double() if isinstance(t, Tensor) and t.is_floating_point() else t for t in tensors]


def compare(function: str, csr: tuple[Tensor, ...], args: tuple[Tensor | float | None, ...], terms: float = 0) -> None:
    """Compare with the reference in float64, relative to the largest number of each result or of its terms."""
    ours = getattr(_cupy, function)(*csr, *args)
    theirs = getattr(_torch, function)(*csr, *wide(*args))
    ours, theirs = (r if isinstance(r, tuple) else (r,) for r in (ours, theirs))
    for actual, expected in zip(ours, theirs, strict=True):
        if expected is None:
            assert actual is None
            continue
        assert actual.shape == expected.shape
        size = max(terms, expected.abs().max().item() if expected.numel() else 0)
        assert ((actual.double() - expected).abs() <= TOLERANCE[actual.dtype] * size).all(), function


def check(
    graph: Graph,
    version: int,
    heads: int,
    depth: int,
    dtype: torch.dtype,
    *,
    extras: bool,
    ids: torch.dtype = torch.int32,
) -> None:
    """Compare one layer; ``extras`` are a_edge and the dropout mask."""
    csr = graph.indptr, graph.indices.to(ids)
    transposed = transpose_csr(*csr, graph.num_src)
    x, sums = reals(graph.num_src, heads, depth, dtype=dtype), _walk.DTYPES[dtype][1]
    mask = 2 * (reals(graph.num_edges, heads, dtype=sums, seed=4) > 0).to(sums) if extras else None
    if version == 1:
        a_src, a_dst = (
            reals(graph.num_src, heads, dtype=sums, seed=1),
            reals(graph.num_dst, heads, dtype=sums, seed=2),
        )
        a_edge = reals(graph.num_edges, heads, dtype=sums, seed=3) if extras else None
        args, name = (x, a_src, a_dst, a_edge, mask, 0.2), "gat"
    else:
        args, name = (
            (
                x,
                reals(graph.num_dst, heads, depth, dtype=dtype, seed=1),
                reals(heads, depth, dtype=dtype, seed=2),
                mask,
                0.2,
            ),
            "gatv2",
        )
    compare(f"{name}_forward", csr, args)
    # the backward's own inputs, rounded once for both
    out, top, total = (t.to(sums) for t in getattr(_torch, f"{name}_forward")(*csr, *wide(*args)))
    grad = reals(graph.num_dst, heads, depth, dtype=dtype, seed=5)
    delta = (grad.double() * out.double()).sum(-1).to(sums)
    terms = delta.abs().max().item() if delta.numel() else 0  # of scores' gradients, which cancel in short rows
    args = *args, top, total, grad, delta
    compare(f"{name}_backward_dst", csr, args, terms)
    compare(f"{name}_backward_src", transposed, args, terms)


@pytest.mark.parametrize("dtype", _walk.DTYPES, ids=str)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("depth", [1, 3, 33, 129])
def test_every_dtype_and_width(machine: Machine, version: int, depth: int, dtype: torch.dtype) -> None:
    check(make("skewed"), version, 1, depth, dtype, extras=depth == 3)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(8, 16), (3, 8), (5, 3), (2, 140), (40, 4)], ids=str)
def test_heads(machine: Machine, version: int, shape: tuple[int, int]) -> None:
    check(make("skewed"), version, *shape, torch.float32, extras=True)


@pytest.mark.parametrize("version", [1, 2])
def test_a_row_of_602(machine: Machine, version: int) -> None:
    check(make("sparse"), version, 1, 602, torch.float32, extras=False)


@pytest.mark.parametrize("version", [1, 2])
def test_every_graph(machine: Machine, awkward: Graph, version: int) -> None:
    check(awkward, version, 4, 8, torch.float32, extras=True, ids=torch.int64)
    check(awkward, version, 4, 8, torch.float64, extras=False)


@pytest.mark.parametrize("version", [1, 2])
def test_the_same_bits_in_whatever_order_threads_run(machine: Machine, version: int) -> None:
    graph = make("skewed")
    x, z = reals(graph.num_src, 2, 8, dtype=torch.float32), reals(graph.num_dst, 2, 8, dtype=torch.float32)
    args = (x, x[..., 0], z[..., 0], None, None, 0.2) if version == 1 else (x, z, z[0], None, 0.2)
    name, results = "gat" if version == 1 else "gatv2", []
    for machine.seed in range(3):
        forward = getattr(_cupy, f"{name}_forward")(graph.indptr, graph.indices, *args)
        backward = getattr(_cupy, f"{name}_backward_dst")(
            graph.indptr, graph.indices, *args, *forward[1:], z, (z * forward[0]).sum(-1)
        )
        results.append([*forward, *(t for t in backward if t is not None)])
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("version", [1, 2])
def test_an_id_outside_the_table_makes_nan_of_its_row_alone(machine: Machine, version: int) -> None:
    graph = make("skewed")
    x, z = reals(graph.num_src, 2, 4, dtype=torch.float32), reals(graph.num_dst, 2, 4, dtype=torch.float32)
    args = (x, x[..., 0], z[..., 0], None, None, 0.2) if version == 1 else (x, z, z[0], None, 0.2)
    forward = getattr(_cupy, "gat_forward" if version == 1 else "gatv2_forward")
    right = forward(graph.indptr, graph.indices, *args)[0]
    indices = graph.indices.clone()
    indices[[1, 100]] = torch.tensor([-1, graph.num_src], dtype=torch.int32)  # in rows 0 and 2, a hub
    out = forward(graph.indptr, indices, *args)[0]
    assert out[[0, 2]].isnan().all()
    out[[0, 2]] = right[[0, 2]]
    assert torch.equal(out, right)


@pytest.mark.parametrize("pointers", [[0, 5, 3, 60], [-4, 2, 3, 60], [0, 2, 3, 99], [0, 2**40, 3, 60]], ids=str)
def test_wrong_pointers_touch_nothing_outside(machine: Machine, pointers: list[int]) -> None:
    csr = torch.tensor(pointers), torch.zeros(60, dtype=torch.int32)
    x = torch.ones(3, 2, 4)
    out, top, total = _cupy.gatv2_forward(*csr, x, x, x[0], None, 0.2)
    _cupy.gatv2_backward_dst(*csr, x, x, x[0], None, 0.2, top, total, out, top)
    _cupy.gat_forward(*csr, x, top, top, None, None, 0.2)
    _cupy.gat_backward_dst(*csr, x, top, top, None, None, 0.2, top, total, out, top)
    _cupy.gat_backward_src(*csr, torch.arange(60), x, top, top, None, None, 0.2, top, total, out, top)
