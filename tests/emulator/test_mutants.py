"""The suite is worth what it catches: each source with one fault planted must be refused by a probe that it passes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lines
import pytest
import torch
from graphs import make, numbers, reals
from huge import sparse
from machine import EmulatorError, Machine, build

from gnnkit.kernels import _cupy, _cupy_gather, _launch, _torch, _walk, transpose_csr


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
        assert lines.count(machine, 75)["ours"] == 3.3125


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


Probe = Callable[[Machine], None]
WORDS = (gather, gather_cached, gather_past_31_bits, content_hash)  # of kernels that know no floats
PASSED: set[Probe] = set()  # by the sources as they are
MUTANTS: list[tuple[str, Probe, str, str]] = [
    # rows.cuh and graph.cuh, by way of spmm.cu
    ("spmm.cu", spmm, "shared[n * LANES] = acc[n];\n        __syncthreads();", "shared[n * LANES] = acc[n];"),
    ("spmm.cu", spmm, "            __syncthreads();\n        }", "        }"),
    ("spmm.cu", spmm, "if (row >= graph.rows) return;", "if (row > graph.rows) return;"),
    ("spmm.cu", spmm, "at.inside = at.feature < graph.features", "at.inside = at.feature <= graph.features"),
    ("spmm.cu", spmm, "__shfl_xor_sync(ALL_LANES, acc[n]", "__shfl_xor_sync(0x0000ffffu, acc[n]"),
    ("spmm.cu", spmm, "lane / graph.span;", "lane % graph.span;"),
    ("spmm.cu", spmm, "warp_in_block() * piece", "warp_in_block() * (piece + 1)"),
    ("spmm.cu", spmm, "c <= (end - 1) / graph.chunk", "c <= end / graph.chunk"),
    ("spmm.cu", spmm_past_31_bits, "x + graph.or_first(id) * graph", "x + (int)graph.or_first(id) * (int)graph"),
    ("extreme.cu", extreme, "col < num_cols; }", "col <= num_cols; }"),
    ("extreme.cu", extreme, "best[v] == 0 ? 1 : 0", "0"),
    ("extreme.cu", extreme, "shared[n * LANES] = acc[n];\n        __syncthreads();", "shared[n * LANES] = acc[n];"),
    ("sddmm.cu", sddmm, "__shfl_xor_sync(ALL_LANES, sum", "__shfl_xor_sync(ALL_LANES >> 1, sum"),
    ("sddmm.cu", sddmm, "bool some = item < end * graph.heads", "bool some = item <= end * graph.heads"),
    ("sddmm.cu", sddmm, "graph.indptr[row + 1] > entry) return", "graph.indptr[row + 1] >= entry) return"),
    ("sddmm.cu", sddmm_past_31_bits, "b + col * graph.features", "b + (int)col * (int)graph.features"),
    ("softmax.cu", softmax, "entry < part.high", "entry <= part.high"),
    ("softmax.cu", softmax, "if (!part.any || !at.inside) continue", "if (!part.any) continue"),
    ("softmax.cu", softmax, "            __syncthreads();\n        }", "        }"),
    ("gather.cu", gather, "% span - ahead", "% span + ahead"),
    ("gather.cu", gather, "from % 128 /", "from % 32 /"),
    ("gather.cu", gather, "unit > 0 ? unit : 0", "unit"),
    ("gather.cu", gather, "if (k >= num_ids)", "if (k > num_ids)"),
    ("gather.cu", gather, "ids, wide != 0}[slot]", "ids, wide != 0}[k]"),
    ("gather.cu", gather_past_31_bits, "table + row * units", "table + (int)row * (int)(units * sizeof(Unit)) / 16"),
    ("gather.cu", gather_cached, "-1 - place", "-place"),
    ("gather.cu", gather_cached, "row < num_rows", "row <= num_rows"),
    ("gat.cu", gat, "terms[k].some = entry < end", "terms[k].some = entry <= end"),
    (
        "gat.cu",
        gat,
        "__shfl_xor_sync(ALL_LANES, term.product, distance)",
        "__shfl_xor_sync(ALL_LANES, term.product, 1)",
    ),
    ("gat.cu", gat, "entries[k] = entry < end ? entry : base", "entries[k] = entry"),
    ("gat.cu", gat, "shared[n * LANES] = acc[n];\n        __syncthreads();", "shared[n * LANES] = acc[n];"),
    ("gat.cu", gat, "t.perm.data ? t.perm[entry] : entry", "entry"),
    ("gat.cu", gat_past_31_bits, "t.x + src * features", "t.x + (int)src * (int)features"),
    ("gatv2.cu", gatv2, "__shfl_xor_sync(ALL_LANES, term.score", "__shfl_xor_sync(0x00ffffffu, term.score"),
    ("gatv2.cu", gatv2, "if (!at.inside) term.score = term.product = 0;", ""),
    ("gatv2.cu", gatv2, "if (d != own) multiply", "multiply"),
    ("gatv2.cu", gatv2, "acc[v] * keep + share * other[v]", "acc[v] + other[v]"),
    ("hash.cu", content_hash, "= second;\n    __syncthreads();", "= second;"),
    ("hash.cu", content_hash, "k < count; k +=", "k <= count; k +="),
]


@pytest.fixture(scope="module")
def mutants(folder: Path, pool: ThreadPoolExecutor) -> dict[int, Future[Path]]:
    """The programs of all mutants, as many kernels in each as its probe needs."""
    programs = {}
    for number, (source, probe, right, wrong) in enumerate(MUTANTS):
        kernels = [kernel for kernel in _walk.instances()[source] if dtype_of(probe) in kernel]
        overflows = "(int)" in wrong
        programs[number] = pool.submit(build, folder, source, kernels, (right, wrong), undefined=overflows)
    return programs


def dtype_of(probe: Probe) -> str:
    """What stands in the names of the kernels that a probe runs."""
    if probe in WORDS:
        return "<"
    return "<Half" if "past" in probe.__name__ else "<float"


@pytest.mark.parametrize("number", range(len(MUTANTS)), ids=lambda n: f"{MUTANTS[n][0]}: {MUTANTS[n][2]}")
def test_a_planted_fault_is_caught(
    machine: Machine, mutants: dict[int, Future[Path]], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    source, probe, _, _ = MUTANTS[number]
    if probe not in PASSED:
        probe(machine)
        PASSED.add(probe)
    mutant = Machine({source: mutants[number].result()})
    monkeypatch.setattr(_launch, "run", mutant.run)
    try:
        with pytest.raises((EmulatorError, AssertionError)) as caught:
            probe(mutant)
        assert "not compiled" not in str(caught.value)
    finally:
        mutant.stop()


def test_every_source_has_a_mutant() -> None:
    assert {source for source, *_ in MUTANTS} == set(_walk.instances())
