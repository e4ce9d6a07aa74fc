"""Tables, outputs and edges past 2^31 elements: by address arithmetic alone, without the memory."""

from __future__ import annotations

import pytest
import torch
from huge import sparse
from machine import Machine

from gnnkit.kernels import _cupy

ROWS = 2**31 // 64 + 3  # of 64 numbers


@pytest.mark.parametrize("reduce", ["sum", "max"])
@pytest.mark.parametrize("width", [64, 63])
def test_spmm_reads_sources_past_31_bits(machine: Machine, reduce: str, width: int) -> None:
    x = sparse(machine, (2**31 // width + 3, 1, width), torch.float16)
    x[-1], x[3] = 2, 1
    ids = torch.tensor([len(x) - 1, 3])
    out = _cupy.spmm(torch.tensor([0, 2]), ids, x, None, reduce)
    assert out.eq(3 if reduce == "sum" else 2).all()


def test_spmm_writes_destinations_past_31_bits(machine: Machine) -> None:
    indptr = sparse(machine, (ROWS + 1,), torch.int64)
    indptr[-1] = 1
    x, out = torch.ones(1, 1, 64, dtype=torch.float16), sparse(machine, (ROWS, 1, 64), torch.float16)
    machine.last_blocks = 1
    args = indptr, torch.tensor([0]), 1, x.shape, (x, out), (x, None, out), 0
    _cupy._reduce_rows("spmm.cu", "spmm_sum", *args)
    assert out[-1].eq(1).all()


def test_spmm_reads_edges_past_31_bits(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cupy, "CHUNK", 2**40)
    heads = 16
    entries = 2**31 // heads + 3
    indices, values = sparse(machine, (entries,), torch.int32), sparse(machine, (entries, heads), torch.float16)
    values[-2:] = 2
    indptr = torch.tensor([0] + 8 * [entries - 2] + [entries])  # the last row is alone in its block
    machine.last_blocks = 1
    out = _cupy.spmm(indptr, indices, torch.ones(1, heads, 2, dtype=torch.float16), values, "sum")
    assert out[-1].eq(4).all()
