"""gather_rows: the rows that indexing gives, byte for byte, fresh or into a buffer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from gnnkit.kernels import gather_rows

DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
)


def table_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw random bytes' worth of a dtype."""
    numbers = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(0))
    return (numbers % 2).bool() if dtype == torch.bool else numbers.to(dtype)


@pytest.mark.parametrize("ids_dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 5), (7, 129), (7, 0), (1, 1)], ids=str)
def test_rows_equal_indexing_for_every_dtype_and_shape(
    backend: str, shape: tuple[int, ...], dtype: torch.dtype, ids_dtype: torch.dtype
) -> None:
    table = table_of(shape, dtype)
    ids = torch.tensor([0, len(table) - 1, 0, len(table) // 2], dtype=ids_dtype)
    expected = table[ids.long()]
    fresh = gather_rows(table, ids)
    assert fresh.dtype == dtype
    assert torch.equal(fresh, expected)
    out = torch.zeros_like(expected)
    assert gather_rows(table, ids, out) is out
    assert torch.equal(out, expected)


def test_nan_keeps_its_payload_and_zero_its_sign(backend: str) -> None:
    bits = torch.tensor([0x7FC12345, -0x80000000, 0x7F800000, 1], dtype=torch.int32)
    rows = gather_rows(bits.view(torch.float32).reshape(2, 2), torch.tensor([1, 0]))
    assert rows.view(torch.int32).flatten().tolist() == bits[[2, 3, 0, 1]].tolist()


@pytest.mark.parametrize("shape", [(0, 3), (5, 3), (0,), (0, 0)], ids=str)
def test_no_ids_give_no_rows_also_of_an_empty_table(backend: str, shape: tuple[int, ...]) -> None:
    ids = torch.empty(0, dtype=torch.int64)
    assert gather_rows(torch.ones(shape), ids).shape == (0, *shape[1:])
    out = torch.ones(0, *shape[1:])
    assert gather_rows(torch.ones(shape), ids, out) is out


def test_strides_of_table_and_ids_do_not_matter(backend: str) -> None:
    table = table_of((3, 7)).t()
    ids = torch.tensor([6, 9, 0, 9, 3, 9])[::2]
    assert not table.is_contiguous()
    assert torch.equal(gather_rows(table, ids), table[ids])
    expanded = torch.tensor([[1.0, 2.0]]).expand(9, 2)
    assert torch.equal(gather_rows(expanded, ids), expanded[ids])
    out = torch.zeros(3, 3)
    assert torch.equal(gather_rows(table, ids, out), table[ids])


def test_a_buffer_is_written_in_place_and_nothing_around_it(backend: str) -> None:
    arena = torch.full((4, 2), -1.0)
    table = table_of((5, 2))
    gather_rows(table, torch.tensor([4, 2]), arena[1:3])
    assert torch.equal(arena[1:3], table[[4, 2]])
    assert arena[[0, 3]].tolist() == [[-1.0, -1.0], [-1.0, -1.0]]


@pytest.mark.parametrize("bad", [[0, 5], [-1, 0], [2**31], [-(2**40)]], ids=str)
@pytest.mark.parametrize("into", [False, True])
def test_an_id_outside_the_table_is_a_value_error(backend: str, bad: list[int], into: bool) -> None:
    out = torch.empty(len(bad), 3) if into else None
    with pytest.raises(ValueError, match=r"^ids: expected ids in \[0, 5\) \(got -?\d+\)$"):
        gather_rows(torch.ones(5, 3), torch.tensor(bad), out)


def test_any_id_is_outside_an_empty_table(backend: str) -> None:
    with pytest.raises(ValueError, match=r"^ids: expected ids in \[0, 0\) \(got 0\)$"):
        gather_rows(torch.ones(0, 3), torch.tensor([0]))


@pytest.mark.parametrize("ids_dtype", [torch.int32, torch.int64], ids=str)
def test_gradients_of_repeated_ids_add_up_as_in_indexing(backend: str, ids_dtype: torch.dtype) -> None:
    table = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.tensor([3, 0, 3, 3], dtype=ids_dtype)
    grad = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(gather_rows(table, ids), table, grad)
    assert_close(ours, torch.autograd.grad(table[ids.long()], table, grad))


def test_derivatives_match_finite_differences(backend: str) -> None:
    table = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([3, 0, 3])
    assert gradcheck(lambda t: gather_rows(t, ids).square(), (table.requires_grad_(),), fast_mode=True)
    assert gradgradcheck(lambda t: gather_rows(t, ids).square(), (table,), fast_mode=True)


def test_a_buffer_takes_no_gradient_and_is_refused_where_one_is_asked(backend: str) -> None:
    table, ids, out = torch.ones(3, 2, requires_grad=True), torch.tensor([1]), torch.zeros(1, 2)
    with pytest.raises(ValueError, match=r"^out: expected tensors without gradients .*\(got requires_grad\)$"):
        gather_rows(table, ids, out)
    with pytest.raises(ValueError, match=r"\(got requires_grad\)$"):
        gather_rows(table.detach(), ids, torch.zeros(1, 2, requires_grad=True))
    with torch.no_grad():
        assert gather_rows(table, ids, out).tolist() == [[1.0, 1.0]]
    assert not out.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3, 2), torch.tensor([0.0])), "ids: .*float32"),
        ((torch.ones(3, 2), torch.tensor([[0]])), r"ids: .*\[1, 1\]"),
        ((torch.ones(3, 2), [0]), "ids: .*list"),
        ((torch.tensor(1.0), torch.tensor([0])), r"table: .*\[\]"),
        (([[1.0]], torch.tensor([0])), "table: .*list"),
        ((torch.ones(3, 2), torch.tensor([0]), torch.ones(2, 2)), r"out: .*\[1, 2\].*\[2, 2\]"),
        ((torch.ones(3, 2), torch.tensor([0]), torch.ones(1, 2).double()), "out: .*float32.*float64"),
        ((torch.ones(3, 2), torch.tensor([0]), [[1.0, 1.0]]), "out: .*list"),
        ((torch.ones(3, 2), torch.tensor([0, 1]), torch.ones(2, 2).t()), "out: .*contiguous.*strides"),
        ((torch.ones(3, 2), torch.tensor([0]), torch.ones(1, 2, device="meta")), "out: .*on cpu.*on meta"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(backend: str, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        gather_rows(*arguments)


@pytest.mark.cuda
@pytest.mark.parametrize("pinned", [False, True])
def test_the_result_lives_where_the_ids_do(pinned: bool) -> None:
    table = table_of((100, 33))
    table = table.pin_memory() if pinned else table
    ids = torch.tensor([99, 0, 5, 5], device="cuda")
    out = gather_rows(table, ids)
    assert out.device == ids.device
    assert torch.equal(out.cpu(), table[ids.cpu()])
