"""Stack: networks of one shape on the same nodes, computed side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.causal._networks import SIGN_HOPS, GraphNetwork
from gnnkit.causal._nodes import Nodes

KINDS = ("mlp", "sign", "gcn", "sage")


class Stack:
    """K networks with their weights in tensors ``[K, ...]``: an operation each in place of K of a Kth of the size.

    A learner's networks are small and of one shape, a dozen of them, and most of the time of training one alone is the
    time of calling operations.
    """

    def __init__(self, networks: Sequence[GraphNetwork], nodes: Nodes) -> None:
        self.networks, self.nodes, self.kind = networks, nodes, networks[0].kind
        named = [dict(network.named_parameters()) for network in networks]
        self.weights = {
            name: torch.stack([each[name].detach() for each in named]).requires_grad_() for name in named[0]
        }

    def forward(self) -> Tensor:
        """``[K, N]``: what each network computes."""
        dense = self.kind in ("mlp", "sign")
        step = self._dense if dense else self._gcn if self.kind == "gcn" else self._sage
        h: Tensor | None = None
        for layer in range(len(self.networks[0].layers)):
            h = step(f"layers.{layer}", None if h is None else h.relu_())
        assert h is not None
        return h.squeeze(2)

    def write_back(self, weights: dict[str, Tensor]) -> None:
        """Give the networks these weights."""
        with torch.no_grad():
            for name, stacked in weights.items():
                for network, value in zip(self.networks, stacked, strict=True):
                    network.get_parameter(name).copy_(value)

    def _dense(self, layer: str, h: Tensor | None) -> Tensor:
        if h is None:
            rows = self.nodes.x if self.kind == "mlp" else self.nodes.hops(SIGN_HOPS)
            h = self._shared(rows)
        return self._mapped(h, f"{layer}.weight", f"{layer}.bias")

    def _gcn(self, layer: str, h: Tensor | None) -> Tensor:
        weight, bias = f"{layer}.lin.weight", f"{layer}.bias"
        if h is None:
            return self._mapped(self._shared(self.nodes.gcn_x), weight, bias)
        if self._narrows(weight):
            return self._propagated(self._mapped(h, weight), mean=False) + self.weights[bias].unsqueeze(1)
        return self._mapped(self._propagated(h, mean=False), weight, bias)

    def _sage(self, layer: str, h: Tensor | None) -> Tensor:
        weight, bias = f"{layer}.lin_l.weight", f"{layer}.lin_l.bias"
        own = self._mapped(self._shared(self.nodes.x) if h is None else h, f"{layer}.lin_r.weight")
        if h is None:
            return own + self._mapped(self._shared(self.nodes.mean_x), weight, bias)
        if self._narrows(weight):
            return own + self._propagated(self._mapped(h, weight), mean=True) + self.weights[bias].unsqueeze(1)
        return own + self._mapped(self._propagated(h, mean=True), weight, bias)

    def _shared(self, rows: Tensor) -> Tensor:
        return rows.expand(len(self.networks), *rows.shape)

    def _mapped(self, h: Tensor, weight: str, bias: str | None = None) -> Tensor:
        """``[K, N, a] -> [K, N, b]``."""
        across = self.weights[weight].transpose(1, 2)
        return torch.bmm(h, across) if bias is None else torch.baddbmm(self.weights[bias].unsqueeze(1), h, across)

    def _narrows(self, weight: str) -> bool:
        return self.weights[weight].shape[1] < self.weights[weight].shape[2]

    def _propagated(self, h: Tensor, *, mean: bool) -> Tensor:
        number, width = len(h), h.shape[2]
        rows = h.transpose(0, 1).reshape(len(self.nodes), number * width)  # [N, K h]
        rows = self.nodes.mean(rows) if mean else self.nodes.gcn(rows)
        return rows.reshape(len(self.nodes), number, width).transpose(0, 1)
