"""The public functions on the GPU backend, run by the emulator: values, gradients and gradients of gradients."""

from __future__ import annotations

import pytest
import torch
from graphs import Graph, make, reals
from machine import Machine
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gnnkit.kernels import (
    _backend,
    gat_attention,
    gather_rows,
    gatv2_attention,
    sddmm,
    segment_reduce,
    segment_softmax,
    spmm,
)

SMALL = Graph(torch.tensor([0, 3, 3, 30]), torch.arange(30, dtype=torch.int32) * 7 % 5, 5)  # the last row is a hub


@pytest.fixture
def on_gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the GPU backend take CPU tensors."""
    monkeypatch.setitem(_backend._DEVICES, "cupy", "cpu")
    monkeypatch.setattr(_backend, "_has_cupy", lambda: True)
    monkeypatch.setenv("GNNKIT_BACKEND", "cupy")


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return reals(*shape, dtype=torch.float64, seed=seed).requires_grad_()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_spmm(on_gpu: None, machine: Machine, reduce: str, weighted: bool) -> None:
    inputs = (leaf(5, 1, 2), *([leaf(30, 1, seed=1)] if weighted else []))

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return spmm(SMALL.indptr, SMALL.indices, x, *values, reduce=reduce)

    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)
    assert any(kernel.startswith("spmm_") for kernel in machine.launched)


def test_sddmm_softmax_segments_and_gather(on_gpu: None) -> None:
    csr = SMALL.indptr, SMALL.indices
    for function, inputs in (
        (lambda a, b: sddmm(*csr, a, b), (leaf(3, 2, 3), leaf(5, 2, 3, seed=1))),
        (lambda logits: segment_softmax(logits, SMALL.indptr), (leaf(30, 2),)),
        (lambda x: segment_reduce(x, SMALL.indptr, "max"), (leaf(30, 2),)),
        (lambda table: gather_rows(table, torch.tensor([3, 0, 3])).square(), (leaf(4, 2),)),
    ):
        assert gradcheck(function, inputs, fast_mode=True)
        assert gradgradcheck(function, inputs, fast_mode=True)


def test_attention(on_gpu: None, machine: Machine) -> None:
    csr, mask = (SMALL.indptr, SMALL.indices), torch.arange(60.0, dtype=torch.float64).view(30, 2) % 3
    for function, inputs in (
        (
            lambda *tensors: gat_attention(*csr, *tensors, mask=mask),
            (leaf(5, 2, 3), leaf(5, 2, seed=1), leaf(3, 2, seed=2), leaf(30, 2, seed=3)),
        ),
        (
            lambda *tensors: gatv2_attention(*csr, *tensors, mask=mask),
            (leaf(5, 2, 3), leaf(3, 2, 3, seed=1), leaf(2, 3, seed=2)),
        ),
    ):
        assert gradcheck(function, inputs, fast_mode=True)
        assert gradgradcheck(function, inputs, fast_mode=True)
    wanted = {"gat_forward", "gat_backward_dst", "gat_backward_src", "gatv2_backward_dst", "gatv2_backward_src"}
    assert wanted <= {kernel.split("<")[0] for kernel in machine.launched}


def test_the_gradient_of_a_softmax_is_one_pass(on_gpu: None, machine: Machine) -> None:
    logits = make("skewed").indptr
    x = leaf(int(logits[-1]), 3)
    segment_softmax(x, logits).square().sum().backward()
    assert "softmax_backward<double, 1>" in machine.launched
    expected = leaf(int(logits[-1]), 3)
    rows = torch.split(expected, logits.diff().tolist())
    sum(row.softmax(0).square().sum() for row in rows).backward()
    torch.testing.assert_close(x.grad, expected.grad)
