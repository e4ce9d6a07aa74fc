"""Solving (I - S) y = b for a symmetric matrix along the edges, many right sides at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnnkit.kernels import spmm
from gnnkit.links._graph import LinkGraph

_TOLERANCE = 1e-16  # of the norm of the error, relative to that of y


def solve(graph: LinkGraph, values: Tensor, radius: float, b: Tensor) -> Tensor:
    r"""Solve by Chebyshev's semi-iteration.

    .. math:: y_{k+1} = \omega_{k+1} (S y_k + b - y_{k-1}) + y_{k-1}, \quad \omega_{k+1} = 1 / (1 - \rho^2 \omega_k / 4)

    (Golub and Varga, Numerische Mathematik 3, 1961), which gains a factor :math:`\rho / (1 + \sqrt{1 - \rho^2})` a
    step: 0.56 where the plain iteration gains 0.85. Cost: a sum over the edges and three passes over y a step.

    Args:
        graph: The graph.
        values: ``[E]`` float64 in CSR order, S; symmetric.
        radius: rho, at least the spectral radius of S, below 1.
        b: ``[N, B]`` float64.

    Returns:
        ``[N, B]``.
    """
    gain = radius / (1 + math.sqrt(1 - radius**2))
    steps = math.ceil(math.log(_TOLERANCE / 2) / math.log(gain)) if gain else 1
    indptr, indices = graph.adj.indptr, graph.adj.indices
    before, y = torch.zeros_like(b), b.clone()
    omega = 2.0  # makes the first step's 1 / (1 - radius^2 / 2)
    for _ in range(steps):
        omega = 1 / (1 - radius**2 * omega / 4)
        step = spmm(indptr, indices, y, values).add_(b).sub_(before).mul_(omega).add_(before)
        before, y = y, step
    return y
