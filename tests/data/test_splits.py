"""Splits: disjoint, non-empty, drawn from the seed alone."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.data import Split, from_masks, k_fold, per_class


def ids(*values: int) -> Tensor:
    """Node ids."""
    return torch.tensor(values, dtype=torch.int64)


def masks(train: Any, valid: Any, test: Any) -> SimpleNamespace:
    """What from_masks reads of a Data."""
    return SimpleNamespace(train_mask=train, val_mask=valid, test_mask=test)


# ------------------------------------------------------------------ Split


def test_sizes_count_the_three_parts() -> None:
    assert Split(ids(3, 1), ids(0), ids(5, 4, 2)).sizes == (2, 1, 3)


def test_a_split_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Split(ids(0), ids(1), ids(2)).train = ids(5)  # type: ignore[misc]


def test_a_split_moves_with_its_values() -> None:
    split = Split(ids(0, 3), ids(1), ids(2)).to("cpu")
    assert [part.tolist() for part in (split.train, split.valid, split.test)] == [[0, 3], [1], [2]]


@pytest.mark.parametrize(
    "parts",
    [
        (ids(0, 1), ids(1), ids(2)),
        (ids(0), ids(1), ids(2, 0)),
        (ids(0), ids(1, 2), ids(2)),
        (ids(0, 0), ids(1), ids(2)),  # a repeated node would count twice
    ],
)
def test_parts_that_share_a_node_are_refused(parts: tuple[Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"expected disjoint .* \(got 1 repeated\)"):
        Split(*parts)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize(
    "bad",
    [
        ids(),
        ids(7).view(1, 1),
        ids(7)[0],
        ids(7).int(),
        torch.tensor([7.0]),
        torch.tensor([True]),
        [7],
        np.array([7]),
        None,
    ],
    ids=["empty", "2-D", "0-D", "int32", "float", "mask", "list", "numpy", "none"],
)
def test_what_is_no_vector_of_ids_is_refused_by_name(part: str, bad: Any) -> None:
    parts = {"train": ids(0), "valid": ids(1), "test": ids(2), part: bad}
    with pytest.raises(ValueError, match=rf"{part}: expected .* \(got "):
        Split(**parts)


# ------------------------------------------------------------------ masks


def test_masks_become_the_ids_where_they_are_true() -> None:
    split = from_masks(masks(*(torch.tensor(row).bool() for row in ([1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]))))
    assert [part.tolist() for part in (split.train, split.valid, split.test)] == [[0, 3], [1], [2]]


GOOD = [torch.tensor(row).bool() for row in ([1, 0, 0], [0, 1, 0], [0, 0, 1])]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(
    "bad",
    [
        None,
        torch.tensor([1, 0, 0]),
        torch.tensor([[True, False, False]]),
        torch.tensor(True),
        np.array([True, False, False]),
        torch.zeros(3, dtype=torch.bool),
        torch.ones(3, dtype=torch.bool),
    ],
    ids=["none", "int", "2-D", "0-D", "numpy", "empty", "overlapping"],
)
def test_masks_that_make_no_split_are_refused(which: int, bad: Any) -> None:
    parts: list[Any] = list(GOOD)
    parts[which] = bad
    with pytest.raises(ValueError, match=r"\(got "):
        from_masks(masks(*parts))


def test_masks_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(got "):
        from_masks(masks(GOOD[0], GOOD[1], torch.tensor([False, False, False, True])))


def test_data_without_masks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train_mask, val_mask and test_mask \(got "):
        from_masks(SimpleNamespace())


# ------------------------------------------------------------------ per_class


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    train=st.integers(1, 3),
    valid=st.integers(1, 3),
    seed=st.integers(0, 2**40),
)
def test_every_class_gives_as_many_and_the_rest_tests(counts: list[int], train: int, valid: int, seed: int) -> None:
    # classes need not be 0, 1, 2 …
    y = torch.cat([torch.full((train + valid + extra,), 3 * k + 1) for k, extra in enumerate(counts)])
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    split = per_class(y, train, valid, seed)
    for k, extra in enumerate(counts):
        of_class = [int((y[part] == 3 * k + 1).sum()) for part in (split.train, split.valid, split.test)]
        assert of_class == [train, valid, extra]
    together = torch.cat([split.train, split.valid, split.test])
    assert sorted(together.tolist()) == list(range(len(y)))


def test_the_draw_depends_on_the_seed_alone_and_leaves_the_global_generator_alone() -> None:
    y = torch.arange(60) % 3
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = per_class(y, 4, 5, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, other = per_class(y, 4, 5, seed=7), per_class(y, 4, 5, seed=8)
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(first, part), getattr(second, part))
        assert not torch.equal(getattr(first, part), getattr(other, part))


def test_every_node_is_drawn_by_some_seed() -> None:
    y = torch.arange(12) % 2
    drawn = {node for seed in range(60) for node in per_class(y, 1, 1, seed).train.tolist()}
    assert drawn == set(range(12))


@pytest.mark.parametrize(("train", "valid"), [(0, 1), (1, 0), (-1, 1), (1, -1), (2, 1), (1, 2), (10, 10)])
def test_a_class_that_cannot_give_as_many_and_one_to_test_is_refused(train: int, valid: int) -> None:
    with pytest.raises(ValueError, match=r"class \d: expected nodes for training, validation and test \(got "):
        per_class(ids(0, 0, 0, 1, 1, 1), train, valid, seed=0)


@pytest.mark.parametrize(
    "y",
    [ids(), ids(0, 0, 0).view(3, 1), ids(0)[0], torch.zeros(3), [0, 0, 0], None],
    ids=["empty", "2-D", "0-D", "float", "list", "none"],
)
def test_what_is_no_vector_of_classes_is_refused(y: Any) -> None:
    with pytest.raises(ValueError, match=r"\(got "):
        per_class(y, 1, 1, seed=0)


# ------------------------------------------------------------------ columns of masks, folds


def test_a_column_of_masks_is_a_split() -> None:
    parts = torch.tensor([[0, 1, 2, 2], [2, 0, 1, 2]]).t()  # [N, K]: who belongs to which part
    masks = {f"{name}_mask": parts == number for number, name in enumerate(("train", "val", "test"))}
    split = from_masks(SimpleNamespace(**masks), column=1)
    assert [ids.tolist() for ids in (split.train, split.valid, split.test)] == [[1], [2], [0, 3]]
    for column in (-1, 2):
        with pytest.raises(ValueError, match=rf"column: expected one of the columns .+ \(got {column} of"):
            from_masks(SimpleNamespace(**masks), column=column)
    with pytest.raises(ValueError, match="column: expected"):
        from_masks(SimpleNamespace(**{name: mask[:, 0] for name, mask in masks.items()}), column=0)


@given(
    counts=st.lists(st.integers(10, 40), min_size=1, max_size=4),
    round_=st.integers(0, 5),
    num_folds=st.sampled_from([3, 5, 10]),
)
def test_folds_partition_the_rows_and_hold_each_class_in_proportion(
    counts: list[int], round_: int, num_folds: int
) -> None:
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    splits = [k_fold(y, round_ * num_folds + fold, num_folds) for fold in range(num_folds)]
    assert sorted(torch.cat([split.test for split in splits]).tolist()) == list(range(len(y)))
    for split in splits:
        assert sum(split.sizes) == len(y)  # and `Split` itself refuses parts that share a row
        assert split.sizes[1] == split.sizes[2]
        for label, count in enumerate(counts):
            assert abs(int((y[split.test] == label).sum()) - count / num_folds) <= 1


def test_a_fold_is_the_same_again_and_another_with_another_seed() -> None:
    y = torch.arange(60) % 3
    first, again, later = k_fold(y, 4), k_fold(y, 4), k_fold(y, 14)
    assert torch.equal(first.test, again.test)
    assert torch.equal(first.valid, again.valid)
    assert not torch.equal(first.test, later.test)


@pytest.mark.parametrize(
    ("y", "seed", "folds", "message"),
    [
        (torch.arange(40) % 2, -1, 10, r"seed: expected .+ \(got -1\)"),
        (torch.arange(40) % 2, 0.5, 10, r"seed: expected .+ \(got 0\.5\)"),
        (torch.arange(40) % 2, 0, 2, r"num_folds: expected .+ \(got 2\)"),
        (torch.tensor([0] * 20 + [1] * 9), 0, 10, r"class 1: expected at least 10 rows, one a fold \(got 9\)"),
        (torch.zeros(40), 0, 10, r"y: expected an int64 class for each graph \(got"),
        (None, 0, 10, r"y: expected an int64 class for each graph \(got"),
    ],
)
def test_what_cannot_be_folded_is_a_value_error(y: Any, seed: Any, folds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        k_fold(y, seed, folds)
