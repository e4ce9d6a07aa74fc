"""Hops against PyG's own layers: one graph, rows, and a comparison of numbers and gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

NUM_NODES = 20


def edges_of_a_graph() -> Tensor:
    """``[2, 90]`` with self-loops, parallel edges and a node without any."""
    edges = torch.randint(NUM_NODES - 1, (2, 90), generator=torch.Generator().manual_seed(3))
    assert (edges[0] == edges[1]).any()
    return edges


def rows(width: int, count: int = NUM_NODES) -> Tensor:
    """``[20, width]`` in float64, asking for a gradient."""
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()


def same_with_gradients(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], module: nn.Module
) -> None:
    """Compare two functions of rows, their gradients and those of the parameters of a module that both use."""
    results = []
    for function in (theirs, ours):
        x = rows(8)
        torch.manual_seed(7)
        out = function(x)
        module.zero_grad()
        (out * torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(5))).sum().backward()
        grads = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
        results.append({"out": out.detach(), "x": x.grad, **grads})
    expected, found = results
    assert expected.keys() == found.keys()
    assert len(found) > 2
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")


def stirred(module: nn.Module) -> nn.Module:
    """Give every parameter random values: biases begin as zeros, and a missing one would not show."""
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
    return module
