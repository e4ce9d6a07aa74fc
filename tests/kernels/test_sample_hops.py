"""sample_hops: the one walk of the loops gives the bits of the operations in turn, and clears its table always."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.kernels import _torch_sample, sample_hops
from gnnkit.kernels._by_hops import by_hops


def graph_of(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A CSR over as many nodes as there are rows: indptr, indices, cumulative."""
    rng = torch.Generator().manual_seed(len(lengths))
    indptr = torch.tensor([0, *itertools.accumulate(lengths)])
    indices = torch.randint(0, len(lengths), (int(indptr[-1]),), generator=rng)
    weight = torch.rand(len(indices), dtype=torch.float64, generator=rng) + 0.01
    return indptr, indices, torch.cat([weight[:0], *(part.cumsum(0) for part in weight.split(lengths))])


@given(
    st.lists(st.one_of(st.integers(0, 6), st.sampled_from([40, 90])), min_size=1, max_size=150),
    st.lists(st.integers(0, 149), max_size=100),
    st.lists(
        st.tuples(st.one_of(st.integers(-1, 5), st.sampled_from([32, 33, 80])), st.integers(0, 2**64)), max_size=3
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([torch.int32, torch.int64]),
)
def test_loops_give_the_bits_of_the_reference_hop_by_hop(
    lengths: list[int],
    chosen: list[int],
    hops: list[tuple[int, int]],
    replace: bool,
    weighted: bool,
    dtype: torch.dtype,
) -> None:
    indptr, indices, cumulative = graph_of(lengths)
    seeds = torch.tensor([seed % len(lengths) for seed in chosen], dtype=dtype)
    fanouts, keys = [fanout for fanout, _ in hops], [key % 2**64 for _, key in hops]
    given_weights = cumulative if weighted else None
    local = torch.full((len(lengths),), -1, dtype=torch.int32)
    args = indptr, indices.to(dtype), seeds, fanouts, keys
    expected = by_hops(
        _torch_sample.sample_neighbors, _torch_sample.relabel, *args, replace, given_weights, local.clone()
    )
    found = sample_hops(*args, replace=replace, cumulative=given_weights, local=local)
    for theirs, ours in zip(expected[:4], found[:4], strict=True):
        assert ours.dtype == theirs.dtype == torch.int64
        assert torch.equal(ours, theirs)
    assert found[4:] == expected[4:]
    assert bool((local == -1).all())


def test_the_results_are_nobody_elses_memory() -> None:
    indptr, indices, _ = graph_of([3, 3, 3])
    seeds = torch.tensor([0, 1])
    nodes, *_ = sample_hops(indptr, indices, seeds, [], [])
    nodes[0] = 2
    assert seeds.tolist() == [0, 1]


def test_a_table_that_was_not_cleared_is_noticed(backend: str) -> None:
    indptr, indices, _ = graph_of([3, 3, 3])
    with pytest.raises(ValueError, match=r"^local: expected numbers below count = 0 \(got 7\)$"):
        sample_hops(indptr, indices, torch.tensor([0]), [2], [0], local=torch.full((3,), 7, dtype=torch.int32))
    local = torch.tensor([-1, 9], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"^local: expected numbers below count = 1 \(got 9\)$"):
        sample_hops(torch.tensor([0, 1, 1]), torch.tensor([1]), torch.tensor([0]), [1], [0], local=local)
    assert local.tolist() == [-1, 9]


GOOD: dict[str, Any] = {
    "indptr": torch.tensor([0, 1, 2]),
    "indices": torch.tensor([1, 0]),
    "seeds": torch.tensor([0]),
    "fanouts": [1],
    "keys": [0],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indptr": torch.tensor([0, 1, 3])}, None),  # of a row that nobody asks for
        ({"indptr": torch.tensor([0, 3, 3])}, "starts and ends: .*2 entries.*0 to 3 at 0"),
        ({"indptr": torch.tensor([1, 0, 2])}, "starts and ends: .*1 to 0 at 0"),
        ({"indices": torch.tensor([2, 0])}, r"ids: expected ids in \[0, 2\).*2"),
        ({"seeds": torch.tensor([2])}, r"ids: expected ids in \[0, 2\).*2"),
        ({"fanouts": [1, 1]}, "keys: expected 2.*1"),
        ({"fanouts": 3}, "fanouts: .*list.*int"),
        ({"keys": [True]}, "key: .*True"),
        ({"local": torch.full((3,), -1, dtype=torch.int32)}, r"local: .*\[2\].*\[3\]"),
    ],
)
def test_wrong_arguments_are_value_errors_and_the_table_is_cleared(
    backend: str, changes: dict[str, Any], message: str | None
) -> None:
    local = torch.full((2,), -1, dtype=torch.int32)
    args = {**GOOD, "local": local, **changes}
    if message is None:
        assert sample_hops(**args)[0].tolist() == [0, 1]
        return
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        sample_hops(**args)
    assert local.tolist() == [-1, -1]
