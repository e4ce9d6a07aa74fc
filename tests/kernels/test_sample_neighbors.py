"""sample_neighbors: the backends agree bit for bit, draws lie in their rows, and the odds are those asked for."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.kernels import sample_neighbors

KEYS = st.one_of(st.integers(0, 5), st.sampled_from([-1, 2**63, 2**64 - 1, 2**64 + 3]))


def rows_of(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A CSR of rows of these lengths: indptr, indices, cumulative."""
    rng = torch.Generator().manual_seed(len(lengths))
    indptr = torch.tensor([0, *itertools.accumulate(lengths)])
    indices = torch.randint(0, 1000, (int(indptr[-1]),), generator=rng)
    weight = torch.rand(len(indices), dtype=torch.float64, generator=rng) + 0.01
    cumulative = torch.cat([weight[:0], *(part.cumsum(0) for part in weight.split(lengths))])
    return indptr, indices, cumulative


def drawn_by(name: str, *args: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNKIT_BACKEND", name)
        return sample_neighbors(*args, **options)


@given(
    st.lists(st.one_of(st.integers(0, 6), st.sampled_from([60, 200])), min_size=1, max_size=8),
    st.lists(st.integers(0, 7), max_size=12),
    st.one_of(st.integers(-1, 8), st.sampled_from([49, 70, 500])),
    KEYS,
    st.booleans(),
    st.booleans(),
    st.sampled_from([torch.int32, torch.int64]),
)
def test_the_reference_and_the_loops_agree_bit_for_bit_and_keep_the_rules(
    lengths: list[int], frontier: list[int], fanout: int, key: int, replace: bool, weighted: bool, dtype: torch.dtype
) -> None:
    indptr, indices, cumulative = rows_of(lengths)
    indices = indices.to(dtype)
    nodes = torch.tensor([node % len(lengths) for node in frontier], dtype=torch.int64)
    starts, ends = indptr[nodes], indptr[nodes + 1]
    args, options = (
        (indices, starts, ends, fanout, key),
        {"replace": replace, "cumulative": cumulative if weighted else None},
    )
    expected, found = drawn_by("torch", *args, **options), drawn_by("numba", *args, **options)
    for theirs, ours in zip(expected, found, strict=True):
        assert theirs.dtype == ours.dtype
        assert torch.equal(theirs, ours)

    pointers, entries, neighbors = found
    assert (pointers.dtype, entries.dtype, neighbors.dtype) == (torch.int64, torch.int64, dtype)
    assert torch.equal(neighbors, indices[entries])
    assert len(pointers) == len(nodes) + 1
    for k, node in enumerate(nodes.tolist()):
        row, degree = entries[pointers[k] : pointers[k + 1]].tolist(), lengths[node]
        every = list(range(int(starts[k]), int(ends[k])))
        assert set(row) <= set(every)
        if fanout == -1 or (not replace and degree <= fanout):
            assert row == every
        else:
            assert len(row) == (fanout if degree else 0)
            assert replace or len(set(row)) == fanout


def test_long_rows_of_many_draws_agree(backend: str) -> None:
    indptr, indices, _ = rows_of([3000, 1001, 0, 2000, 999, 40_000])
    args = indices, indptr[:-1], indptr[1:], 1000, 7
    for theirs, ours in zip(drawn_by("torch", *args), sample_neighbors(*args), strict=True):
        assert torch.equal(theirs, ours)
    pointers, entries, _ = sample_neighbors(*args)
    assert pointers.diff().tolist() == [1000, 1000, 0, 1000, 999, 1000]
    assert len(entries.unique()) == len(entries)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_draws_of_a_row_depend_on_its_place_and_the_key_alone(backend: str, replace: bool, weighted: bool) -> None:
    indptr, indices, cumulative = rows_of([30, 30, 30])
    options = {"replace": replace, "cumulative": cumulative if weighted else None}

    def rows(key: int, count: int) -> list[list[int]]:
        pointers, entries, _ = sample_neighbors(indices, indptr[:count], indptr[1 : count + 1], 5, key, **options)
        return [row.tolist() for row in entries.tensor_split(pointers[1:-1])]

    assert rows(3, 3)[:2] == rows(3, 2) == rows(3 + 2**64, 2) == rows(3 - 2**64, 2)
    assert rows(3, 3) != rows(4, 3)
    first, second, _ = rows(3, 3)
    assert [entry + 30 for entry in first] != second


@pytest.mark.parametrize("weighted", [False, True])
def test_threads_change_nothing(weighted: bool) -> None:
    indptr, indices, cumulative = rows_of([17, 0, 100, 5] * 50)
    options = {"cumulative": cumulative if weighted else None}

    def draw(key: int) -> Tensor:
        return sample_neighbors(indices, indptr[:-1], indptr[1:], 7, key, **options)[1]

    keys = list(range(40))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, keys))
    assert all(torch.equal(draw(key), found) for key, found in zip(keys, together, strict=True))


