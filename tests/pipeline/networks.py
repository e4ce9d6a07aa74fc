"""Small networks of every kind that the contract allows, float64, and a graph to train them on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gnnkit.pipeline import Neighbourhood, Network, OneHop

N, FEATURES, CLASSES = 48, 5, 3


class Plain(OneHop):
    """dropout, sum, linear, ReLU, dropout."""

    drop = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, width)

    def before(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return F.dropout(x, 0.2, self.training and self.drop)

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        return graph.adj.spmm(z, graph.edge_weight)

    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return x + F.dropout(self.lin(a).relu(), 0.3, self.training and self.drop)


class Quiet(Plain):
    """The same without dropout."""

    drop = False


class Shared(Plain):
    """The same with a share of what travels along."""

    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        assert shared is not None
        return 0.5 * super().after(a, x) + 0.5 * self.lin(shared)


class Attention(OneHop):
    """One head; the attention has dropout, drawn while rows are gathered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin, self.src, self.dst = nn.Linear(width, width), nn.Linear(width, 1), nn.Linear(width, 1)

    def before(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        out: Tensor = self.lin(x)
        return out

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        adj = graph.adj
        logits = adj.gather(self.src(z), "src") + adj.gather(self.dst(z[: adj.num_dst]), "dst")
        weight = F.dropout(adj.softmax(F.leaky_relu(logits.squeeze(1), 0.2)), 0.2, self.training)
        return adj.spmm(z, weight)

    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return x + a.tanh()


class DropsFirst(nn.Module):
    """No `OneHop` either: random numbers for each row that it is given, sources too, before rows are gathered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, width)

    def forward(self, x: Tensor, edge_index: Tensor, **_: Any) -> Tensor:
        src, dst = edge_index
        rows = F.dropout(x, 0.3, self.training)[src]
        return x + self.lin(x.new_zeros(x.shape).index_add(0, dst, rows)).tanh()


class EdgeStates(nn.Module):
    """No `OneHop`: a layer by the contract alone, whose edges have states that change."""

    returns_edges = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.node, self.edge = nn.Linear(width, width), nn.Linear(2 * width + 2, 2)

    def forward(self, x: Tensor, edge_index: Tensor, *, edge_attr: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        src, dst = edge_index
        edge_attr = self.edge(torch.cat([x[src], x[dst], edge_attr], 1)).tanh()  # [E, 2]
        out = x.new_zeros(len(x), x.shape[1]).index_add(0, dst, x[src] * edge_attr.sum(1, keepdim=True))
        return x + self.node(F.dropout(out, 0.2, self.training)).tanh(), edge_attr


def network(kind: str, num_layers: int = 4, width: int = 6) -> Network:
    """Make a network from one seed: ``plain``, ``quiet``, ``shared``, ``attention``, ``edges``, ``bare``."""
    torch.manual_seed(3)
    kinds: dict[str, Any] = {
        "plain": (Plain, {"edges": "gcn"}),
        "quiet": (Quiet, {"edges": "gcn"}),
        "shared": (Shared, {"edges": "gcn", "shares": True}),
        "attention": (Attention, {"edges": "loops"}),
        "edges": (EdgeStates, {}),
        "drops first": (DropsFirst, {}),
        "bare": (Plain, {"edges": "mean"}),
    }
    layer, options = kinds[kind]
    if kind == "bare":  # no row-wise ends: features go to a hop, which gives the classes
        return Network(None, [layer(FEATURES) for _ in range(num_layers)], None, **options).double()
    layers = [layer(width) for _ in range(num_layers)]
    return Network(nn.Linear(FEATURES, width), layers, nn.Linear(width, CLASSES), **options).double()


def graph(kind: str) -> dict[str, Tensor | None]:
    """Make a graph with a hub, loops, parallel edges and an isolated node, its features and targets."""
    draw = torch.Generator().manual_seed(1)
    edge_index = torch.randint(0, N - 1, (2, 170), generator=draw)
    edge_index[1, :20] = 0
    x = torch.randn(N, FEATURES, generator=draw, dtype=torch.float64)
    y = torch.randint(CLASSES, (N,), generator=draw)
    attr = torch.randn(170, 2, generator=draw, dtype=torch.float64) if kind == "edges" else None
    return {"edge_index": edge_index, "x": x, "y": y, "train": torch.arange(0, N, 3), "edge_attr": attr}


def cells(ways: int, chunks: int) -> Tensor:
    """Cut the nodes in a way that no structure explains."""
    draw = torch.Generator().manual_seed(2)
    drawn = torch.randint(ways * chunks, (N,), generator=draw)
    drawn[: ways * chunks] = torch.arange(ways * chunks)
    return drawn
