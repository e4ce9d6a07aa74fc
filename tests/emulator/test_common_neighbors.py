"""Common neighbours by the CUDA kernels are the reference's, for every order of threads, shape of rows and mask."""

from __future__ import annotations

import pytest
import torch
from machine import Machine
from torch import Tensor

from gnnkit.kernels import _cupy, _torch
from gnnkit.kernels._pair_sets import NAMES, PairSets, Rows

DTYPES = [torch.int32, torch.int64]


def rows(degrees: list[int], num_cols: int, dtype: torch.dtype, seed: int, *, masked: bool, nodes: Tensor) -> Rows:
    """Rows of these degrees with strictly increasing columns."""
    draw = torch.Generator().manual_seed(seed)
    indptr = torch.tensor([0, *degrees]).cumsum(0)
    parts = [torch.randperm(num_cols, generator=draw)[:degree].sort().values for degree in degrees]
    keep = torch.rand(int(indptr[-1]), generator=draw) < 0.6 if masked else None
    return Rows(indptr, torch.cat([indptr[:0], *parts]).to(dtype), keep, nodes)


def same(found: PairSets, expected: PairSets) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours is not None
        assert theirs is not None
        for actual, right in zip(ours, theirs, strict=True):
            assert (actual is None) == (right is None)
            if actual is not None:
                assert actual.dtype == right.dtype
                assert torch.equal(actual, right)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("masked", [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_every_length_on_either_side(
    machine: Machine, dtype: torch.dtype, masked: tuple[bool, bool], seed: int
) -> None:
    machine.seed = seed
    degrees = [0, 1, 31, 32, 33, 100, 7, 0, 64]
    pairs = torch.cartesian_prod(torch.arange(9), torch.arange(9)).t()
    a, b = (
        rows(degrees, 110, dtype, seed + k, masked=mask, nodes=nodes)
        for k, (mask, nodes) in enumerate(zip(masked, pairs, strict=True))
    )
    same(_cupy.common_neighbors(a, b, NAMES), _torch.common_neighbors(a, b, NAMES))


@pytest.mark.parametrize("num_pairs", [0, 1, 8, 9])
def test_few_pairs_of_one_graph(machine: Machine, num_pairs: int) -> None:
    nodes = torch.arange(num_pairs) % 3
    a = rows([3, 0, 40], 50, torch.int32, 0, masked=False, nodes=nodes)
    b = a._replace(nodes=nodes.flip(0))
    same(_cupy.common_neighbors(a, b, NAMES), _torch.common_neighbors(a, b, NAMES))


def test_only_what_is_asked_for_is_run(machine: Machine) -> None:
    a = rows([3, 0, 40], 50, torch.int32, 0, masked=False, nodes=torch.arange(3))
    found = _cupy.common_neighbors(a, a, ("both",))
    assert found.only_i is found.only_j is None
    assert machine.launched == ["count_members<int>", "write_members<int>"]


def test_a_pair_outside_the_graph_is_refused(machine: Machine) -> None:
    a = rows([3, 0, 40], 50, torch.int32, 0, masked=False, nodes=torch.tensor([3]))
    with pytest.raises(ValueError, match=r"^pairs\[0\]: expected ids in \[0, 3\) \(got 3\)$"):
        _cupy.common_neighbors(a, a, NAMES)
