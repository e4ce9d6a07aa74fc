"""Sampling by the CUDA kernels gives the reference's bits: entries, order and neighbours."""

from __future__ import annotations

import pytest
import torch
from graphs import Graph
from machine import Machine
from torch import Tensor

from gnnkit.kernels import _cupy, _torch

KEYS = (0, 1, 2**63 + 12345, 2**64 - 1)
FANOUTS = (0, 1, 2, 3, 10, 25, 40)  # shorter and longer than a warp
Drawn = tuple[Tensor, ...]


def equal(actual: Drawn, expected: Drawn) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def weights(graph: Graph, spread: float = 4.0, seed: int = 0) -> Tensor:
    """Draw positive weights, and give their running sums within each row."""
    draw = torch.Generator().manual_seed(seed)
    exponents = spread * torch.randn(graph.num_edges, generator=draw, dtype=torch.float64)
    sums = torch.empty_like(exponents)
    for begin, end in zip(graph.indptr[:-1].tolist(), graph.indptr[1:].tolist(), strict=True):
        sums[begin:end] = exponents[begin:end].exp().cumsum(0)
    return sums


def frontier(graph: Graph, count: int = 20) -> tuple[Tensor, Tensor]:
    """Draw rows, some of them several times."""
    rows = torch.randint(graph.num_dst, (count,), generator=torch.Generator().manual_seed(1))
    return graph.indptr[:-1][rows], graph.indptr[1:][rows]


@pytest.mark.parametrize("fanout", [-1, *FANOUTS])
@pytest.mark.parametrize("replace", [False, True])
def test_uniform_draws_are_the_references(machine: Machine, awkward: Graph, fanout: int, replace: bool) -> None:
    starts, ends = awkward.indptr[:-1], awkward.indptr[1:]
    for machine.seed, key in enumerate(KEYS):
        args = awkward.indices, starts, ends, fanout, key, replace, None
        equal(_cupy.sample_neighbors(*args), _torch.sample_neighbors(*args))


@pytest.mark.parametrize("fanout", [-1, *FANOUTS])
@pytest.mark.parametrize("replace", [False, True])
def test_weighted_draws_are_the_references(machine: Machine, awkward: Graph, fanout: int, replace: bool) -> None:
    starts, ends = awkward.indptr[:-1], awkward.indptr[1:]
    for machine.seed, key in enumerate(KEYS):
        args = awkward.indices, starts, ends, fanout, key, replace, weights(awkward, seed=key % 7)
        equal(_cupy.sample_neighbors(*args), _torch.sample_neighbors(*args))


@pytest.mark.parametrize("spread", [0.0, 40.0])
def test_equal_weights_and_weights_that_rounding_swallows(machine: Machine, awkward: Graph, spread: float) -> None:
    """Where all weight that is left lies on one side, or beyond what a sum can hold."""
    for fanout in (3, 25):
        for replace in (False, True):
            sums = weights(awkward, spread)
            args = awkward.indices, awkward.indptr[:-1], awkward.indptr[1:], fanout, 5, replace, sums
            equal(_cupy.sample_neighbors(*args), _torch.sample_neighbors(*args))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_in_any_order_and_cut_short(
    machine: Machine, awkward: Graph, dtype: torch.dtype, replace: bool, weighted: bool
) -> None:
    if not awkward.num_dst:
        return
    starts, ends = frontier(awkward)
    ends = torch.maximum(starts, ends - torch.arange(20) % 3)  # as a temporal sampler cuts them
    sums = weights(awkward) if weighted else None
    args = awkward.indices.to(dtype), starts, ends, 4, 99, replace, sums
    drawn = _cupy.sample_neighbors(*args)
    equal(drawn, _torch.sample_neighbors(*args))
    assert drawn[2].dtype == dtype


def test_rows_that_fill_several_blocks(machine: Machine) -> None:
    degrees = torch.randint(30, (700,), generator=torch.Generator().manual_seed(0))
    indptr = torch.cat([degrees.new_zeros(1), degrees.cumsum(0)])
    indices = torch.arange(int(indptr[-1]), dtype=torch.int32)
    for machine.seed, (fanout, replace) in enumerate([(-1, False), (5, False), (17, False), (5, True)]):
        args = indices, indptr[:-1], indptr[1:], fanout, 3, replace, None
        equal(_cupy.sample_neighbors(*args), _torch.sample_neighbors(*args))
    args = indices, indptr[:-1], indptr[1:], 5, 3, False, weights(Graph(indptr, indices, len(indices)))
    equal(_cupy.sample_neighbors(*args), _torch.sample_neighbors(*args))


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 11), (2**40, 2**40 + 1)])
def test_a_range_outside_the_entries_is_refused_and_not_followed(machine: Machine, start: int, end: int) -> None:
    starts, ends = torch.tensor([0, start]), torch.tensor([4, end])
    for fanout, replace, sums in ((-1, False, None), (2, False, None), (2, True, None), (2, False, torch.ones(10))):
        with pytest.raises(ValueError, match=rf"^starts and ends: .*\(got {start} to {end} at 1\)$"):
            _cupy.sample_neighbors(torch.arange(10), starts, ends, fanout, 0, replace, sums)
    assert machine.launched == []


def test_nothing_to_draw_launches_nothing(machine: Machine) -> None:
    empty = torch.tensor([], dtype=torch.int64)
    for args in (
        (torch.arange(3), empty, empty, 2),
        (empty, torch.tensor([0, 0]), torch.tensor([0, 0]), 2),
        (torch.arange(3), torch.tensor([0]), torch.tensor([3]), 0),
    ):
        indptr, entries, neighbors = _cupy.sample_neighbors(*args, 0, False, None)
        assert indptr.tolist() == [0] * (len(args[1]) + 1)
        assert entries.tolist() == neighbors.tolist() == []
    assert machine.launched == []


def test_sums_that_are_none_name_no_entry_outside_the_row(machine: Machine) -> None:
    starts, ends = torch.tensor([0, 4]), torch.tensor([4, 10])
    for wrong in (float("nan"), float("inf"), -1.0, 0.0):
        for replace in (False, True):
            sums = torch.full((10,), wrong, dtype=torch.float64)
            indptr, entries, _ = _cupy.sample_neighbors(torch.arange(10), starts, ends, 3, 7, replace, sums)
            row = torch.arange(2).repeat_interleave(indptr.diff())
            assert ((entries >= starts[row]) & (entries < ends[row])).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("replace", [False, True])
def test_whole_batches_are_the_references(machine: Machine, replace: bool, weighted: bool) -> None:
    degrees = torch.randint(9, (60,), generator=torch.Generator().manual_seed(0))
    indptr = torch.cat([degrees.new_zeros(1), degrees.cumsum(0)])
    indices = torch.randint(60, (int(indptr[-1]),), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    sums = weights(Graph(indptr, indices, 60)) if weighted else None
    for machine.seed, seeds in enumerate((torch.tensor([3, 59, 3, 0]), torch.arange(30, dtype=torch.int32))):
        local = torch.full((60,), -1, dtype=torch.int32)
        args = indptr, indices, seeds, [4, 3, -1], [5, 2**64 - 1, 0], replace, sums, local
        ours, theirs = _cupy.sample_hops(*args), _torch.sample_hops(*args)
        equal(ours[:4], theirs[:4])
        assert ours[4:] == theirs[4:]
        assert local.eq(-1).all()
