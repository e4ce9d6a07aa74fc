"""Numbering nodes by the CUDA kernels gives the reference's labels, order and table, for every order of threads."""

from __future__ import annotations

import pytest
import torch
from machine import Machine
from torch import Tensor

from gnnkit.kernels import _cupy, _torch


def both(local: Tensor, count: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Number on both backends, compare, and leave the table written."""
    expected = local.clone()
    theirs = _torch.relabel(expected, count, ids)
    ours = _cupy.relabel(local, count, ids)
    for actual, right in zip((*ours, local), (*theirs, expected), strict=True):
        assert actual.dtype == right.dtype
        assert torch.equal(actual, right)
    return ours


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_nodes", [1, 7, 300, 5000])
def test_three_calls_on_one_table(machine: Machine, dtype: torch.dtype, seed: int, num_nodes: int) -> None:
    machine.seed = seed
    draw, count = torch.Generator().manual_seed(seed), 0
    local = torch.full((num_nodes,), -1, dtype=torch.int32)
    for size in (5, 1000, 300):
        ids = torch.randint(num_nodes, (size,), generator=draw).to(dtype)
        _, new = both(local, count, ids)
        count += len(new)
    assert local[local >= 0].sort().values.tolist() == list(range(count))


def test_numbers_follow_the_first_appearance(machine: Machine) -> None:
    local = torch.full((10,), -1, dtype=torch.int32)
    labels, new = both(local, 0, torch.tensor([7, 3, 7, 9]))
    assert (labels.tolist(), new.tolist()) == ([0, 1, 0, 2], [7, 3, 9])
    labels, new = both(local, 3, torch.tensor([9, 9, 1, 3, 1]))
    assert (labels.tolist(), new.tolist()) == ([2, 2, 3, 1, 3], [1])
    labels, new = both(local, 4, torch.tensor([1, 7]))  # none is new
    assert (labels.tolist(), new.tolist()) == ([3, 0], [])
    labels, new = both(local, 4, torch.tensor([], dtype=torch.int32))
    assert (labels.tolist(), new.tolist()) == ([], [])


def test_labels_up_to_the_largest(machine: Machine) -> None:
    local = torch.tensor([2**31 - 9, -1, -1], dtype=torch.int32)
    labels, _ = both(local, 2**31 - 8, torch.tensor([2, 0, 1]))
    assert labels.tolist() == [2**31 - 8, 2**31 - 9, 2**31 - 7]


@pytest.mark.parametrize("bad", [5, -1, 2**40])
def test_an_id_outside_the_table_is_refused_and_nothing_is_written(machine: Machine, bad: int) -> None:
    local = torch.tensor([-1, 0, -1, 1, -1], dtype=torch.int32)
    with pytest.raises(ValueError, match=rf"^ids: expected ids in \[0, 5\) \(got {bad}\)$"):
        _cupy.relabel(local, 2, torch.tensor([4, 0, bad, 3]))
    assert local.tolist() == [-1, 0, -1, 1, -1]


def test_a_label_that_was_not_given_is_refused(machine: Machine) -> None:
    local = torch.tensor([-1, 0, -1, 7, -1], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"^local: expected numbers below count = 2 \(got 7\)$"):
        _cupy.relabel(local, 2, torch.tensor([4, 0, 3]))
    assert local.tolist() == [-1, 0, -1, 7, -1]


@pytest.mark.parametrize("other", [-(2**31), -(2**31) + 1])
def test_a_negative_number_that_could_be_a_position_is_refused(machine: Machine, other: int) -> None:
    local = torch.tensor([-1, 0, -1, other, -1], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"^local: expected -1 for ids that have no number \(got another negative"):
        _cupy.relabel(local, 2, torch.tensor([4, 0, 1, 3]))
