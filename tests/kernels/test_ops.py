"""The custom operations keep PyTorch's contract, and a compiled function gives what an eager one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck
from torch.testing import assert_close

from gnnkit.kernels import _csr, _extreme, gather_rows, sddmm, segment_softmax, spmm
from gnnkit.kernels._gat import gat_dst_op, gat_op, gat_src_op
from gnnkit.kernels._gather_rows import gather_op
from gnnkit.kernels._gatv2 import gatv2_dst_op, gatv2_op, gatv2_src_op
from gnnkit.kernels._norm_relu import backward_op as norm_relu_backward_op
from gnnkit.kernels._norm_relu import norm_relu_op
from gnnkit.kernels._sddmm import sddmm_op
from gnnkit.kernels._segment_matmul import matmul_op, outer_op
from gnnkit.kernels._segment_softmax import softmax_backward_op, softmax_op
from gnnkit.kernels._spmm import spmm_op
from gnnkit.kernels._spmm_scaled import scaled_op

INDPTR, INDICES = torch.tensor([0, 2, 2, 5]), torch.tensor([0, 1, 1, 3, 1])  # 3 destinations, 4 sources
TRANSPOSE = _csr.transpose_csr(INDPTR, INDICES, 4)
NO_TRANSPOSE = None, None, None


def rows(*shape: int, grad: bool = True) -> Tensor:
    """Draw a table."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


def extreme() -> tuple[Tensor, Tensor, Tensor]:
    """Give x, its weighted maximum at every destination, and the weights."""
    x, weight = rows(4, 2, 3, grad=False), rows(5, 2, grad=False)
    return x, spmm_op(INDPTR, INDICES, x, weight, "max", *NO_TRANSPOSE), weight


DROPPED = rows(5, 2, grad=False).sign() + 1


def gat_saved() -> tuple[Any, ...]:
    """What GAT's backward operations take after the topology."""
    inputs = *(rows(*shape, grad=False) for shape in ((4, 2, 3), (4, 2), (3, 2), (5, 2))), DROPPED, 0.2
    out, top, total = gat_op(INDPTR, INDICES, *inputs, *NO_TRANSPOSE)
    return *inputs, top, total, torch.ones_like(out), out.sum(-1)


def gatv2_saved() -> tuple[Any, ...]:
    """What GATv2's backward operations take after the topology."""
    inputs = *(rows(*shape, grad=False) for shape in ((4, 2, 3), (3, 2, 3), (2, 3))), DROPPED, 0.2
    out, top, total = gatv2_op(INDPTR, INDICES, *inputs, *NO_TRANSPOSE)
    return *inputs, top, total, torch.ones_like(out), out.sum(-1)


# name -> (the operation, its arguments): every operation of gnnkit.kernels stands here at least once
CASES: dict[str, tuple[Any, Callable[[], tuple[Any, ...]]]] = {
    "spmm sum": (spmm_op, lambda: (INDPTR, INDICES, rows(4, 2, 3), None, "sum", *NO_TRANSPOSE)),
    "spmm mean": (spmm_op, lambda: (INDPTR, INDICES, rows(4, 2, 3), rows(5, 2), "mean", *TRANSPOSE)),
    "spmm max": (spmm_op, lambda: (INDPTR, INDICES, rows(4, 2, 3), rows(5, 2), "max", *NO_TRANSPOSE)),
    "spmm_scaled": (
        scaled_op,
        lambda: (INDPTR, INDICES, rows(4, 1, 3), rows(5, 1), rows(4), rows(3), *TRANSPOSE),
    ),
    "spmm_scaled of nodes alone": (
        scaled_op,
        lambda: (INDPTR, INDICES, rows(4, 1, 3), None, rows(4, grad=False), rows(3, grad=False), *NO_TRANSPOSE),
    ),
    "sddmm": (sddmm_op, lambda: (INDPTR, INDICES, rows(3, 2, 3), rows(4, 2, 3), *NO_TRANSPOSE)),
    "extreme_ties": (
        _extreme.ties_op,
        lambda: (INDPTR, INDICES, *(extreme()[k] for k in (0, 2, 1))),
    ),
    "masked_spmm to sources": (
        _extreme.masked_spmm_op,
        lambda: (INDPTR, INDICES, *TRANSPOSE, rows(3, 2, 3), rows(5, 2), *extreme(), True),
    ),
    "masked_spmm to destinations": (
        _extreme.masked_spmm_op,
        lambda: (INDPTR, INDICES, *NO_TRANSPOSE, rows(4, 2, 3), None, *extreme(), False),
    ),
    "masked_sddmm": (
        _extreme.masked_sddmm_op,
        lambda: (INDPTR, INDICES, *TRANSPOSE, rows(3, 2, 3), rows(4, 2, 3), *extreme()),
    ),
    "segment_softmax": (softmax_op, lambda: (rows(5, 2), INDPTR)),
    "segment_softmax_backward": (
        softmax_backward_op,
        lambda: (rows(5, 2, grad=False), rows(5, 2, grad=False), INDPTR),
    ),
    "gat": (
        gat_op,
        lambda: (INDPTR, INDICES, rows(4, 2, 3), rows(4, 2), rows(3, 2), rows(5, 2), None, 0.2, *TRANSPOSE),
    ),
    "gat of nodes alone": (
        gat_op,
        lambda: (INDPTR, INDICES, rows(4, 2, 3), rows(4, 2), rows(3, 2), None, DROPPED, 0.2, *NO_TRANSPOSE),
    ),
    "gat_backward_dst": (gat_dst_op, lambda: (INDPTR, INDICES, *gat_saved())),
    "gat_backward_src": (gat_src_op, lambda: (*TRANSPOSE, *gat_saved())),
    "gatv2": (
        gatv2_op,
        lambda: (INDPTR, INDICES, rows(4, 2, 3), rows(3, 2, 3), rows(2, 3), DROPPED, 0.2, *TRANSPOSE),
    ),
    "gatv2_backward_dst": (gatv2_dst_op, lambda: (INDPTR, INDICES, *gatv2_saved())),
    "gatv2_backward_src": (gatv2_src_op, lambda: (*TRANSPOSE, *gatv2_saved())),
    "segment_matmul": (matmul_op, lambda: (rows(5, 2, 3), INDPTR, rows(3, 2, 3, 4))),
    "segment_outer": (outer_op, lambda: (rows(5, 2, 3), INDPTR, rows(5, 2, 4))),
    "norm_relu": (norm_relu_op, lambda: (rows(5, 3), rows(3), rows(3), rows(3), 1e-5, 2**31, 7)),
    "norm_relu of a bias": (norm_relu_op, lambda: (rows(5, 3), rows(3), None, None, 0.0, 0, 0)),
    "norm_relu_backward": (
        norm_relu_backward_op,
        lambda: (*(rows(5, 3, grad=False) for _ in range(3)), rows(3, grad=False), rows(3, grad=False), 1e-5, 2**31),
    ),
    "gather_rows": (gather_op, lambda: (rows(4, 3), torch.tensor([3, 0, 3]))),
    "group_by": (_csr._group_by, lambda: (INDICES, 4)),
    "row_of_entry": (_csr.row_of_entry, lambda: (INDPTR, INDICES)),
}


