"""GraphNetwork: the networks of the stages, one number a node, and the same computed with propagated features."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

from gnnkit.causal._nodes import Nodes

KINDS = ("gcn", "sage", "gat", "sign", "mlp")
SIGN_HOPS = 2


class GraphNetwork(nn.Module):
    """A network of ``kind`` from features and graph to one number a node.

    The layers are PyG's, made in their order, so the same seed gives the same weights as a plain PyG network. ``"mlp"``
    has ``num_layers`` hidden layers and one more, the others ``num_layers`` layers; ``"gat"`` has four heads side by
    side in its first layer and one in the others; ``"sign"`` is an MLP on the features of `Nodes.hops`. There is no
    dropout.
    """

    def __init__(self, kind: str, in_channels: int, hidden_channels: int, num_layers: int) -> None:
        super().__init__()
        self.kind, self.sizes = kind, (in_channels, hidden_channels, num_layers)
        if kind in ("mlp", "sign"):
            width = in_channels if kind == "mlp" else (SIGN_HOPS + 1) * in_channels + 1
            widths = [width, *[hidden_channels] * num_layers, 1]
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
            return
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), 1]
        pairs = list(pairwise(widths))
        if kind == "gat":
            heads = [4, *[1] * (num_layers - 1)] if num_layers > 1 else [1]
            sources = [1, *heads[:-1]]
            self.layers = nn.ModuleList(
                GATConv(a * before, b, heads=now) for (a, b), before, now in zip(pairs, sources, heads, strict=True)
            )
        else:
            layer = GCNConv if kind == "gcn" else SAGEConv
            self.layers = nn.ModuleList(layer(a, b) for a, b in pairs)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return ``[N, 1]``; what `on` computes faster."""
        if self.kind == "sign":
            x = Nodes(x, edge_index).hops(SIGN_HOPS)
        for i, layer in enumerate(self.layers):
            x = layer(x.relu() if i else x, *([] if self.kind in ("mlp", "sign") else [edge_index]))
        return x

    def start_at_zero(self) -> None:
        """Set the last layer's weights to 0: until it is trained, every node gets 0."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def on(self, nodes: Nodes) -> Callable[[], Tensor]:
        """A function that computes ``[N]`` of these nodes from the weights as they are when it is called."""
        if self.kind in ("mlp", "sign"):
            rows = nodes.x if self.kind == "mlp" else nodes.hops(SIGN_HOPS)
            return lambda: self._dense(rows).squeeze(1)
        if self.kind == "gat":
            return lambda: self(nodes.x, nodes.edge_index).squeeze(1)
        step = self._gcn if self.kind == "gcn" else self._sage

        def forward() -> Tensor:
            h = nodes.x
            for i, layer in enumerate(self.layers):
                h = step(layer, nodes, h.relu() if i else None)
            return h.squeeze(1)

        return forward

    def _dense(self, h: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            h = layer(h.relu() if i else h)
        return h

    @staticmethod
    def _gcn(layer: GCNConv, nodes: Nodes, h: Tensor | None) -> Tensor:
        weight, bias = layer.lin.weight, layer.bias
        if h is None:
            return torch.addmm(bias, nodes.gcn_x, weight.t())
        if weight.shape[0] < weight.shape[1]:  # the narrower side is propagated
            return nodes.gcn(h @ weight.t()) + bias
        return torch.addmm(bias, nodes.gcn(h), weight.t())

    @staticmethod
    def _sage(layer: SAGEConv, nodes: Nodes, h: Tensor | None) -> Tensor:
        rows = nodes.x if h is None else h
        own = rows @ layer.lin_r.weight.t()
        if h is None:
            return own + layer.lin_l(nodes.mean_x)
        weight, bias = layer.lin_l.weight, layer.lin_l.bias
        if weight.shape[0] < weight.shape[1]:
            return own + nodes.mean(h @ weight.t()) + bias
        return own + torch.addmm(bias, nodes.mean(h), weight.t())
