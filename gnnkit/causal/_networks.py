"""GraphNetwork: the networks of the stages, one number a node."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

from gnnkit._accelerate import accelerate
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
            accelerate(self)
        else:
            layer = GCNConv if kind == "gcn" else SAGEConv
            self.layers = nn.ModuleList(layer(a, b) for a, b in pairs)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return ``[N, 1]``; `Stack` computes the same of several networks at once."""
        if self.kind == "sign":
            x = Nodes(x, edge_index).hops(SIGN_HOPS)
        for i, layer in enumerate(self.layers):
            x = layer(x.relu() if i else x, *([] if self.kind in ("mlp", "sign") else [edge_index]))
        return x

    def start_at_zero(self) -> None:
        """Set the last layer's weights to 0: until it is trained, every node gets 0."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
