"""What the tests of many layers share: their widths, and their second derivatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import gnnkit

WIDTH, OUT, EDGE, RELATIONS = 6, 4, 3, 3  # channels in, out and of an edge; kinds of edges
PAIR = (WIDTH, WIDTH)


def assert_twice_differentiable(make: Callable[[], nn.Module], takes: str) -> None:
    """Compare the derivatives of an accelerated layer, first and second, with differences."""
    torch.manual_seed(0)
    layer = gnnkit.accelerate(make().double())
    edge_index = torch.randint(5, (2, 12))
    x = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
    attr = [torch.randn(12, EDGE, dtype=torch.float64, requires_grad=True)] if "attr" in takes else []

    def call(x: Tensor, *attr: Tensor) -> Tensor:
        out: Tensor = layer((x, x) if "pair" in takes else x, edge_index, *attr)
        return out

    assert torch.autograd.gradcheck(call, (x, *attr))
    assert torch.autograd.gradgradcheck(call, (x, *attr))
