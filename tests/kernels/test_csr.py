"""group_by and transpose_csr: stable sorts, and a transpose that carries values over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.kernels import group_by, transpose_csr
from gnnkit.kernels._csr import row_of_entry


@given(
    st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=30))),
    st.sampled_from([torch.int32, torch.int64]),
    st.sampled_from(["torch", "numba"]),
)
def test_group_by_is_a_stable_sort(case: tuple[int, list[int]], dtype: torch.dtype, name: str) -> None:
    num_groups, keys = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNKIT_BACKEND", name)
        indptr, perm = group_by(torch.tensor(keys, dtype=dtype), num_groups)
    assert (indptr.dtype, perm.dtype) == (torch.int64, torch.int64)
    assert perm.tolist() == sorted(range(len(keys)), key=keys.__getitem__)  # Python's sort is stable
    assert indptr.tolist() == [sum(key < group for key in keys) for group in range(num_groups + 1)]


def test_no_keys_give_empty_groups(backend: str) -> None:
    for num_groups in (0, 3):
        indptr, perm = group_by(torch.empty(0, dtype=torch.int64), num_groups)
        assert indptr.tolist() == [0] * (num_groups + 1)
        assert perm.shape == (0,)


def test_keys_may_have_strides_and_are_left_alone(backend: str) -> None:
    keys = torch.tensor([2, 9, 0, 9, 2, 9])[::2]
    indptr, perm = group_by(keys, 3)
    assert (indptr.tolist(), perm.tolist()) == ([0, 1, 1, 3], [1, 0, 2])
    assert keys.tolist() == [2, 0, 2]


@pytest.mark.parametrize(("keys", "num_groups"), [([0, 3], 3), ([-1, 0], 3), ([0], 0), ([2**31], 5)], ids=str)
def test_a_key_outside_the_groups_is_a_value_error(backend: str, keys: list[int], num_groups: int) -> None:
    with pytest.raises(ValueError, match=rf"^keys: expected ids in \[0, {num_groups}\) \(got -?\d+\)$"):
        group_by(torch.tensor(keys), num_groups)


@pytest.mark.parametrize(
    ("keys", "num_groups", "message"),
    [
        (torch.tensor([0.0]), 1, "keys: .*float32"),
        (torch.tensor([[0]]), 1, r"keys: .*\[1, 1\]"),
        ([0], 1, "keys: .*list"),
        (torch.tensor([0]), -1, "num_groups: .*-1"),
    ],
)
def test_wrong_arguments_are_value_errors(backend: str, keys: Any, num_groups: int, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        group_by(keys, num_groups)


def dense(indptr: Tensor, indices: Tensor, num_cols: int, values: Tensor) -> Tensor:
    """Write a CSR out; parallel entries add up."""
    rows = torch.arange(len(indptr) - 1).repeat_interleave(indptr.diff())
    matrix = torch.zeros(len(indptr) - 1, num_cols, dtype=values.dtype)
    return matrix.index_put_((rows, indices.long()), values, accumulate=True)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_the_transpose_is_that_of_the_dense_matrix_and_carries_values(
    backend: str, graph: Any, dtype: torch.dtype
) -> None:
    values = 2.0 ** torch.arange(graph.num_edges, dtype=torch.float64)  # every sum of some is different
    t_indptr, t_indices, t_perm = transpose_csr(graph.indptr, graph.src.to(dtype), graph.num_src)
    assert t_indices.dtype == dtype
    straight = dense(graph.indptr, graph.src, graph.num_src, values)
    assert torch.equal(dense(t_indptr, t_indices, graph.num_dst, values[t_perm]), straight.t())


def test_entries_of_a_source_keep_their_order(backend: str, graph: Any) -> None:
    t_indptr, t_indices, t_perm = transpose_csr(graph.indptr, graph.src, graph.num_src)
    assert t_perm.tolist() == sorted(range(graph.num_edges), key=graph.src.tolist().__getitem__)
    assert torch.equal(t_indices, graph.dst[t_perm])
    assert torch.equal(t_indptr.diff(), torch.bincount(graph.src, minlength=graph.num_src))


def test_transposing_twice_sorts_every_row_by_source(backend: str, graph: Any) -> None:
    t_indptr, t_indices, t_perm = transpose_csr(graph.indptr, graph.src, graph.num_src)
    indptr, indices, perm = transpose_csr(t_indptr, t_indices, graph.num_dst)
    assert torch.equal(indptr, graph.indptr)
    assert torch.equal(indices, graph.src[t_perm[perm]])
    pairs = list(zip(graph.dst.tolist(), graph.src.tolist(), strict=True))
    assert t_perm[perm].tolist() == sorted(range(graph.num_edges), key=pairs.__getitem__)


@pytest.mark.parametrize(
    ("pointers", "indices", "num_src", "message"),
    [
        ([0, 1], [3], 3, "keys: .*3"),
        ([0, 2], [0], 3, "indptr: .*0 to the 1 edges.*0 to 2"),
        ([0, 2, 1, 3], [0, 0, 0], 3, "indptr: .*non-decreasing.*2 then 1 at row 1"),
        ([], [], 3, "indptr: .*at least 1"),
        ([0], [], -1, "num_src: .*-1"),
    ],
)
def test_what_is_no_csr_is_a_value_error(
    backend: str, pointers: list[int], indices: list[int], num_src: int, message: str
) -> None:
    long = torch.int64
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        transpose_csr(torch.tensor(pointers, dtype=long), torch.tensor(indices, dtype=long), num_src)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_row_of_entry_repeats_each_row_by_its_length(graph: Any, dtype: torch.dtype) -> None:
    rows = row_of_entry(graph.indptr, graph.src.to(dtype))
    assert rows.dtype == dtype
    assert torch.equal(rows.long(), graph.dst)
