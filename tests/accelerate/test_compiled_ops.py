"""The operations of compiled graphs keep PyTorch's contract, and their gradients are right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from gnnkit._accelerate import _compiled_attention, _compiled_ops


def _rows(*shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=rng).requires_grad_()


def _cases() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    ops, attention = _compiled_ops, _compiled_attention
    edges = torch.randint(5, (2, 14), generator=torch.Generator().manual_seed(0))  # the last node has no edge
    edges[:, :2] = 1  # a self-loop, twice
    x, heads, weight, per_head = _rows(6, 3), _rows(6, 2, 3), _rows(14), _rows(14, 2)
    a_src, a_dst, mask = _rows(6, 2), _rows(6, 2), _rows(20, 2).detach()
    cases: dict[str, tuple[Any, tuple[Any, ...]]] = {}
    for reduce, values in (("sum", None), ("mean", weight), ("max", weight), ("min", None)):
        cases[f"aggregate {reduce} {values is not None}"] = ops.aggregate_op, (edges, x, values, reduce, 6)
        constant = None if values is None else values.detach()
        kept = x.detach(), constant, ops.aggregate_op(edges, x.detach(), constant, reduce, 6)
        back = edges, x.detach() * 2, *kept, reduce, 6, True, values is not None
        cases[f"aggregate backward {reduce} {values is not None}"] = ops.aggregate_backward_op, back
    cases["aggregate heads max"] = ops.aggregate_op, (edges, heads, per_head, "max", 6)
    for transposed in (False, True):
        cases[f"gcn {transposed}"] = ops.gcn_op, (edges, x, weight.detach().abs(), True, True, transposed)
    for loops, dropped in ((None, None), (6, mask)):
        name = f"{loops} {dropped is not None}"
        gat = edges, heads, a_src, a_dst, dropped, 0.2, loops
        gatv2 = edges, heads, _rows(6, 2, 3), _rows(2, 3), dropped, 0.2, loops
        cases[f"gat {name}"], cases[f"gatv2 {name}"] = (attention.gat_op, gat), (attention.gatv2_op, gatv2)
        for op, back, args in (
            (attention.gat_op, attention.gat_backward_op, gat),
            (attention.gatv2_op, attention.gatv2_backward_op, gatv2),
        ):
            fixed = [a.detach() if isinstance(a, Tensor) else a for a in args]
            out, top, total = op(*fixed)
            cases[f"{back.name()} {name}"] = back, (*fixed, out, top, total, out * 2)
    return cases


CASES = _cases()


def test_every_operation_has_a_case() -> None:
    registered = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("gnnkit_accelerate::")}
    assert {op.name() for op, _ in CASES.values()} == registered


@pytest.mark.parametrize("case", CASES)
def test_opcheck_passes(case: str) -> None:
    operation, arguments = CASES[case]
    opcheck(operation, arguments)


@pytest.mark.parametrize("case", [case for case in CASES if "backward" not in case])
def test_gradients_are_right(case: str) -> None:
    operation, arguments = CASES[case]

    def first(*args: Any) -> Tensor:
        out = operation(*args)
        return out[0] if isinstance(out, tuple) else out

    assert torch.autograd.gradcheck(first, arguments)
