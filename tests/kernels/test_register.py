"""Registered operations import no compiler that nobody asked for, and stay hidden from one that somebody did."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from gnnkit.kernels._extreme import ties_op

EAGER_THEN_COMPILED = """
import sys
import torch
from gnnkit import kernels
from gnnkit.kernels._spmm import spmm_op

indptr, indices = torch.tensor([0, 2, 3, 4]), torch.tensor([0, 1, 1, 2], dtype=torch.int32)
x, values = torch.arange(24.0).view(3, 1, 8).requires_grad_(), torch.ones(4, 1, requires_grad=True)

def both_ways(function):
    out = function(x * 2)
    return out, *torch.autograd.grad(out.square().sum(), (x, values))

def summed(rows):
    return spmm_op(indptr, indices, rows, values, "sum", None, None, None)

eager = both_ways(summed)
assert "torch._dynamo" not in sys.modules, "a first call imports what compiles"

# called from a frame that torch.compile leaves alone, among frames that it looks into; then within a graph
beside = torch.compiler.disable(summed, recursive=False)
for function in (lambda rows: beside(rows) + 0, summed):
    compiled = both_ways(torch.compile(function, backend="eager"))
    assert all(torch.equal(a, b) for a, b in zip(eager, compiled, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(eager, both_ways(summed), strict=True))
"""


def test_eager_calls_import_no_compiler_and_give_what_compiled_ones_do() -> None:
    command = [sys.executable, "-c", EAGER_THEN_COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_operation_has_a_gradient_or_refuses() -> None:
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("gnnkit::")]
    assert "gnnkit::spmm" in names
    assert all(torch._C._dispatch_has_kernel_for_dispatch_key(name, "Autograd") for name in names)


def test_an_operation_without_gradient_says_so(backend: str) -> None:
    x = torch.ones(1, 1, 1, requires_grad=True)
    ties = ties_op(torch.tensor([0, 1]), torch.tensor([0]), x, None, torch.ones(1, 1, 1))
    with pytest.raises(RuntimeError, match="gnnkit::extreme_ties has no gradient"):
        ties.sum().backward()
