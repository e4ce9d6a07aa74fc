"""Threads change no bit, callers may be threads or forked children, and the parts are fair."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset
from torch_geometric.utils import scatter

from gnnkit.kernels import (
    _loops_attention,
    _loops_edges,
    _loops_spmm,
    _threads,
    gat_attention,
    gather_rows,
    gatv2_attention,
    sddmm,
    segment_reduce,
    segment_softmax,
    spmm,
    transpose_csr,
)

NUM_NODES, NUM_EDGES = 400, 6000
PATIENCE = 60  # seconds until a child counts as hung


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads, and set it back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small graph below be cut into as many parts as a large one."""
    monkeypatch.setenv("GNNKIT_BACKEND", "numba")
    monkeypatch.setattr(_threads, "GRAIN", 512)


def power_law(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Draw indptr, indices and the destination of each entry; a few nodes own most of the edges."""
    generator = torch.Generator().manual_seed(seed)
    skewed = torch.rand(2, NUM_EDGES, generator=generator) ** 3
    src, dst = (skewed * NUM_NODES).long()
    dst = dst.sort().values
    indptr = torch.cat([torch.zeros(1).long(), torch.bincount(dst, minlength=NUM_NODES).cumsum(0)])
    return indptr, src, dst


def everything(seed: int = 0) -> list[Tensor]:
    """Run every operation forward and backward, and return all that came out."""
    generator = torch.Generator().manual_seed(seed)
    indptr, indices, _ = power_law(seed)
    x = torch.randn(NUM_NODES, 2, 5, generator=generator)
    values = torch.randn(NUM_EDGES, 2, generator=generator)
    results: list[Tensor] = []

    def keep(function: Callable[..., Tensor], *inputs: Tensor) -> None:
        inputs = tuple(t.requires_grad_() for t in inputs)
        out = function(*inputs)
        grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        results.extend([out.detach(), *torch.autograd.grad(out, inputs, grad)])

    for reduce in ("sum", "mean", "max", "min"):
        # rounded, so that there are ties to share
        rounded = x.detach().round() if reduce in ("max", "min") else x.detach()
        signs = values.detach().sign() if reduce in ("max", "min") else values.detach()
        keep(lambda x, v, reduce=reduce: spmm(indptr, indices, x, v, reduce), rounded.clone(), signs.clone())
        keep(lambda v, reduce=reduce: segment_reduce(v, indptr, reduce), values.detach().clone())
    keep(lambda a, b: sddmm(indptr, indices, a, b), x.detach().clone(), x.detach().flip(0).clone())
    keep(lambda v: segment_softmax(v, indptr), values.detach().clone())
    mask = (values > 0).float()
    ends = (values[:NUM_NODES].clone(), values[NUM_NODES : 2 * NUM_NODES].clone(), values.clone())
    keep(lambda x, s, d, e: gat_attention(indptr, indices, x, s, d, e, mask=mask), x.clone(), *ends)
    keep(lambda x, y, a: gatv2_attention(indptr, indices, x, y, a), x.clone(), x.flip(0).clone(), x[0].clone())
    keep(lambda t: gather_rows(t, indices), x.detach().clone())
    results.extend(transpose_csr(indptr, indices, NUM_NODES))
    return results


# ------------------------------------------------------------------ determinism


@pytest.mark.usefixtures("many_parts")
def test_results_are_the_same_bits_for_any_number_of_threads_and_in_every_run(
    set_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[int] = []
    run = _threads.run

    def counting(loop: Callable[..., int], bounds: list[int], *args: object) -> int:
        parts.append(len(bounds) - 1)
        return run(loop, bounds, *args)

    monkeypatch.setattr("gnnkit.kernels._arrays.run", counting)
    set_threads(1)
    expected = everything()
    assert set(parts) == {1}
    for threads in (2, 2, 2, 3, 1):
        set_threads(threads)
        parts.clear()
        assert all(torch.equal(got, want) for got, want in zip(everything(), expected, strict=True)), (
            f"{threads} threads"
        )
        assert (min(parts) > threads) == (threads > 1)  # more than one part for each thread


def test_the_reference_gives_the_same_bits_for_any_number_of_threads(
    set_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNNKIT_BACKEND", "torch")
    set_threads(1)
    expected = everything()
    for threads in (2, 1, 2):
        set_threads(threads)
        assert all(torch.equal(got, want) for got, want in zip(everything(), expected, strict=True))


# ------------------------------------------------------------------ callers that are threads


@pytest.mark.usefixtures("many_parts")
def test_concurrent_callers_get_their_own_right_results(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    expected = [everything(seed) for seed in range(4)]
    together = threading.Barrier(4)

    def caller(seed: int) -> list[list[Tensor]]:
        together.wait(PATIENCE)
        return [everything(seed) for _ in range(3)]

    with ThreadPoolExecutor(4) as callers:
        for want, repeats in zip(expected, callers.map(caller, range(4)), strict=True):
            for got in repeats:
                assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.usefixtures("many_parts")
def test_one_callers_error_is_its_own(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    indptr, indices, dst = power_law()
    x = torch.randn(NUM_NODES, 8, generator=torch.Generator().manual_seed(0))
    wrong = indices.clone()
    wrong[-1] = NUM_NODES
    expected = scatter(x[indices], dst, 0, NUM_NODES)

    def caller(which: int) -> None:
        for _ in range(10):
            if which % 2:
                with pytest.raises(ValueError, match=rf"\(got {NUM_NODES}\)$"):
                    spmm(indptr, wrong, x)
            else:
                assert_close(spmm(indptr, indices, x), expected, rtol=1e-4, atol=1e-4)

    with ThreadPoolExecutor(4) as callers:
        assert list(callers.map(caller, range(4))) == [None] * 4


# ------------------------------------------------------------------ callers that are forked children


def report_sum(pipe: multiprocessing.connection.Connection) -> None:
    """In a child: aggregate with two threads and send the result as numbers."""
    indptr, indices, _ = power_law()
    pipe.send(
        (
            _threads._num_parts(NUM_EDGES * 8, NUM_NODES),
            spmm(indptr, indices, torch.ones(NUM_NODES, 8)).tolist(),
        )
    )
    pipe.close()


# Python 3.12 warns of any fork beside threads: that it works is what is tested
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.usefixtures("many_parts")
def test_a_forked_child_aggregates_after_its_parent_did(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    indptr, indices, _ = power_law()
    expected = spmm(indptr, indices, torch.ones(NUM_NODES, 8))  # the parent's threads are running now
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=report_sum, args=(there,), daemon=True)
    child.start()
    there.close()
    try:
        assert here.poll(PATIENCE), "the child hangs"
        parts, result = here.recv()
        assert parts > 2
        assert result == expected.tolist()
        child.join(PATIENCE)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        child.close()
        here.close()


class Sums(Dataset[Tensor]):
    """Item k is the aggregate of k times the ones."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, k: int) -> Tensor:
        torch.set_num_threads(2)  # the loader sets 1, and one thread needs no pool
        indptr, indices, _ = power_law()
        return spmm(indptr, indices, torch.full((NUM_NODES, 8), float(k)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine with one core
@pytest.mark.usefixtures("many_parts")
def test_forked_loader_workers_aggregate_after_their_parent_did(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    expected = torch.stack([Sums()[k] for k in range(4)])
    loader = DataLoader(Sums(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=PATIENCE)
    assert torch.equal(torch.stack(list(loader)), expected)


# ------------------------------------------------------------------ how the work is cut

degree_lists = st.lists(st.integers(0, 40), max_size=40)
grains = st.integers(1, 64)


def bounds_of(function: Callable[[], list[int]], threads: int, grain: int) -> list[int]:
    """Cut with another number of threads and another grain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        patch.setattr(_threads, "GRAIN", grain)
        return function()


def assert_covers(bounds: list[int], num_rows: int) -> None:
    """Every row is in exactly one part."""
    assert bounds[0] == 0
    assert bounds[-1] == num_rows
    assert bounds == sorted(bounds)


@given(degree_lists, st.integers(0, 9), st.integers(1, 4), grains)
def test_edge_bounds_cover_all_rows_and_balance_edges(degrees: list[int], width: int, threads: int, grain: int) -> None:
    indptr = np.cumsum([0, *degrees])
    bounds = bounds_of(lambda: _threads.edge_bounds(indptr, sum(degrees), width), threads, grain)
    assert_covers(bounds, len(degrees))
    costs = [int(indptr[high] - indptr[low]) + high - low for low, high in pairwise(bounds)]
    largest_row = max(degrees, default=0) + 1
    assert max(costs) <= (sum(degrees) + len(degrees)) / len(costs) + 1 + largest_row


@given(st.integers(2, 60), st.integers(0, 59), st.integers(100, 500), st.integers(2, 4))
def test_a_hub_with_all_the_edges_leaves_the_other_rows_to_other_parts(
    num_rows: int, hub: int, degree: int, threads: int
) -> None:
    hub = hub % num_rows
    indptr = np.where(np.arange(num_rows + 1) > hub, degree, 0)
    bounds = bounds_of(lambda: _threads.edge_bounds(indptr, degree, 1), threads, 1)
    assert_covers(bounds, num_rows)
    ((low, high),) = [(low, high) for low, high in pairwise(bounds) if low <= hub < high]
    fair = (degree + num_rows) / (len(bounds) - 1)
    assert high - low <= fair + 2


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 4), grains)
def test_edge_bounds_of_corrupt_pointers_still_give_every_row_to_one_part(
    pointers: list[int], width: int, threads: int, grain: int
) -> None:
    def cut() -> list[int]:
        return _threads.edge_bounds(np.array(pointers, dtype=np.int32), abs(pointers[-1]), width)

    assert_covers(bounds_of(cut, threads, grain), len(pointers) - 1)


@given(st.integers(0, 500), st.integers(0, 9), st.integers(1, 4), grains)
def test_even_bounds_cover_all_rows_in_parts_that_differ_by_one(
    num_rows: int, width: int, threads: int, grain: int
) -> None:
    bounds = bounds_of(lambda: _threads.even_bounds(num_rows, width), threads, grain)
    assert_covers(bounds, num_rows)
    sizes = [high - low for low, high in pairwise(bounds)]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 64))
def test_parts_are_worth_their_thread_and_no_more_than_rows(operations: int, num_rows: int, threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        parts = _threads._num_parts(operations, num_rows)
    assert 1 <= parts <= max(1, num_rows)
    if threads == 1:
        assert parts == 1
    if parts > 1:
        assert operations / parts >= _threads.GRAIN


def test_run_serves_every_part_once_and_returns_the_largest_status(
    set_threads: Callable[[int], None],
) -> None:
    set_threads(3)
    seen: list[tuple[int, int, str]] = []

    def loop(low: int, high: int, name: str) -> int:
        seen.append((low, high, name))
        return int(low == 4)

    assert _threads.run(loop, [0, 2, 2, 4, 9, 11], "a") == 1
    assert sorted(seen) == [(0, 2, "a"), (2, 4, "a"), (4, 9, "a"), (9, 11, "a")]
    assert _threads.run(loop, [0, 2], "b") == 0
    assert _threads.run(loop, [0], "c") == 0
    assert _threads.run(loop, [], "d") == 0


@pytest.mark.parametrize("bad", [0, 3, 5])
def test_run_passes_on_what_a_part_raises(set_threads: Callable[[int], None], bad: int) -> None:
    set_threads(2)

    def loop(low: int, high: int) -> int:
        if low == bad:
            raise MemoryError("of one part")
        return 0

    with pytest.raises(MemoryError, match="of one part"):
        _threads.run(loop, list(range(8)))


# ------------------------------------------------------------------ what a part refuses by itself

DEPTH = 3
X, OUT, PER_EDGE, PER_NODE = (np.ones(shape, dtype=np.float32) for shape in ((2, 3), (2, 3), (3, 1), (2, 1)))
ATT, ENDS = np.ones((1, 3), dtype=np.float32), np.ones((2, 4), dtype=np.float32)
PERM = np.arange(3)
SCRATCH = np.empty((2 + 2 * 3, 1), dtype=np.float32)  # see gnnkit.kernels._arrays.with_scratch
GAT = X, PER_NODE, PER_NODE, PER_EDGE, PER_EDGE, 0.2, DEPTH
GATV2 = X, X, ATT, PER_EDGE, 0.2, DEPTH
LOOPS: dict[Any, tuple[object, ...]] = {
    _loops_spmm.spmm_sum: (X, PER_EDGE, DEPTH, False, OUT),
    _loops_spmm.spmm_extreme: (X, PER_EDGE, DEPTH, True, OUT),
    _loops_spmm.extreme_ties: (X, PER_EDGE, DEPTH, X, OUT),
    _loops_spmm.spmm_masked: (X, PER_EDGE, X, X, PER_EDGE, DEPTH, True, OUT),
    _loops_edges.sddmm: (X, X, DEPTH, PER_EDGE.copy()),
    _loops_edges.sddmm_masked: (X, X, X, X, PER_EDGE, DEPTH, PER_EDGE.copy()),
    _loops_edges.segment_softmax: (PER_EDGE, PER_EDGE.copy(), SCRATCH),
    _loops_edges.segment_softmax_backward: (PER_EDGE, PER_EDGE, PER_EDGE.copy()),
    _loops_attention.gat_forward: (*GAT, OUT, PER_NODE.copy(), PER_NODE.copy(), SCRATCH),
    _loops_attention.gat_backward_dst: (
        *(*GAT, PER_NODE, PER_NODE, X, PER_NODE),
        *(PER_NODE.copy(), PER_EDGE.copy(), SCRATCH),
    ),
    _loops_attention.gat_backward_src: (
        *(PERM, X, PER_NODE, ENDS, PER_EDGE, PER_EDGE, 0.2, DEPTH),
        *(X, OUT, PER_NODE.copy(), SCRATCH),
    ),
    _loops_attention.gatv2_forward: (*GATV2, OUT, PER_NODE.copy(), PER_NODE.copy(), SCRATCH),
    _loops_attention.gatv2_backward_dst: (
        *(*GATV2, PER_NODE, PER_NODE, X, PER_NODE),
        *(OUT, ATT.copy(), np.array([0, 1]), SCRATCH),
    ),
    _loops_attention.gatv2_backward_src: (PERM, X, X, ATT, ENDS, PER_EDGE, 0.2, DEPTH, X, OUT, SCRATCH),
}
SEGMENTS = _loops_edges.segment_softmax, _loops_edges.segment_softmax_backward


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("pointers", [[0, 9], [9, 10], [-2, 1], [2, 1], [0, 4]], ids=str)
def test_every_loop_refuses_pointers_that_leave_the_entries_before_it_follows_them(
    loop: Any, pointers: list[int]
) -> None:
    """In time, and not by the row pointer that falls back to E in a later part."""
    indices = np.zeros(32, dtype=np.int64)[8:11]  # a step outside would read a valid index, not crash
    tables = () if loop in SEGMENTS else (indices,)
    assert loop(0, 1, np.array([0, 3]), *tables, *LOOPS[loop]) == 0
    assert loop(0, 1, np.array(pointers), *tables, *LOOPS[loop]) == 1


@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop not in SEGMENTS], ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("index", [-1, 2], ids=str)
def test_every_loop_refuses_an_index_outside_its_table(loop: Any, index: int) -> None:
    indices = np.array([0, 1, index])
    assert loop(0, 1, np.array([0, 2]), indices, *LOOPS[loop]) == 0
    assert loop(0, 1, np.array([0, 3]), indices, *LOOPS[loop]) == 1


@pytest.mark.parametrize("index", [-1, 3], ids=str)
@pytest.mark.parametrize("loop", [_loops_attention.gat_backward_src, _loops_attention.gatv2_backward_src])
def test_walks_of_the_transpose_refuse_a_wrong_permutation(loop: Any, index: int) -> None:
    _, *rest = LOOPS[loop]
    args = np.array([0, 3]), np.array([0, 1, 1])
    assert loop(0, 1, *args, np.array([0, 1, 2]), *rest) == 0
    assert loop(0, 1, *args, np.array([0, 1, index]), *rest) == 1
