"""gather_cached: rows of two tables, byte for byte what indexing gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gnnkit.kernels import gather_cached


def tables(
    num_lines: int, num_staged: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Draw two tables of one kind of rows."""
    draw = torch.Generator().manual_seed(0)
    both = torch.randint(0, 100, (num_lines + num_staged, *shape), generator=draw).to(dtype)
    return both[:num_lines].clone(), both[num_lines:].clone()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int16, torch.bfloat16, torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (129,), (0,)], ids=str)
def test_rows_come_from_both_tables(backend: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    lines, staged = tables(7, 4, shape, dtype)
    where = torch.tensor([0, -1, 6, -4, 6, 3, -2, -1])
    joined = torch.cat([staged.flip(0), lines])  # row place + 4
    out = gather_cached(lines, staged, where)
    assert out.dtype == dtype
    assert torch.equal(out, joined[where + 4])
    buffer = torch.zeros_like(out)
    assert gather_cached(lines, staged, where, buffer) is buffer
    assert torch.equal(buffer, out)


@pytest.mark.parametrize(("num_lines", "num_staged"), [(0, 4), (4, 0), (0, 0)])
def test_either_table_may_be_empty(backend: str, num_lines: int, num_staged: int) -> None:
    lines, staged = tables(num_lines, num_staged, (3,))
    where = torch.arange(-num_staged, num_lines)
    assert torch.equal(gather_cached(lines, staged, where), torch.cat([staged.flip(0), lines]))


def test_more_rows_than_one_thread_takes(backend: str) -> None:
    lines, staged = tables(500, 300, (64,))
    where = torch.randint(-300, 500, (9000,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(gather_cached(lines, staged, where), torch.cat([staged.flip(0), lines])[where + 300])


def test_strides_of_tables_and_places_do_not_matter(backend: str) -> None:
    lines, staged = (table.t() for table in tables(3, 3, (7,)))
    where = torch.tensor([6, 9, -7, 9, 0, 9])[::2]
    assert torch.equal(gather_cached(lines, staged, where), torch.stack([lines[6], staged[6], lines[0]]))


@pytest.mark.parametrize("bad", [[0, 5], [-3, 0], [2**40], [-(2**40)]], ids=str)
def test_a_place_outside_both_tables_is_a_value_error(backend: str, bad: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^where: expected ids in \[-2, 5\) \(got -?\d+\)$"):
        gather_cached(*tables(5, 2, (3,)), torch.tensor(bad))


LINES, STAGED, WHERE = torch.ones(3, 2), torch.ones(2, 2), torch.tensor([0])
SHARED = torch.ones(4, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.tensor(1.0), STAGED, WHERE), r"^lines: .*\[\]"),
        (([[1.0]], STAGED, WHERE), "^lines: .*list"),
        ((LINES, LINES.to_sparse(), WHERE), "^staged: .*sparse"),
        ((LINES, STAGED.double(), WHERE), r"^staged: expected float32 rows of shape \[2\].*float64"),
        ((LINES, torch.ones(2, 3), WHERE), r"^staged: .*\[2, 3\]"),
        ((LINES, STAGED, WHERE.int()), "^where: .*int32"),
        ((LINES, STAGED, [0]), "^where: .*list"),
        ((LINES.to("meta"), STAGED, WHERE), "^lines and staged: .*got meta and cpu"),
        ((LINES, STAGED.to("meta"), WHERE), "^lines and staged: .*got cpu and meta"),
        ((LINES, STAGED, WHERE, torch.ones(2, 2)), r"^out: .*\[1, 2\].*\[2, 2\]"),
        ((LINES, STAGED, WHERE, torch.ones(1, 2).int()), "^out: .*float32.*int32"),
        ((LINES, STAGED, WHERE.expand(2), torch.ones(2, 2).t()), "^out: .*contiguous.*strides"),
        ((LINES, STAGED, WHERE, torch.ones(1, 2, device="meta")), "^out: .*on cpu.*on meta"),
        ((SHARED[:3], STAGED, WHERE, SHARED[3:]), "^out: .*apart from"),
        ((LINES, SHARED[:3], WHERE, SHARED[3:]), "^out: .*apart from"),
        ((LINES.clone().requires_grad_(), STAGED, WHERE), "requires_grad"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(backend: str, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        gather_cached(*arguments)
    assert "(got " in str(caught.value)
