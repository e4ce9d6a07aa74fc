"""What the tests of spmm share: inputs of every shape, PyG's result, gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import scatter

REDUCES = ("sum", "mean", "max", "min")
DTYPES = (torch.float32, torch.float64)
# how x and the values may be shaped: name -> (shape of a row of x, shape of an edge's value)
FORMS: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "x[N,D]": ((3,), None),
    "x[N,D] values[E]": ((3,), ()),
    "x[N,H,D]": ((2, 3), None),
    "x[N,H,D] values[E]": ((2, 3), ()),
    "x[N,H,D] values[E,H]": ((2, 3), (2,)),
}


def by_pyg(graph: Any, x: Tensor, values: Tensor | None, reduce: str) -> Tensor:
    """The oracle: materialise the messages and scatter them."""
    messages = x[graph.src]  # [E, (H,) D]
    if values is not None:
        messages = messages * values.reshape(*values.shape, *[1] * (x.dim() - values.dim()))
    return scatter(messages, graph.dst, dim=0, dim_size=graph.num_dst, reduce=reduce)


def draw(graph: Any, form: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    """Draw x and values of a form, both asking for gradients."""
    row, value = FORMS[form]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(graph.num_src, *row, generator=generator, dtype=dtype).requires_grad_()
    if value is None:
        return x, None
    values = torch.randn(graph.num_edges, *value, generator=generator, dtype=dtype).requires_grad_()
    return x, values


def gradients(out: Tensor, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    """Pull a fixed random gradient back to those inputs that are there."""
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(99), dtype=out.dtype)
    return torch.autograd.grad(out, [t for t in inputs if t is not None], grad)
