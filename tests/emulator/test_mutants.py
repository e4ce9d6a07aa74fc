"""The suite is worth what it catches: each source with one fault planted must be refused by a probe that it passes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import probes
import pytest
from machine import EmulatorError, Machine, build
from probes import Probe

from gnnkit.kernels import _launch, _walk

PASSED: set[Probe] = set()  # by the sources as they are
MUTANTS: list[tuple[str, Probe, str, str]] = [
    # rows.cuh and graph.cuh, by way of spmm.cu
    ("spmm.cu", probes.spmm, "shared[n * LANES] = acc[n];\n        __syncthreads();", "shared[n * LANES] = acc[n];"),
    ("spmm.cu", probes.spmm, "            __syncthreads();\n        }", "        }"),
    ("spmm.cu", probes.spmm, "if (row >= graph.rows) return;", "if (row > graph.rows) return;"),
    ("spmm.cu", probes.spmm, "at.inside = at.feature < graph.features", "at.inside = at.feature <= graph.features"),
    ("spmm.cu", probes.spmm, "__shfl_xor_sync(ALL_LANES, acc[n]", "__shfl_xor_sync(0x0000ffffu, acc[n]"),
    ("spmm.cu", probes.spmm, "lane / graph.span;", "lane % graph.span;"),
    ("spmm.cu", probes.spmm, "warp_in_block() * piece", "warp_in_block() * (piece + 1)"),
    ("spmm.cu", probes.spmm, "c <= (end - 1) / graph.chunk", "c <= end / graph.chunk"),
    ("spmm.cu", probes.spmm_past_31_bits, "x + graph.or_first(id) * graph", "x + (int)graph.or_first(id) * (int)graph"),
    ("extreme.cu", probes.extreme, "col < num_cols; }", "col <= num_cols; }"),
    ("extreme.cu", probes.extreme, "best[v] == 0 ? 1 : 0", "0"),
    (
        "extreme.cu",
        probes.extreme,
        "shared[n * LANES] = acc[n];\n        __syncthreads();",
        "shared[n * LANES] = acc[n];",
    ),
    ("sddmm.cu", probes.sddmm, "__shfl_xor_sync(ALL_LANES, sum", "__shfl_xor_sync(ALL_LANES >> 1, sum"),
    ("sddmm.cu", probes.sddmm, "bool some = item < end * graph.heads", "bool some = item <= end * graph.heads"),
    ("sddmm.cu", probes.sddmm, "graph.indptr[row + 1] > entry) return", "graph.indptr[row + 1] >= entry) return"),
    ("sddmm.cu", probes.sddmm_past_31_bits, "b + col * graph.features", "b + (int)col * (int)graph.features"),
    ("softmax.cu", probes.softmax, "entry < part.high", "entry <= part.high"),
    ("softmax.cu", probes.softmax, "if (!part.any || !at.inside) continue", "if (!part.any) continue"),
    ("softmax.cu", probes.softmax, "            __syncthreads();\n        }", "        }"),
    ("gather.cu", probes.gather, "% span - ahead", "% span + ahead"),
    ("gather.cu", probes.gather, "from % 128 /", "from % 32 /"),
    ("gather.cu", probes.gather, "unit > 0 ? unit : 0", "unit"),
    ("gather.cu", probes.gather, "if (k >= num_ids)", "if (k > num_ids)"),
    ("gather.cu", probes.gather, "ids, wide != 0}[slot]", "ids, wide != 0}[k]"),
    (
        "gather.cu",
        probes.gather_past_31_bits,
        "table + row * units",
        "table + (int)row * (int)(units * sizeof(Unit)) / 16",
    ),
    ("gather.cu", probes.gather_cached, "-1 - place", "-place"),
    ("gather.cu", probes.gather_cached, "row < num_rows", "row <= num_rows"),
    ("sample.cu", probes.sample, "if (m >= count)", "if (m > count)"),
    ("sample.cu", probes.sample, "below(draw(stream, j), last + 1)", "below(draw(stream, j), last)"),
    ("sample.cu", probes.sample, "taken) & group", "taken)"),
    ("sample.cu", probes.sample, "draws && j % span == lane", "draws"),
    ("sample.cu", probes.sample, "position > 0 ? sums[position - 1] : 0", "sums[position - 1]"),
    ("sample.cu", probes.sample, "if (++pick == degree) pick = place = 0;", "++pick;"),
    ("sample.cu", probes.sample, "low = middle + 1", "low = middle + 2"),
    ("sample.cu", probes.sample_past_31_bits, "= indices[entry]", "= indices[(int)entry]"),
    (
        "relabel.cu",
        probes.relabel,
        "atomicMin(local + id, FIRST + (unsigned)i)",
        "local[id] = FIRST + (unsigned)i < local[id] ? FIRST + (unsigned)i : local[id]",
    ),
    ("relabel.cu", probes.relabel, "id < num_nodes) atomicMin", "id <= num_nodes) atomicMin"),
    ("relabel.cu", probes.relabel, "? first == i : WRONG", "? 1 : WRONG"),
    ("relabel.cu", probes.relabel, "if (first == i)", ""),
    ("relabel.cu", probes.relabel, "if (n < count)", "if (n <= count)"),
    ("relabel.cu", probes.relabel_past_31_bits, "(local + id,", "(local + (int)id,"),
    ("common_neighbors.cu", probes.common_neighbors, "middle + 1", "middle + 2"),
    ("common_neighbors.cu", probes.common_neighbors, "low < end && ", ""),
    ("common_neighbors.cu", probes.common_neighbors, "== column && counts(low)", "== column"),
    ("common_neighbors.cu", probes.common_neighbors, "entry >= walked.end ||", "entry > walked.end ||"),
    ("common_neighbors.cu", probes.common_neighbors, "(1u << lane) - 1", "(2u << lane) - 1"),
    ("common_neighbors.cu", probes.common_neighbors, "walk.flip ? place : entry", "entry"),
    ("common_neighbors.cu", probes.common_neighbors, "if (lane == 0) counts[p]", "counts[p]"),
    (
        "common_neighbors.cu",
        probes.common_neighbors_past_31_bits,
        "indices[low] == column",
        "indices[(int)low] == column",
    ),
    ("gat.cu", probes.gat, "terms[k].some = entry < end", "terms[k].some = entry <= end"),
    (
        "gat.cu",
        probes.gat,
        "__shfl_xor_sync(ALL_LANES, term.product, distance)",
        "__shfl_xor_sync(ALL_LANES, term.product, 1)",
    ),
    ("gat.cu", probes.gat, "entries[k] = entry < end ? entry : base", "entries[k] = entry"),
    ("gat.cu", probes.gat, "shared[n * LANES] = acc[n];\n        __syncthreads();", "shared[n * LANES] = acc[n];"),
    ("gat.cu", probes.gat, "t.perm.data ? t.perm[entry] : entry", "entry"),
    ("gat.cu", probes.gat_past_31_bits, "t.x + src * features", "t.x + (int)src * (int)features"),
    ("gatv2.cu", probes.gatv2, "__shfl_xor_sync(ALL_LANES, term.score", "__shfl_xor_sync(0x00ffffffu, term.score"),
    ("gatv2.cu", probes.gatv2, "if (!at.inside) term.score = term.product = 0;", ""),
    ("gatv2.cu", probes.gatv2, "if (d != own) multiply", "multiply"),
    ("gatv2.cu", probes.gatv2, "acc[v] * keep + share * other[v]", "acc[v] + other[v]"),
    ("hash.cu", probes.content_hash, "= second;\n    __syncthreads();", "= second;"),
    ("hash.cu", probes.content_hash, "k < count; k +=", "k <= count; k +="),
]


@pytest.fixture(scope="module")
def mutants(folder: Path, pool: ThreadPoolExecutor) -> dict[int, Future[Path]]:
    """The programs of all mutants, as many kernels in each as its probe needs."""
    programs = {}
    for number, (source, probe, right, wrong) in enumerate(MUTANTS):
        kernels = [kernel for kernel in _walk.instances()[source] if probes.kernels_of(probe) in kernel]
        overflows = "(int)" in wrong
        programs[number] = pool.submit(build, folder, source, kernels, (right, wrong), undefined=overflows)
    return programs


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
