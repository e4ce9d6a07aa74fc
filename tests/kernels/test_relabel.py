"""relabel: labels index what was known and what is new, in the order of first appearance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnnkit.kernels import relabel

NUM_NODES = 12
NODES = st.lists(st.integers(0, NUM_NODES - 1), max_size=30)


def table(known: list[int]) -> torch.Tensor:
    local = torch.full((NUM_NODES,), -1, dtype=torch.int32)
    local[torch.tensor(known, dtype=torch.int64)] = torch.arange(len(known), dtype=torch.int32)
    return local


@given(NODES, NODES, st.sampled_from([torch.int32, torch.int64]), st.sampled_from(["torch", "numba"]))
def test_labels_index_the_known_and_the_new_in_order_of_first_appearance(
    before: list[int], nodes: list[int], dtype: torch.dtype, name: str
) -> None:
    known = list(dict.fromkeys(before))
    local = table(known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNKIT_BACKEND", name)
        labels, new = relabel(local, len(known), torch.tensor(nodes, dtype=dtype))
    every = list(dict.fromkeys(known + nodes))
    assert new.tolist() == every[len(known) :]
    assert [every[label] for label in labels.tolist()] == nodes
    assert (labels.dtype, new.dtype) == (torch.int64, dtype)
    assert torch.equal(local, table(every))


def test_ids_may_have_strides_and_are_left_alone(backend: str) -> None:
    ids = torch.tensor([3, 9, 0, 9, 3, 9])
    labels, new = relabel(table([]), 0, ids[::2])
    assert (labels.tolist(), new.tolist()) == ([0, 1, 0], [3, 0])
    assert ids.tolist() == [3, 9, 0, 9, 3, 9]


@pytest.mark.parametrize("wrong", [NUM_NODES, -1, 2**31, -(2**63)])
def test_a_wrong_id_is_an_error_and_nothing_is_written(backend: str, wrong: int) -> None:
    local = table([4, 5])
    with pytest.raises(ValueError, match=rf"^ids: expected ids in \[0, {NUM_NODES}\) \(got {wrong}\)$"):
        relabel(local, 2, torch.tensor([1, 5, 2, wrong, 3]))
    assert torch.equal(local, table([4, 5]))


def test_a_count_that_does_not_belong_to_the_table_is_an_error_and_nothing_is_written(backend: str) -> None:
    local = table([4, 5, 6])
    with pytest.raises(ValueError, match=r"^local: expected numbers below count = 1 \(got 2\)$"):
        relabel(local, 1, torch.tensor([1, 4, 6]))
    assert torch.equal(local, table([4, 5, 6]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.full((3,), -1), 0, torch.tensor([0])), "local: .*int32.*int64"),
        ((torch.full((6,), -1, dtype=torch.int32)[::2], 0, torch.tensor([0])), "local: .*contiguous.*strides"),
        ((torch.full((3,), -1, dtype=torch.int32), -1, torch.tensor([0])), "count: .*-1"),
        ((torch.full((3,), -1, dtype=torch.int32), 2**31 - 1, torch.tensor([0])), "count: .*2147483647 and 1 ids"),
        ((torch.full((3,), -1, dtype=torch.int32), 0, [0]), "ids: .*list"),
        ((torch.full((3,), -1, dtype=torch.int32), 0, torch.tensor([0], device="meta")), "local and ids: .*cpu, meta"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(backend: str, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        relabel(*arguments)