def test_every_custom_operation_has_a_case() -> None:
    registered = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("gnnkit::")}
    assert {op.name() for op, _ in CASES.values()} == registered


@pytest.mark.parametrize("case", CASES)
def test_opcheck_passes(backend: str, case: str) -> None:
    operation, arguments = CASES[case]
    opcheck(operation, arguments())


@pytest.mark.parametrize("case", CASES)
def test_no_output_shares_memory_with_an_input(backend: str, case: str) -> None:
    operation, arguments = CASES[case]
    inputs = arguments()
    outputs = operation(*inputs)
    given = {t.untyped_storage().data_ptr() for t in inputs if isinstance(t, Tensor)}
    for out in outputs if isinstance(outputs, tuple) else (outputs,):
        assert out.is_contiguous()
        assert out.untyped_storage().data_ptr() not in given


# ------------------------------------------------------------------ torch.compile


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """Forget compiled code before and after."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def attention(indptr: Tensor, indices: Tensor, x: Tensor, query: Tensor) -> Tensor:
    """Weigh, normalise and aggregate: every operation with a gradient, in one function."""
    logits = sddmm(indptr, indices, query, x) / x.shape[-1] ** 0.5  # [E]
    alpha = segment_softmax(logits, indptr)
    summed = spmm(indptr, indices, x, alpha)
    largest = spmm(indptr, indices, x.relu(), alpha, "max")
    return (summed * largest + spmm(indptr, indices, x, reduce="mean")).relu() + gather_rows(x, indices).mean(0)


def a_graph(num_nodes: int, num_edges: int, width: int) -> tuple[Tensor, ...]:
    """Draw a graph and two tables that ask for gradients."""
    generator = torch.Generator().manual_seed(num_nodes)
    dst = torch.randint(num_nodes, (num_edges,), generator=generator)
    indptr = torch.cat([torch.zeros(1).long(), torch.bincount(dst, minlength=num_nodes).cumsum(0)])
    indices = torch.randint(num_nodes, (num_edges,), generator=generator).int()
    tables = (torch.randn(num_nodes, width, generator=generator).requires_grad_() for _ in range(2))
    return indptr, indices, *tables


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_function_equals_the_eager_one_forward_and_backward(dynamic: bool) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(attention, fullgraph=True, backend=counter, dynamic=dynamic)
    for sizes in [(9, 30, 4), (13, 50, 6), (5, 11, 3)] if dynamic else [(9, 30, 4)]:
        inputs = a_graph(*sizes)
        ours, eager = compiled(*inputs), attention(*inputs)
        assert_close(ours, eager)
        pulls = [torch.autograd.grad(out.square().sum(), inputs[2:]) for out in (ours, eager)]
        assert_close(*pulls)
    assert counter.frame_count == 1  # one graph, and with dynamic shapes one for all sizes


@pytest.mark.usefixtures("fresh_dynamo")
def test_a_bad_index_is_a_value_error_also_in_a_compiled_function() -> None:
    compiled = torch.compile(spmm, fullgraph=True, backend="aot_eager")
    with pytest.raises(ValueError, match=r"^indices: expected ids in \[0, 4\) \(got 9\)$"):
        compiled(INDPTR, torch.tensor([0, 1, 1, 9, 1]), rows(4, 3, grad=False))
