"""The equations of NCN, NCNC and their encoders on dense matrices, pair by pair, and random graphs to hold them to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit import Adjacency


@dataclass(frozen=True)
class Example:
    """A random simple graph, pairs, and a mask that holds back the edges among them."""

    adj: Adjacency
    x: Tensor  # [N, 6]
    pairs: Tensor  # [2, P]
    keep: Tensor  # [E]

    def dense(self, keep: Tensor | None) -> Tensor:
        """A [N, N], row i the neighbours of i."""
        out = torch.zeros(self.adj.num_nodes, self.adj.num_nodes, dtype=torch.float64)
        out[self.adj.entries[0].long(), self.adj.indices.long()] = 1.0 if keep is None else keep.double()
        return out


def simple(dense: Tensor) -> Adjacency:
    """The graph of a symmetric matrix of zeros and ones."""
    row, col = dense.nonzero().T
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(row, minlength=len(dense)).cumsum(0)])
    return Adjacency.from_csr(indptr, col)


def example(seed: int, channels: int = 6) -> Example:
    """From sparse to dense, with isolated nodes and a hub; some pairs are edges, some pairs come twice."""
    draw = torch.Generator().manual_seed(seed)
    size = int(torch.randint(7, 15, (1,), generator=draw))
    density = float(torch.rand(1, generator=draw)) * 0.5 + 0.1
    upper = (torch.rand(size, size, generator=draw) < density).triu(1)
    upper[0, 1:] |= torch.rand(size - 1, generator=draw) < 0.5  # a hub
    upper[:, -1] = False  # a node without neighbours
    adj = simple(upper | upper.T)
    far = torch.randint(0, size, (2, 6), generator=draw)
    edges = upper.nonzero().T
    chosen = edges[:, torch.randperm(edges.shape[1], generator=draw)[:4]]
    pairs = torch.cat([far[:, far[0] != far[1]], chosen, chosen.flip(0)[:, :2]], dim=1)
    row, col = adj.entries[0].long(), adj.indices.long()
    held_back = {tuple(pair) for pair in [*chosen.T.tolist(), *chosen.flip(0).T.tolist()]}
    keep = torch.tensor([pair not in held_back for pair in zip(row.tolist(), col.tolist(), strict=True)])
    return Example(adj, torch.rand(size, channels, generator=draw, dtype=torch.float64) - 0.5, pairs, keep.bool())


def mlp(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Linear maps, norms and activations in a row, by their definitions; dropout at rate 0."""
    for layer in (module for module in layers.modules() if not [*module.children()]):
        if isinstance(layer, nn.Linear):
            x = x @ layer.weight.T + layer.bias
        elif isinstance(layer, nn.LayerNorm):
            mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
            x = (x - mean) / (var + 1e-5).sqrt() * layer.weight + layer.bias
        elif isinstance(layer, nn.ReLU):
            x = x * (x > 0)
        else:
            assert isinstance(layer, nn.Dropout)
    return x


def encode(encoder: Any, x: Tensor, A: Tensor) -> Tensor:
    """h = MPNN(x, A)."""
    n = 1 / (1 + A.sum(1, keepdim=True)).sqrt()
    x = mlp(encoder.entry, x)
    layers = []
    for layer in range(encoder.num_layers):
        if encoder.kind == "puresum":
            out = A @ x
        elif encoder.kind == "puregcn":
            out = n * (A @ (n * x) + n * x)
        else:
            hat = n * (A + torch.eye(len(A), dtype=A.dtype)) * n.T
            out = hat @ (x @ encoder.maps[layer].weight.T) + encoder.maps[layer].bias
            if layer < encoder.num_layers - 1 or encoder.num_layers == 1:
                out = mlp(encoder.exits[layer], out)
        x = out + x if encoder.residual and out.shape == x.shape else out
        layers.append(x)
    if encoder.layer_weights is None:
        return x
    return sum(encoder.layer_weights[k] * layers[k] for k in range(encoder.num_layers))


def score(
    model: Any, h: Tensor, A: Tensor, i: int, j: int, depth: int = 0, tables: dict[int, Tensor] | None = None
) -> Tensor:
    """The logit of one pair, on sets of Python numbers; ``tables`` holds x' of each depth for the next pair."""
    nodes = range(len(A))
    N = {v: set(A[v].nonzero().flatten().tolist()) for v in (i, j)}
    tables = {} if tables is None else tables
    if depth not in tables:
        tables[depth] = torch.ones(len(A), 1, dtype=h.dtype) if model.variant == "scn1" else h
        if model.xlin is not None:
            tables[depth] = h + mlp(model.xlin, h)
    table = tables[depth]
    zero = torch.zeros(table.shape[1], dtype=h.dtype)
    out = mlp(model.xijlin, h[i] * h[j])
    if model.variant != "cn0":
        common = sum((table[u] for u in N[i] & N[j]), zero)
        if depth > 0:
            inner = h if model.variant == "scn1" else table
            t = model.probability if model.ptlin is None else torch.sigmoid(mlp(model.ptlin, h[i] * h[j]))

            def p(a: int, b: int) -> Tensor:
                with torch.no_grad():
                    s = score(model, inner, A, a, b, depth - 1, tables)
                q = torch.sigmoid(model.scale * (s - model.offset))
                return model.alpha * t * q / (t * q + 1 - q)

            common = common + sum((p(j, u) * table[u] for u in N[i] - N[j]), zero)
            common = common + sum((p(i, u) * table[u] for u in N[j] - N[i]), zero)
        out = out + model.beta * mlp(model.xcnlin, common)
    if model.variant == "cn1.5":
        A2 = A @ A
        far = sum((A[i, u] * A2[j, u] * table[u] for u in nodes), zero)
        far = far + sum((A2[i, u] * A[j, u] * table[u] for u in nodes), zero)
        if not model.walk_counts:
            far = sum((A[i, u] * (A2[j, u] > 0) * table[u] for u in nodes), zero)
            far = far + sum(((A2[i, u] > 0) * A[j, u] * table[u] for u in nodes), zero)
        out = out + mlp(model.xextralin, far)
    if model.variant == "cn1res":
        out = out + mlp(model.xextralin, sum((table[u] for u in N[i] ^ N[j]), zero))
    return mlp(model.lin, out).squeeze(-1)


def scores(model: Any, h: Tensor, A: Tensor, pairs: Tensor) -> Tensor:
    """[P] logits."""
    depth = getattr(model, "depth", 0)
    tables: dict[int, Tensor] = {}
    return torch.stack([score(model, h, A, i, j, depth, tables) for i, j in pairs.T.tolist()])


def perturbed(model: nn.Module, seed: int) -> nn.Module:
    """The same module in float64 with every parameter drawn, norms and biases too, which begin as ones and zeros."""
    draw = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=draw, dtype=torch.float64) - 0.5)
    return model