def test_a_frontier_may_repeat_rows_and_ranges_may_be_parts_of_rows(backend: str) -> None:
    indices = torch.arange(100)
    starts, ends = torch.tensor([10, 10, 0, 50]), torch.tensor([40, 40, 100, 50])
    pointers, entries, _ = sample_neighbors(indices, starts, ends, 6, 1)
    first, second, third, none = (row.tolist() for row in entries.tensor_split(pointers[1:-1]))
    assert first != second
    assert all(10 <= entry < 40 for entry in first + second)
    assert (len(set(third)), none) == (6, [])


def test_no_rows_and_no_entries(backend: str) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    for weighted in (None, none.double()):
        for replace in (False, True):
            pointers, entries, neighbors = sample_neighbors(
                none.int(), none, none, 3, 0, replace=replace, cumulative=weighted
            )
            assert (pointers.tolist(), len(entries), len(neighbors), neighbors.dtype) == ([0], 0, 0, torch.int32)
            zeros = torch.zeros(2, dtype=torch.int64)
            pointers, entries, _ = sample_neighbors(none, zeros, zeros, 3, 0, replace=replace, cumulative=weighted)
            assert (pointers.tolist(), len(entries)) == ([0, 0, 0], 0)


def test_memory_with_strides_is_read_as_it_means(backend: str) -> None:
    indptr, indices, cumulative = rows_of([9, 4, 12])
    wide = [torch.stack([t, t], dim=1)[:, 0] for t in (indices, indptr[:-1], indptr[1:], cumulative)]
    plain = sample_neighbors(indices, indptr[:-1], indptr[1:], 3, 5, cumulative=cumulative)
    strided = sample_neighbors(wide[0], wide[1], wide[2], 3, 5, cumulative=wide[3])
    assert all(torch.equal(a, b) for a, b in zip(plain, strided, strict=True))


# ------------------------------------------------------------------ the odds


def chi_square(counts: Tensor, odds: Tensor) -> float:
    """The statistic over its degrees of freedom: about 1; 2 is out of question for 20 of them or more."""
    expected = odds * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum() / (len(odds) - 1))


def many(degree: int, fanout: int, rows: int, **options: Any) -> Tensor:
    """``[rows, fanout]``: which entries of one row are drawn, again and again."""
    cumulative = options.pop("weight", None)
    starts = torch.zeros(rows, dtype=torch.int64)
    if cumulative is not None:
        options["cumulative"] = cumulative.cumsum(0)
    _, entries, _ = sample_neighbors(torch.arange(degree), starts, starts + degree, fanout, 2024, **options)
    return entries.view(rows, fanout)


def test_without_replacement_all_subsets_are_equally_likely(backend: str) -> None:
    picks = many(7, 3, 20_000).sort(1).values
    counts = (2**picks).sum(1).bincount(minlength=2**7)
    subsets = [sum(2**entry for entry in subset) for subset in itertools.combinations(range(7), 3)]
    assert int(counts[subsets].sum()) == 20_000
    assert chi_square(counts[subsets], torch.full((35,), 1 / 35)) < 2


def test_many_draws_without_replacement_are_uniform() -> None:
    counts = many(400, 100, 2_000).flatten().bincount(minlength=400)
    assert 0.5 < chi_square(counts, torch.full((400,), 1 / 400)) / 0.75 < 1.5  # a quarter of a row is drawn at once


def test_with_replacement_all_sequences_are_equally_likely(backend: str) -> None:
    picks = many(6, 2, 20_000, replace=True)
    assert chi_square((picks[:, 0] * 6 + picks[:, 1]).bincount(minlength=36), torch.full((36,), 1 / 36)) < 2


WEIGHT = torch.tensor([1.0, 7.0, 0.5, 2.0, 3.0], dtype=torch.float64)


