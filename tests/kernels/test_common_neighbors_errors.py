"""common_neighbors: what is no graph, no pair or no set is a ValueError that says what came."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gnnkit.kernels import _numba, _torch, common_neighbors, pair_blocks

INDPTR, INDICES = torch.tensor([0, 2, 3, 4]), torch.tensor([1, 2, 0, 0])
PAIRS = torch.tensor([[0, 1], [1, 2]])
GOOD: dict[str, Any] = {"indptr": INDPTR, "indices": INDICES, "pairs": PAIRS}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": PAIRS.t()[:, :1]}, None),
        ({"pairs": [[0, 1], [1, 2]]}, r"pairs: .*\[2, P\] \(got list"),
        ({"pairs": PAIRS[0]}, r"pairs: .*shape \[2\]"),
        ({"pairs": torch.zeros(3, 2, dtype=torch.int64)}, r"pairs: .*shape \[3, 2\]"),
        ({"pairs": PAIRS.float()}, "pairs: .*float32"),
        ({"pairs": torch.tensor([[0, 3], [1, 2]])}, r"pairs\[0\]: expected ids in \[0, 3\) \(got 3"),
        ({"pairs": torch.tensor([[0, 1], [-1, 2]])}, r"pairs\[1\]: expected ids in \[0, 3\) \(got -1"),
        ({"pairs": PAIRS.to("meta")}, "indptr, indices, pairs, keep and other: expected one device .*cpu, meta"),
        ({"indptr": INDPTR.double()}, "indptr: .*float64"),
        ({"indptr": INDPTR[:0]}, "indptr: .*at least 1 .*0"),
        ({"indptr": torch.tensor([0, 2, 3, 5])}, "indptr: expected to run from 0 to the 4 edges .*0 to 5"),
        ({"indptr": torch.tensor([0, 3, 2, 4])}, "indptr: expected non-decreasing .*3 then 2 at row 1"),
        ({"indptr": torch.tensor([0, 2, 9, 4]), "check": False}, "starts and ends: .*2 to 9 at 1"),
        ({"indices": INDICES.float()}, "indices: .*float32"),
        ({"indices": torch.tensor([2, 1, 0, 0])}, "indices: .*increasing .*2 then 1 in row 0"),
        ({"indices": torch.tensor([1, 1, 0, 0])}, "indices: .*increasing .*1 then 1 in row 0"),
        ({"indices": torch.tensor([1, 2, -1, 0])}, r"indices: expected ids in \[0, 2147483648\) \(got -1"),
        ({"indices": torch.tensor([1, 2**31, 0, 0])}, r"indices: expected ids in .*2147483648\)?"),
        ({"keep": [True]}, "keep: .*bool.*list"),
        ({"keep": (None, None)}, "keep: .*bool.*tuple"),
        ({"keep": torch.ones(4)}, r"keep: .*bool.*\[4\].*float32"),
        ({"keep": torch.ones(3, dtype=torch.bool)}, r"keep: .*\[4\].*\[3\]"),
        ({"other": INDPTR}, "other: expected a pair"),
        ({"other": (INDPTR, INDICES), "keep": torch.ones(4, dtype=torch.bool)}, "keep: expected a pair of masks"),
        ({"other": (INDPTR, INDICES), "keep": (None, torch.ones(3, dtype=torch.bool))}, r"keep of other: .*\[4\]"),
        ({"other": (INDPTR, INDICES.int())}, "indices and other indices: .*int32, torch.int64"),
        ({"other": (INDPTR[:-1], INDICES)}, "^other indptr: .*0 to the 4 edges.*0 to 3"),
        ({"other": (INDPTR, INDICES.flip(0))}, "other indices: .*0 then 0 in row 0"),
        ({"other": (torch.tensor([0, 4]), INDICES.sort().values[1:4].unique()), "check": False}, r"pairs\[1\]: .*1\)"),
        ({"sets": "both"}, "sets: expected some of both, only_i, only_j .*'both'"),
        ({"sets": []}, r"sets: .*\[\]"),
        ({"sets": ["both", "neither"]}, "sets: .*neither"),
        ({"sets": None}, "sets: .*None"),
        ({"max_bytes": 0}, "max_bytes: .*1 .*0"),
        ({"max_bytes": 1.5}, "max_bytes: .*1.5"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(
    backend: str, changes: dict[str, Any], message: str | None
) -> None:
    args = {**GOOD, **changes}
    if message is None:
        assert common_neighbors(**args).both is not None
        return
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        common_neighbors(**args)


def test_rows_without_order_that_nobody_checked_never_lead_outside_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_BACKEND", "numba")
    for first in (99, -99):
        indices = torch.cat([torch.tensor([first, 2]), torch.arange(18)])
        with pytest.raises(ValueError, match=r"^indices: expected strictly increasing .*\(got rows that do not\)$"):
            common_neighbors(torch.tensor([0, 2, 20]), indices, torch.tensor([[0], [0]]), check=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indptr": INDPTR.double()}, "indptr: .*float64"),
        ({"indptr": INDPTR[:0]}, "indptr: .*at least 1"),
        ({"other": INDPTR[:0]}, "other: .*at least 1"),
        ({"other": INDPTR.to("meta")}, "indptr, pairs and other: .*cpu, meta"),
        ({"other": INDPTR[:3]}, r"pairs\[1\]: expected ids in \[0, 2\) \(got 2"),
        ({"pairs": torch.tensor([[0, 9], [1, 2]])}, r"pairs\[0\]: .*9"),
        ({"pairs": None}, "pairs: .*NoneType"),
        ({"max_bytes": 0}, "max_bytes: .*0"),
        ({"max_bytes": True}, "max_bytes: .*True"),
    ],
)
def test_wrong_arguments_of_pair_blocks(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        pair_blocks(**{"indptr": INDPTR, "pairs": PAIRS, "max_bytes": 100, **changes})


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(("num_rows", "most"), [(6, 4), (40_000, 9)], ids=["one part", "many parts"])
def test_both_backends_refuse_the_same_rows(num_rows: int, most: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    for seed in range(60):
        degrees = torch.randint(most, (num_rows,), generator=draw)
        indptr = torch.cat([degrees.new_zeros(1), degrees.cumsum(0)])
        # each row's columns increase from 0 or 1 on, so that the first of a row is rarely above the last one's end
        place = torch.arange(int(indptr[-1])) - indptr[:-1].repeat_interleave(degrees)
        indices = (2 * place + torch.randint(2, place.shape, generator=draw)).to(dtype)
        assert _numba.rows_increase(indptr, indices)
        assert _torch.rows_increase(indptr, indices)
        at = int(torch.randint(len(indices), (), generator=draw)) if len(indices) else 0
        if seed % 3 == 0 and len(indices):
            indices[at] = -1
        elif seed % 3 == 1 and len(indices):
            indices[at] = indices[at - 1]
        else:
            indptr[1 + at % num_rows] += 1
        assert _numba.rows_increase(indptr, indices) == _torch.rows_increase(indptr, indices), seed
