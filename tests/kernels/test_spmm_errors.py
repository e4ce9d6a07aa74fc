"""spmm refuses what a caller can get wrong, and says what came."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spmm_inputs import REDUCES
from torch import Tensor
from torch.testing import assert_close

from gnnkit.kernels import spmm


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize(
    ("pointers", "indices"),
    [
        ([0, 2, 3], [0, 1, 4]),
        ([0, 2, 3], [0, -1, 1]),
        ([0, 2, 4], [0, 1, 2]),
        ([0, 2, 2], [0, 1, 2]),
        ([1, 2, 3], [0, 1, 2]),
        ([0, 3, 1, 3], [0, 1, 2]),
        ([0, 9, 3], [0, 1, 2]),
        ([0, -7, 3], [0, 1, 2]),
        ([0], [0]),
    ],
)
def test_a_bad_pointer_or_index_is_a_value_error_that_names_it(
    backend: str, pointers: list[int], indices: list[int], reduce: str
) -> None:
    with pytest.raises(ValueError, match=r"^ind(ptr|ices): expected .* \(got .*-?\d.*\)$"):
        spmm(torch.tensor(pointers), torch.tensor(indices), torch.ones(4, 2), None, reduce)


@given(
    st.lists(st.integers(-3, 9), min_size=1, max_size=8),
    st.lists(st.integers(-2, 6), max_size=8),
    st.sampled_from(REDUCES),
    st.sampled_from(["torch", "numba"]),
)
def test_any_integers_are_refused_or_served_right(
    pointers: list[int], indices: list[int], reduce: str, name: str
) -> None:
    rises = all(low <= high for low, high in pairwise(pointers))
    valid = rises and pointers[0] == 0 and pointers[-1] == len(indices) and all(0 <= j < 5 for j in indices)
    x = torch.arange(1.0, 6.0).unsqueeze(-1)
    indptr, src = torch.tensor(pointers), torch.tensor(indices, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNKIT_BACKEND", name)
        if not valid:
            with pytest.raises(ValueError, match=r"\(got "):
                spmm(indptr, src, x, None, reduce)
            return
        out = spmm(indptr, src, x, None, reduce)
    rows = [x[src[low:high]] for low, high in pairwise(pointers)]
    python = {"sum": Tensor.sum, "mean": Tensor.mean, "max": Tensor.amax, "min": Tensor.amin}[reduce]
    expected = [float(python(row)) if len(row) else 0.0 for row in rows]
    assert_close(out.flatten(), torch.tensor(expected))


EYE = torch.tensor([0, 1, 2]), torch.tensor([0, 1])  # two nodes with a loop each
GOOD: dict[str, Any] = {"indptr": EYE[0], "indices": EYE[1], "x": torch.ones(2, 3)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"indptr": [0, 1, 2]}, "indptr: .*list"),
        ({"indptr": EYE[0].float()}, "indptr: .*float32"),
        ({"indptr": EYE[0].unsqueeze(0)}, r"indptr: .*\[1, 3\]"),
        ({"indptr": EYE[0][:0]}, "indptr: .*at least 1"),
        ({"indices": EYE[1].short()}, "indices: .*int16"),
        ({"indices": None}, "indices: .*NoneType"),
        ({"x": torch.ones(2)}, r"x: .*\[2\]"),
        ({"x": torch.ones(2, 1, 1, 1)}, r"x: .*\[2, 1, 1, 1\]"),
        ({"x": torch.ones(2, 3).cfloat()}, "x: .*complex64"),
        ({"x": torch.ones(2, 3).long()}, "x: .*int64"),
        ({"values": torch.ones(3)}, r"values: .*\[3\]"),
        ({"values": torch.ones(2, 1)}, r"values: .*\[2, 1\]"),
        ({"values": torch.ones(2, 3)}, r"values: .*\[2, 3\]"),
        ({"x": torch.ones(2, 4, 3), "values": torch.ones(2, 3)}, r"values: .*\[2, 3\]"),
        ({"values": torch.ones(2).double()}, "x and values: .*one dtype .*float32, torch.float64"),
        ({"values": torch.ones(2, device="meta")}, "x and values: .*one device .*cpu, meta"),
        ({"reduce": "add"}, "reduce: .*'add'"),
        ({"reduce": None}, "reduce: .*None"),
        ({"transpose": EYE}, "transpose: .*tuple"),
        ({"transpose": (EYE[0], EYE[1], EYE[1][:1])}, "t_perm: .*1"),
        ({"transpose": (EYE[0], EYE[1][:1], EYE[1])}, "t_indices: .*1"),
        ({"transpose": (torch.tensor([0, 2]), EYE[1], EYE[1])}, "t_indptr: .*2"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(backend: str, wrong: dict[str, Any], message: str) -> None:
    assert spmm(**GOOD).shape == (2, 3)
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        spmm(**{**GOOD, **wrong})


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize(
    "transpose",
    [
        (torch.tensor([0, 1, 2]), torch.tensor([0, 2]), torch.tensor([0, 1])),  # no such destination
        (torch.tensor([0, 5, 2]), torch.tensor([0, 1]), torch.tensor([0, 1])),  # pointers that fall
        (torch.tensor([0, 1, 2]), torch.tensor([0, 1]), torch.tensor([0, 2])),  # no such entry
    ],
    ids=["t_indices", "t_indptr", "t_perm"],
)
def test_a_transpose_that_leaves_its_tables_is_refused_in_the_backward_pass(
    backend: str, transpose: tuple[Tensor, Tensor, Tensor], reduce: str
) -> None:
    """It is trusted to be the transpose, but never to stay within bounds (PyTorch raises IndexError)."""
    x = torch.ones(2, 3, requires_grad=True)
    out = spmm(*EYE, x, torch.ones(2), reduce, transpose=transpose)
    with pytest.raises((ValueError, IndexError), match=r"\(got |out of range"):
        out.sum().backward()
