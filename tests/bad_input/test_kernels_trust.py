"""What the kernels trust, the values of a transpose: where they lie it is an error, and not a crash."""

from __future__ import annotations

import pytest
import torch
from _surface import BACKENDS, REDUCES

from gnnkit.kernels import spmm, transpose_csr


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("wrong", [-1, 9, 2**31 - 1, 2**40])
def test_a_transpose_of_wrong_values_never_reads_outside_a_table(
    wrong: int, part: int, reduce: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # its shape is checked and its values are trusted; but a lie is an error too, not a crash
    monkeypatch.setenv("GNNKIT_BACKEND", backend)
    indptr, indices = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])
    transpose = [t.long() for t in transpose_csr(indptr, indices, 3)]
    transpose[part] = transpose[part].clone()
    transpose[part][1] = wrong
    x, values = torch.ones(3, 2, requires_grad=True), torch.ones(3, requires_grad=True)
    out = spmm(indptr, indices, x, values, reduce, transpose=tuple(transpose))
    with pytest.raises((ValueError, IndexError)):
        torch.autograd.grad(out.sum(), (x, values))
