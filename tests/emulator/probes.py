"""What a sound source passes and a faulty one does not: small runs of every kernel against the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lines
import pytest
import torch
from graphs import make, numbers, reals
from huge import sparse
from machine import Machine

from gnnkit.kernels import _cupy, _cupy_gather, _torch, transpose_csr
from gnnkit.kernels._pair_sets import NAMES, Rows

Probe = Callable[[Machine], None]


def spmm(machine: Machine) -> None:
    for kind in ("sparse", "skewed", "one hub"):
        graph = make(kind)
        for width in (5, 8):
            x = reals(graph.num_src, 1, width, dtype=torch.float32)
            for reduce in ("sum", "max"):
                csr = graph.indptr, graph.indices
                torch.testing.assert_close(_cupy.spmm(*csr, x, None, reduce), _torch.spmm(*csr, x, None, reduce))


def spmm_past_31_bits(machine: Machine) -> None:
    x = sparse(machine, (2**31 // 64 + 2, 1, 64), torch.float16)
    x[-1] = 1
    out = _cupy.spmm(torch.tensor([0, 1]), torch.tensor([len(x) - 1]), x, None, "sum")
    assert out.eq(1).all()


def extreme(machine: Machine) -> None:
    graph = make("skewed")
    csr = graph.indptr, graph.indices
    for width in (5, 8):
        x, weight = (
            numbers(graph.num_src, 1, width, dtype=torch.float32),
            numbers(graph.num_edges, 1, dtype=torch.float32),
        )
        args = *csr, x, weight, _torch.spmm(*csr, x, weight, "max")
        torch.testing.assert_close(_cupy.extreme_ties(*args), _torch.extreme_ties(*args))
        args = *csr, x, None, x, args[-1], weight, False
        torch.testing.assert_close(_cupy.spmm_masked(*args), _torch.spmm_masked(*args))
    outside = graph.indices.clone()
    outside[0] = graph.num_src
    assert _cupy.extreme_ties(graph.indptr, outside, x, None, args[5])[0].isnan().all()


def sddmm(machine: Machine) -> None:
    for kind in ("sparse", "skewed"):
        graph = make(kind)
        a, b = reals(graph.num_dst, 2, 8, dtype=torch.float32), reals(graph.num_src, 2, 8, dtype=torch.float32)
        args = graph.indptr, graph.indices, a, b
        torch.testing.assert_close(_cupy.sddmm(*args), _torch.sddmm(*args))


def sddmm_past_31_bits(machine: Machine) -> None:
    b = sparse(machine, (2**31 // 64 + 2, 1, 64), torch.float16)
    b[-1] = 1
    args = torch.tensor([0, 1]), torch.tensor([len(b) - 1]), torch.ones(1, 1, 64, dtype=torch.float16), b
    assert _cupy.sddmm(*args).eq(64).all()


def softmax(machine: Machine) -> None:
    for kind in ("sparse", "skewed"):
        graph = make(kind)
        logits = reals(graph.num_edges, 3, dtype=torch.float32)
        out = _cupy.segment_softmax(logits, graph.indptr)
        torch.testing.assert_close(out, _torch.segment_softmax(logits, graph.indptr))
        args = out, logits, graph.indptr
        torch.testing.assert_close(_cupy.segment_softmax_backward(*args), _torch.segment_softmax_backward(*args))


def gather(machine: Machine) -> None:
    table, ids = reals(9, 75, dtype=torch.float32), torch.tensor([8, 0, 3, 3, 8])
    for from_host, order in ((False, None), (True, ids.argsort())):
        out = torch.zeros(5, 75)
        _cupy_gather._gather_rows(table, ids, out, order, from_host)
        assert torch.equal(out, table[ids])
        assert lines.count(machine, 75, table_offset=4)["ours"] == 3.3125


def gather_cached(machine: Machine) -> None:
    table, where = reals(9, 75, dtype=torch.float32), torch.tensor([4, -1, -4, 0, 5, -5])
    out = torch.zeros(6, 75)
    _cupy_gather._gather_cached(table[:5], table[5:], where, out, True)
    assert torch.equal(out[:4], table[[4, 5, 8, 0]])
    assert out[4:].isnan().all()


def gather_past_31_bits(machine: Machine) -> None:
    table = sparse(machine, (2**31 // 64 + 2, 64), torch.int8)
    table[-1] = 1
    out = torch.zeros(1, 64, dtype=torch.int8)
    _cupy_gather._gather_rows(table, torch.tensor([len(table) - 1]), out, None, from_host=False)
    assert out.eq(1).all()


def sample(machine: Machine) -> None:
    graph = make("skewed")
    starts, ends = graph.indptr[:-1], graph.indptr[1:]
    spread = 40 * torch.randn(graph.num_edges, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sums = torch.cat([row.exp().cumsum(0) for row in spread.split((ends - starts).tolist())])
    for fanout, replace, cumulative in (
        *((5, False, None), (40, False, None), (-1, False, None)),
        *((5, True, None), (5, True, sums), (12, False, sums)),
    ):
        args = graph.indices, starts, ends, fanout, 2**64 - 9, replace, cumulative
        for ours, theirs in zip(_cupy.sample_neighbors(*args), _torch.sample_neighbors(*args), strict=True):
            assert torch.equal(ours, theirs)


def sample_past_31_bits(machine: Machine) -> None:
    indices, start = sparse(machine, (2**31 + 8,), torch.int32), torch.tensor([2**31 + 4])
    indices[-4:] = torch.arange(1, 5)
    assert _cupy.sample_neighbors(indices, start, start + 4, -1, 0, False, None)[2].tolist() == [1, 2, 3, 4]


def relabel(machine: Machine) -> None:
    ids = torch.randint(70, (300,), generator=torch.Generator().manual_seed(0))
    local, expected = torch.full((70,), -1, dtype=torch.int32), torch.full((70,), -1, dtype=torch.int32)
    for count, part in ((0, ids[:9]), (len(ids[:9].unique()), ids)):
        for ours, theirs in zip(_cupy.relabel(local, count, part), _torch.relabel(expected, count, part), strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(local, expected)
    with pytest.raises(ValueError, match=r"\(got 70\)"):
        _cupy.relabel(local, 70, torch.tensor([70]))


def relabel_past_31_bits(machine: Machine) -> None:
    local = sparse(machine, (2**31 + 8,), torch.int32)
    local[-2:] = -1
    ids = torch.tensor([len(local) - 1, len(local) - 2, len(local) - 1])
    assert _cupy.relabel(local, 1, ids)[0].tolist() == [1, 2, 1]
    assert local[-2:].tolist() == [2, 1]


def common_neighbors(machine: Machine) -> None:
    draw = torch.Generator().manual_seed(0)
    edges = torch.rand(9, 90, generator=draw) < torch.linspace(0, 1, 9)[:, None]  # the first row has none, one has all
    row, indices = edges.nonzero().unbind(1)
    keep = torch.rand(len(row), generator=draw) < 0.7
    csr = torch.cat([row.new_zeros(1), row.bincount(minlength=9).cumsum(0)]), indices.int()
    for mask in (None, keep):
        a, b = (Rows(*csr, mask, nodes) for nodes in torch.cartesian_prod(torch.arange(9), torch.arange(9)).t())
        for ours, theirs in zip(_cupy.common_neighbors(a, b, NAMES), _torch.common_neighbors(a, b, NAMES), strict=True):
            assert ours is not None
            assert theirs is not None
            for actual, right in zip(ours, theirs, strict=True):
                assert actual is right is None or torch.equal(actual, right)


def common_neighbors_past_31_bits(machine: Machine) -> None:
    indices, start = sparse(machine, (2**31 + 8,), torch.int32), 2**31 + 4
    indices[-4:] = torch.arange(1, 5)
    rows = Rows(torch.tensor([start, start + 4]), indices, None, torch.tensor([0]))
    both = _cupy.common_neighbors(rows, rows, ("both",)).both
    assert both is not None
    assert both.indices.tolist() == [1, 2, 3, 4]
    assert both.entries.tolist() == [start, start + 1, start + 2, start + 3]


def content_hash(machine: Machine) -> None:
    words = torch.arange(5000)
    assert _cupy.content_hash(words, 7) == _torch.content_hash(words, 7)


def gat(machine: Machine) -> None:
    graph = make("skewed")
    csr, t_csr = (graph.indptr, graph.indices), transpose_csr(graph.indptr, graph.indices, graph.num_src)
    for heads, depth in ((3, 5), (2, 8)):
        x, grad = (reals(n, heads, depth, dtype=torch.float32) for n in (graph.num_src, graph.num_dst))
        edge, mask = (reals(graph.num_edges, heads, dtype=torch.float32, seed=s) for s in (1, 2))
        args: tuple[Any, ...] = x, x[..., 0], grad[..., 0], edge, mask, 0.2
        out, top, total = _torch.gat_forward(*csr, *args)
        torch.testing.assert_close(_cupy.gat_forward(*csr, *args), (out, top, total), rtol=1e-4, atol=1e-4)
        args = *args, top, total, grad, (grad * out).sum(-1)
        for ours, theirs, topology in (
            (_cupy.gat_backward_dst, _torch.gat_backward_dst, csr),
            (_cupy.gat_backward_src, _torch.gat_backward_src, t_csr),
        ):
            torch.testing.assert_close(ours(*topology, *args), theirs(*topology, *args), rtol=1e-4, atol=1e-4)


def gatv2(machine: Machine) -> None:
    graph = make("skewed")
    csr, t_csr = (graph.indptr, graph.indices), transpose_csr(graph.indptr, graph.indices, graph.num_src)
    for heads, depth in ((3, 5), (2, 8), (1, 35)):
        x, grad = (reals(n, heads, depth, dtype=torch.float32) for n in (graph.num_src, graph.num_dst))
        args: tuple[Any, ...] = x, grad, x[0], None, 0.2
        out, top, total = _torch.gatv2_forward(*csr, *args)
        torch.testing.assert_close(_cupy.gatv2_forward(*csr, *args), (out, top, total), rtol=1e-4, atol=1e-4)
        args = *args, top, total, grad, (grad * out).sum(-1)
        for ours, theirs, topology in (
            (_cupy.gatv2_backward_dst, _torch.gatv2_backward_dst, csr),
            (_cupy.gatv2_backward_src, _torch.gatv2_backward_src, t_csr),
        ):
            torch.testing.assert_close(ours(*topology, *args), theirs(*topology, *args), rtol=1e-4, atol=1e-4)


def gat_past_31_bits(machine: Machine) -> None:
    x = sparse(machine, (2**31 // 64 + 2, 1, 64), torch.float16)
    a_src = sparse(machine, (len(x), 1), torch.float32)
    x[-1] = 1
    csr = torch.tensor([0, 1]), torch.tensor([len(x) - 1])
    out, _, _ = _cupy.gat_forward(*csr, x, a_src, torch.zeros(1, 1), None, None, 0.2)
    assert out.eq(1).all()


NAMED = {  # what stands in the names of the kernels that a probe runs, where that is no kind of float
    **dict.fromkeys((gather, gather_cached, gather_past_31_bits, content_hash), "<"),
    **dict.fromkeys((sample, sample_past_31_bits, common_neighbors, common_neighbors_past_31_bits), "<int"),
    **dict.fromkeys((relabel, relabel_past_31_bits), "<long long"),
}


def kernels_of(probe: Probe) -> str:
    """Say what the names of the kernels hold that a probe runs."""
    return NAMED.get(probe, "<Half" if "past" in probe.__name__ else "<float")
