"""Threads change no bit, and callers may be threads or forked children."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset
from torch_geometric.utils import scatter

from gnnkit.kernels import (
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


def test_an_error_is_raised_when_no_helper_writes_any_more() -> None:
    """Or it would write into memory that the caller has given back."""
    started, ended, caller = threading.Event(), [], threading.get_ident()

    def loop(low: int, high: int) -> int:
        if threading.get_ident() == caller:
            assert started.wait(PATIENCE)
            raise KeyboardInterrupt
        started.set()
        time.sleep(0.2)
        ended.append(low)
        return 0

    with pytest.raises(KeyboardInterrupt):
        _threads.run(loop, list(range(9)), threads=2)
    assert len(ended) == 1  # it ended its part and began no other


def test_an_error_of_a_helper_is_raised() -> None:
    caller = threading.get_ident()

    def loop(low: int, high: int) -> int:
        if threading.get_ident() != caller:
            raise OSError("mine")
        time.sleep(0.05)
        return 0

    with pytest.raises(OSError, match="mine"):
        _threads.run(loop, list(range(9)), threads=2)
