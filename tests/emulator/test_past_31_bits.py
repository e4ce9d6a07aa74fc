"""Tables, outputs and edges past 2^31 elements: by address arithmetic alone, without the memory."""

from __future__ import annotations

import pytest
import torch
from huge import sparse
from machine import Machine

from gnnkit.kernels import _cupy, _cupy_gather, _walk
from gnnkit.kernels._launch import launch

ROWS = 2**31 // 64 + 3  # of 64 numbers


@pytest.mark.parametrize("reduce", ["sum", "max"])
@pytest.mark.parametrize("width", [64, 63])
def test_spmm_reads_sources_past_31_bits(machine: Machine, reduce: str, width: int) -> None:
    x = sparse(machine, (2**31 // width + 3, 1, width), torch.float16 if reduce == "sum" else torch.float32)
    x[-1], x[3] = 2, 1
    ids = torch.tensor([len(x) - 1, 3])
    out = _cupy.spmm(torch.tensor([0, 2]), ids, x, None, reduce)
    assert out.eq(3 if reduce == "sum" else 2).all()


def test_spmm_writes_destinations_past_31_bits(machine: Machine) -> None:
    indptr = sparse(machine, (ROWS + 1,), torch.int64)
    indptr[-1] = 1
    x, out = torch.ones(1, 1, 64, dtype=torch.float16), sparse(machine, (ROWS, 1, 64), torch.float16)
    machine.last_blocks = 1
    walk = _walk.Walk(indptr, torch.tensor([0]), 1, (1, 64), x.dtype, x, out)
    walk.reduce("spmm.cu", "spmm_sum", out, x, None, 0)
    assert out[-1].eq(1).all()


def test_spmm_reads_edges_past_31_bits(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_walk, "CHUNK", 2**40)
    heads = 16
    entries = 2**31 // heads + 3
    indices, values = sparse(machine, (entries,), torch.int32), sparse(machine, (entries, heads), torch.float32)
    values[-2:] = 2
    indptr = torch.tensor([0] + 8 * [entries - 2] + [entries])  # the last row is alone in its block
    machine.last_blocks = 1
    out = _cupy.spmm(indptr, indices, torch.ones(1, heads, 2), values, "sum")
    assert out[-1].eq(4).all()


def test_sddmm_reads_past_31_bits(machine: Machine) -> None:
    b = sparse(machine, (ROWS, 1, 64), torch.float16)
    b[-1] = 1
    a = sparse(machine, (ROWS, 1, 64), torch.float16)
    a[-1] = 2
    indptr = sparse(machine, (ROWS + 1,), torch.int64)
    indptr[-1] = 1
    assert _cupy.sddmm(indptr, torch.tensor([ROWS - 1]), a, b).tolist() == [[128]]


def test_sddmm_writes_edges_past_31_bits(machine: Machine) -> None:
    entries, ones = 2**31 // 16 + 3, torch.ones(1, 16, 1, dtype=torch.float16)
    indices, out = sparse(machine, (entries,), torch.int32), sparse(machine, (entries, 16), torch.float16)
    machine.last_blocks = 1
    walk = _walk.Walk(torch.tensor([0, entries]), indices, 1, (16, 1), torch.float16, ones, ones)
    walk.entries("sddmm.cu", "sddmm", out, ones, ones)
    assert out[-3:].eq(1).all()


def test_softmax_past_31_bits(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_walk, "CHUNK", 2**40)
    entries = 2**31 // 16 + 3
    logits, out = sparse(machine, (entries, 16), torch.float16), sparse(machine, (entries, 16), torch.float16)
    machine.last_blocks = 1
    indptr = torch.tensor([0] + 8 * [entries - 2] + [entries])  # the last row is alone in its block
    _walk.Walk.of_segments(indptr, logits).twice("softmax.cu", "softmax", 2, out, logits)
    assert out[-2:].eq(0.5).all()


def test_gather_rows_reads_and_writes_past_31_bits(machine: Machine) -> None:
    table = sparse(machine, (2**31 // 48 + 2, 48), torch.int8)
    table[-1] = 1
    ids, out = sparse(machine, (len(table),), torch.int64), sparse(machine, (len(table), 48), torch.int8)
    ids[-1] = len(table) - 1
    machine.last_blocks = 1
    _cupy_gather._gather_rows(table, ids, out, None, from_host=True)
    assert out[-1].eq(1).all()


@pytest.mark.parametrize("fanout", [-1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_sampling_reads_past_31_bits(machine: Machine, fanout: int, weighted: bool) -> None:
    indices, start = sparse(machine, (2**31 + 9,), torch.int32), torch.tensor([2**31 + 4])
    indices[-5:], sums = torch.arange(1, 6), None
    if weighted:
        sums = sparse(machine, (len(indices),), torch.float64)
        sums[-5:] = torch.arange(1, 6)
    indptr, entries, neighbors = _cupy.sample_neighbors(indices, start, start + 5, fanout, 0, False, sums)
    assert len(entries.unique()) == indptr[1] == (3 if fanout > 0 else 5)
    assert torch.equal(neighbors.long(), entries - 2**31 - 3)


def test_samples_are_written_past_31_bits(machine: Machine) -> None:
    count = 2**31 + 9
    entries, neighbors = sparse(machine, (count,), torch.int64), sparse(machine, (count,), torch.int32)
    indices, pointers = sparse(machine, (count,), torch.int32), torch.tensor([0, count])
    indices[-1] = 7
    machine.last_blocks = 1
    args = indices, pointers[:1], pointers[1:], pointers, 1, 0, entries, neighbors, count, 0, None
    launch("sample.cu", "sample_each<int>", (-(-count // 256), 1), args)
    assert entries[-9:].tolist() == list(range(2**31, count))
    assert neighbors[-2:].tolist() == [0, 7]


def test_nodes_past_31_bits_are_numbered(machine: Machine) -> None:
    local = sparse(machine, (2**31 + 9,), torch.int32)
    local[-3:] = -1
    labels, new = _cupy.relabel(local, 5, torch.tensor([2**31 + 8, 2**31 + 6, 2**31 + 8, 0]))
    assert (labels.tolist(), new.tolist()) == ([5, 6, 5, 0], [2**31 + 8, 2**31 + 6])
    assert local[-3:].tolist() == [6, -1, 5]
