"""Say which peers this environment has, and check each against gnnkit; run by ``make peers``.

Prints one line a peer: its version and whether its sum on a small random graph equals ours, or why it cannot
be imported. Exits 1 when torch-scatter or torch-sparse is missing or when any peer disagrees.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version

import torch
from torch import Tensor

from gnnkit import Adjacency
from gnnkit.datasets.synthetic import power_law
from gnnkit.interop import import_dgl

NODES, EDGES, WIDTH = 500, 5_000, 16
Aggregate = Callable[[Tensor, Tensor], Tensor]  # edge_index [2, E], x [N, D] -> [N, D]


def pyg(edge_index: Tensor, x: Tensor) -> Tensor:
    from torch_geometric.nn import SimpleConv

    out: Tensor = SimpleConv(aggr="sum")(x, edge_index)
    return out


def torch_scatter(edge_index: Tensor, x: Tensor) -> Tensor:
    out: Tensor = import_module("torch_scatter").scatter_sum(x[edge_index[0]], edge_index[1], dim=0, dim_size=len(x))
    return out


def torch_sparse(edge_index: Tensor, x: Tensor) -> Tensor:
    size = (len(x), len(x))
    matrix = import_module("torch_sparse").SparseTensor(row=edge_index[1], col=edge_index[0], sparse_sizes=size)
    out: Tensor = matrix.matmul(x, reduce="sum")
    return out


def dgl(edge_index: Tensor, x: Tensor) -> Tensor:
    dgl = import_dgl()
    out: Tensor = dgl.ops.copy_u_sum(dgl.graph((edge_index[0], edge_index[1]), num_nodes=len(x)), x)
    return out


# Distribution, its aggregation, and whether a claim needs it.
PEERS: tuple[tuple[str, Aggregate, bool], ...] = (
    ("torch-geometric", pyg, True),
    ("torch-scatter", torch_scatter, True),
    ("torch-sparse", torch_sparse, True),
    ("dgl", dgl, False),
)


def report(name: str, aggregate: Aggregate, edge_index: Tensor, x: Tensor, ours: Tensor) -> bool | None:
    """Print a peer's line; returns whether it agrees with ours, None when it cannot be used."""
    try:
        theirs = aggregate(edge_index, x)
    except Exception as error:  # a broken wheel raises OSError, FileNotFoundError, AttributeError …
        reason = (str(error).splitlines() or [""])[0]
        print(f"{name}: not usable: {type(error).__name__}: {reason}")
        return None
    difference = float((theirs - ours).abs().max())
    agrees = difference <= 1e-4
    print(f"{name} {version(name)}: {'agrees' if agrees else 'DISAGREES'} (largest difference {difference:.1g})")
    return agrees


def main() -> int:
    edge_index = power_law(NODES, EDGES)
    x = torch.randn(NODES, WIDTH, generator=torch.Generator().manual_seed(0))
    ours = Adjacency.from_edge_index(edge_index, num_nodes=NODES).spmm(x)
    print(f"torch {torch.__version__}, gnnkit {version('gnnkit')}")
    failed = False
    for name, aggregate, needed in PEERS:
        agrees = report(name, aggregate, edge_index, x, ours)
        failed |= needed if agrees is None else not agrees
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
