"""Rows of nodes and of edges: `Adjacency.gather`, `aggregate`, `to_csr_order` and `to_edge_order`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.utils import scatter

from gnnkit import Adjacency

EDGES = torch.randint(6, (2, 25), generator=torch.Generator().manual_seed(0))
EDGES[1] %= 5  # 6 sources, 5 destinations; parallel edges
ADJ = Adjacency.from_edge_index(EDGES, (6, 5))


def rows(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("end", ["src", "dst"])
def test_gather_is_indexing(end: str, shape: tuple[int, ...], backend: str) -> None:
    side = 0 if end == "src" else 1
    x = rows(6 - side, *shape).requires_grad_()
    y = x.detach().clone().requires_grad_()
    out, expected = ADJ.gather(x, end), y[EDGES[side]]  # type: ignore[arg-type]
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    weight = torch.rand_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_aggregate_is_scatter(reduce: str, shape: tuple[int, ...], backend: str) -> None:
    x = rows(25, *shape).requires_grad_()
    y = x.detach().clone().requires_grad_()
    out, expected = ADJ.aggregate(x, reduce), scatter(y, EDGES[1], 0, 5, reduce)
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_orders_are_inverse(shape: tuple[int, ...]) -> None:
    x = rows(25, *shape).requires_grad_()
    ordered = ADJ.to_csr_order(x)
    torch.testing.assert_close(ordered, x[ADJ.edge_ids], rtol=0, atol=0)
    torch.testing.assert_close(ADJ.to_edge_order(ordered), x, rtol=0, atol=0)
    weight = torch.rand_like(ordered)
    (grad,) = torch.autograd.grad((ordered * weight).sum(), x)
    torch.testing.assert_close(grad, ADJ.to_edge_order(weight), rtol=0, atol=0)


OPERATIONS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "gather": (6, lambda x: ADJ.gather(x)),
    "gather dst": (5, lambda x: ADJ.gather(x, "dst")),
    "aggregate": (25, lambda x: ADJ.aggregate(x)),
    "aggregate mean": (25, lambda x: ADJ.aggregate(x, "mean")),
    "aggregate max": (25, lambda x: ADJ.aggregate(x, "max")),
    "to_csr_order": (25, lambda x: ADJ.to_csr_order(x)),
    "to_edge_order": (25, lambda x: ADJ.to_edge_order(x)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives(name: str) -> None:
    count, operation = OPERATIONS[name]
    x = rows(count, 2).requires_grad_()
    assert torch.autograd.gradcheck(operation, x)
    assert torch.autograd.gradgradcheck(lambda x: operation(x).square(), x)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_wrong_number_of_rows(name: str) -> None:
    count, operation = OPERATIONS[name]
    with pytest.raises(ValueError, match=rf"expected .*{count}.*\(got"):
        operation(rows(count + 1, 2))
    with pytest.raises(ValueError, match=r"expected .* \(got NoneType\)|\(got None\)"):
        operation(None)  # type: ignore[arg-type]


def test_an_end_that_an_edge_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"end: expected src or dst \(got 'both'\)"):
        ADJ.gather(rows(6), "both")  # type: ignore[arg-type]


def test_no_edges() -> None:
    empty = Adjacency.from_edge_index(torch.empty(2, 0, dtype=torch.int64), (3, 4))
    assert empty.gather(torch.ones(3, 2)).shape == (0, 2)
    torch.testing.assert_close(empty.aggregate(torch.ones(0, 2), "max"), torch.zeros(4, 2))