def test_with_replacement_draws_are_proportional_to_weight(backend: str) -> None:
    picks = many(5, 2, 20_000, replace=True, weight=WEIGHT)
    odds = torch.outer(WEIGHT, WEIGHT).flatten() / WEIGHT.sum() ** 2
    assert chi_square((picks[:, 0] * 5 + picks[:, 1]).bincount(minlength=25), odds) < 2


def test_without_replacement_every_draw_is_proportional_to_the_weight_that_is_left(backend: str) -> None:
    picks = many(5, 3, 20_000, weight=WEIGHT)
    counts = (picks[:, 0] * 25 + picks[:, 1] * 5 + picks[:, 2]).bincount(minlength=125)
    sequences, odds = [], []
    for a, b, c in itertools.permutations(range(5), 3):
        total, w = float(WEIGHT.sum()), WEIGHT.tolist()
        sequences.append(a * 25 + b * 5 + c)
        odds.append(w[a] / total * w[b] / (total - w[a]) * w[c] / (total - w[a] - w[b]))
    assert int(counts[sequences].sum()) == 20_000
    assert chi_square(counts[sequences], torch.tensor(odds)) < 2


@pytest.mark.parametrize("weight", [[1e300, 1.0, 1.0, 1.0], [1.0, 1e-300, 1e-300, 1e300], [1e-320] * 4], ids=str)
def test_weights_beyond_rounding_still_give_different_entries(backend: str, weight: list[float]) -> None:
    picks = many(4, 3, 200, weight=torch.tensor(weight, dtype=torch.float64))
    assert all(len(set(row)) == 3 for row in picks.tolist())
    again = drawn_by(
        "torch",
        torch.arange(4),
        torch.zeros(200, dtype=torch.int64),
        torch.full((200,), 4),
        3,
        2024,
        cumulative=torch.tensor(weight, dtype=torch.float64).cumsum(0),
    )[1]
    assert torch.equal(picks.flatten(), again)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("starts", "ends", "got"),
    [
        ([0, -1], [2, 1], "-1 to 1 at 1"),
        ([0, 2], [2, 1], "2 to 1 at 1"),
        ([0, 0], [3, 5], "0 to 5 at 1"),
        ([2**62], [2**62 + 1], f"{2**62} to {2**62 + 1} at 0"),
        ([-(2**63)], [2**63 - 1], f"{-(2**63)} to {2**63 - 1} at 0"),
    ],
)
@pytest.mark.parametrize("fanout", [-1, 0, 2])
def test_a_range_outside_the_entries_is_an_error(
    backend: str, starts: list[int], ends: list[int], got: str, fanout: int
) -> None:
    with pytest.raises(ValueError, match=rf"^starts and ends: expected ranges within the 4 entries.*\(got {got}\)$"):
        sample_neighbors(torch.arange(4), torch.tensor(starts), torch.tensor(ends), fanout, 0)


ONE = torch.tensor([0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": torch.ones(1)}, "indices: .*float32"),
        ({"starts": ONE.int()}, "starts: .*int64.*int32"),
        ({"ends": [1]}, "ends: .*list"),
        ({"ends": torch.tensor([0, 1])}, r"ends: expected 1 entries.*2"),
        ({"ends": torch.ones(1, dtype=torch.int64, device="meta")}, "starts and ends: .*cpu, meta"),
        ({"indices": torch.ones(1, dtype=torch.int64, device="meta")}, "indices: .*on cpu .*on meta"),
        ({"fanout": -2}, "fanout: .*-2"),
        ({"fanout": 2**31}, "fanout: .*2147483648"),
        ({"fanout": True}, "fanout: .*True"),
        ({"fanout": 1.0}, "fanout: .*1.0"),
        ({"key": 0.5}, "key: .*0.5"),
        ({"replace": 1}, "replace: .*1"),
        ({"cumulative": torch.ones(1)}, "cumulative: .*float64.*float32"),
        ({"cumulative": torch.ones(2).double()}, r"cumulative: .*\[1\].*\[2\]"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(
    backend: str, changes: dict[str, Any], message: str
) -> None:
    args: dict[str, Any] = {"indices": ONE, "starts": ONE, "ends": ONE + 1, "fanout": 1, "key": 0}
    sample_neighbors(**args)
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        sample_neighbors(**{**args, **changes})
