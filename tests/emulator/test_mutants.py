"""The suite is worth what it catches: each source with one fault planted must be refused by a probe that it passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from graphs import make, reals
from huge import sparse
from machine import EmulatorError, Machine, build

from gnnkit.kernels import _cupy, _launch, _torch


def spmm(machine: Machine) -> None:
    for kind in ("sparse", "skewed"):
        graph = make(kind)
        for width in (5, 8):
            x = reals(graph.num_src, 1, width, dtype=torch.float32)
            for reduce in ("sum", "max"):
                csr = graph.indptr, graph.indices
                torch.testing.assert_close(_cupy.spmm(*csr, x, None, reduce), _torch.spmm(*csr, x, None, reduce))


def spmm_past_31_bits(machine: Machine) -> None:
    x = sparse(machine, (2**31 // 64 + 2, 1, 64), torch.float16)
    x[-1] = 1
    out = _cupy.spmm(torch.tensor([0, 1]), torch.tensor([len(x) - 1]), x, None, "sum")
    assert out.eq(1).all()


Probe = Callable[[Machine], None]
MUTANTS: list[tuple[str, Probe, str, str]] = [
    ("spmm.cu", spmm, "acc[v];\n        __syncthreads();", "acc[v];"),
    ("spmm.cu", spmm, "            __syncthreads();\n        }", "        }"),
    ("spmm.cu", spmm, "if (row >= rows) return;", "if (row > rows) return;"),
    ("spmm.cu", spmm, "at.inside = at.feature < features", "at.inside = at.feature <= features"),
    ("spmm.cu", spmm, "__shfl_xor_sync(ALL_LANES", "__shfl_xor_sync(0x0000ffffu"),
    ("spmm.cu", spmm, "at.lane / span;", "at.lane % span;"),
    ("spmm.cu", spmm, "low + warp_in_block() * piece", "low + warp_in_block() * (piece + 1)"),
    ("spmm.cu", spmm_past_31_bits, "x + src * features", "x + (int)src * (int)features"),
]


@pytest.fixture(scope="module")
def passed() -> dict[Probe, list[str]]:
    """The kernels that a probe needs, once the sources have passed it."""
    return {}


@pytest.mark.parametrize(("source", "probe", "right", "wrong"), MUTANTS, ids=lambda v: getattr(v, "__name__", None))
def test_a_planted_fault_is_caught(
    machine: Machine,
    folder: Path,
    passed: dict[Probe, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    probe: Probe,
    right: str,
    wrong: str,
) -> None:
    if probe not in passed:
        probe(machine)
        passed[probe] = sorted(set(machine.launched))
    mutant = Machine({source: build(folder, source, passed[probe], (right, wrong))})
    monkeypatch.setattr(_launch, "run", mutant.run)
    try:
        with pytest.raises((EmulatorError, AssertionError)):
            probe(mutant)
    finally:
        mutant.stop()


def test_every_source_has_a_mutant() -> None:
    assert {source for source, *_ in MUTANTS} == set(_cupy._instances())
