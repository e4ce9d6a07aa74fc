"""LinkEncoder: the message passing under NCN, on a graph whose entries can be masked without rebuilding it."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import _check, segment_reduce, spmm, spmm_scaled
from gnnkit.models._dropout import Dropout
from gnnkit.models._dropout import dropout as drop
from gnnkit.models._inputs import check_choice, check_rate, check_size
from gnnkit.models._sparse_features import check_sparse_rows, is_sparse, sparse_linear
from gnnkit.nn._simple_graph import check_keep, check_rows, check_simple

Kind = Literal["puregcn", "puresum", "gcn"]
KINDS = ("puregcn", "puresum", "gcn")


class LinkEncoder(nn.Module):
    r"""Embed the nodes of a graph some of whose edges are held back, as NCN's encoder does.

    With A the entries that count and D their row sums, a layer of ``"puregcn"`` is

    .. math:: x \leftarrow n \, (A (n x) + n x), \quad n = (1 + D)^{-1/2}

    of ``"gcn"`` the same of x W, plus b, and of ``"puresum"`` A x; from the code of Wang, Yang and Zhang,
    *Neural Common Neighbor with Completion for Link Prediction*, ICLR 2024.

    - The pure kinds have one linear map at the input, between ``input_dropout`` and ``dropout``, and no weights after
      it; ``output_dropout`` follows the last layer alone.
    - ``"gcn"`` has LayerNorm (with ``norm``), Dropout and ReLU after every layer but the last; a single layer keeps
      them.
    - Without layers it is the linear map between its dropouts, for embeddings without message passing.
    - ``num_embeddings`` takes the place of ``in_channels`` where nodes have no features: a learned row a node (or a
      kind of node), orthogonal at first, under ``dropout``, without a linear map.

    What differs from that code: entries are masked in place of an adjacency built anew for every batch, which gives the
    same numbers; rates of dropout are rounded to multiples of 2^-16.

    Cost: a product with the features at the input and (E + N) D reads and writes a layer.

    Args:
        in_channels: Of the features; None with ``num_embeddings``.
        hidden_channels: Of every layer and the result.
        num_layers: Of message passing, from 0 on.
        kind: ``"puregcn"``, ``"puresum"`` or ``"gcn"``.
        input_dropout: Of the features (``xdp``).
        dropout: After the input's map, and in the layers of ``"gcn"`` (``gnndp``).
        output_dropout: After the last layer of the pure kinds (``tdp``).
        edge_dropout: Of the entries in training, drawn anew in every layer; what is left is scaled by 1 / (1 - p), and
            D is its row sums (``gnnedp``).
        norm: LayerNorm between layers of ``"gcn"`` (``ln``).
        residual: layer(x) + x where shapes match (``res``).
        jumping_knowledge: Return the sum of w_l x_l over layers l, with free weights that begin as a standard
            normal draw (``jk``).
        num_embeddings: Rows of the learned table.

    Shapes:
        x ``[N, in_channels]`` float32 or float64; in PyTorch's COO layout (``x.to_sparse()``) only what is not zero is
        read and dropped, which ``"gcn"`` does not gain from. With a table ``[N]`` int64 rows of it, None for 0 … N - 1.
        Result ``[N, hidden_channels]``.

    Raises:
        ValueError: An argument is not as above, or ``adj`` not a simple undirected graph.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.models import LinkEncoder
        >>> adj = gnnkit.Adjacency.from_csr(torch.tensor([0, 1, 3, 4]), torch.tensor([1, 0, 2, 1]))  # 0 - 1 - 2
        >>> encoder = LinkEncoder(4, 8, num_layers=1).eval()
        >>> x = torch.rand(3, 4)
        >>> encoder(x, adj).shape
        torch.Size([3, 8])
        >>> without = encoder(x, adj, keep=torch.tensor([False, False, True, True]))  # the edge 0 - 1 held back
        >>> alone = gnnkit.Adjacency.from_csr(torch.tensor([0, 0, 1, 2]), torch.tensor([2, 1]))
        >>> torch.allclose(without, encoder(x, alone))
        True
    """

    def __init__(
        self,
        in_channels: int | None,
        hidden_channels: int,
        num_layers: int,
        kind: Kind = "puregcn",
        *,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        output_dropout: float = 0.0,
        edge_dropout: float = 0.0,
        norm: bool = True,
        residual: bool = False,
        jumping_knowledge: bool = False,
        num_embeddings: int | None = None,
    ) -> None:
        super().__init__()
        if (in_channels is None) == (num_embeddings is None):
            got = f"in_channels={in_channels}, num_embeddings={num_embeddings}"
            raise ValueError(f"expected one of in_channels and num_embeddings (got {got})")
        check_choice("kind", kind, KINDS)
        check_size("num_layers", num_layers, 0)
        for name, size in (("hidden_channels", hidden_channels), ("in_channels", in_channels)):
            check_size(name, 1 if size is None else size, 1)
        if jumping_knowledge and num_layers == 0:
            raise ValueError("jumping_knowledge: expected num_layers >= 1 (got 0)")
        rates = (input_dropout, dropout, output_dropout, edge_dropout)
        for name, rate in zip(("input_dropout", "dropout", "output_dropout", "edge_dropout"), rates, strict=True):
            check_rate(name, rate)
        self.in_channels, self.hidden_channels, self.kind = in_channels, hidden_channels, kind
        self.num_layers, self.residual, self.edge_dropout = num_layers, residual, edge_dropout
        self.embedding: nn.Embedding | None = None
        if in_channels is None:
            check_size("num_embeddings", num_embeddings, 1)
            self.embedding = nn.Embedding(num_embeddings or 0, hidden_channels)
            nn.init.orthogonal_(self.embedding.weight)
            entry: list[nn.Module] = [Dropout(dropout)]
        else:
            entry = [Dropout(input_dropout)]
            if kind != "gcn" or num_layers == 0:
                entry += [nn.Linear(in_channels, hidden_channels), Dropout(dropout, inplace=True)]
        self.entry = nn.Sequential(*entry)
        self.maps = nn.ModuleList()  # each layer's W and b
        self.exits = nn.ModuleList()  # what follows each layer's sum
        for layer in range(num_layers):
            last = layer == num_layers - 1
            if kind == "gcn":
                width = in_channels if layer == 0 and in_channels is not None else hidden_channels
                self.maps.append(_glorot(width, hidden_channels))
                normed = [nn.LayerNorm(hidden_channels)] if norm else []
                follows = [*normed, Dropout(dropout, inplace=True), nn.ReLU(inplace=True)]
                follows = [] if last and layer > 0 else follows
            else:
                follows = [Dropout(output_dropout, inplace=True)] if last else []
            self.exits.append(nn.Sequential(*follows))
        self.layer_weights = nn.Parameter(torch.randn(num_layers)) if jumping_knowledge else None

    def forward(
        self,
        x: Tensor | None,
        adj: Adjacency,
        *,
        keep: Tensor | None = None,
        edge_weight: Tensor | None = None,
        added_weight: Tensor | None = None,
    ) -> Tensor:
        """Return ``[N, hidden_channels]``.

        Args:
            x: Features, or rows of the table.
            adj: A simple undirected graph.
            keep: ``[E]`` bool in the order of ``adj.indices``: entries that count. The others are as if they were not
                there, in the row sums too.
            edge_weight: ``[E]`` in the order of ``adj.indices``, not negative.
            added_weight: ``[E]``, not negative, added to what an entry weighs once D has divided it.
        """
        check_simple(adj)
        check_keep(keep, adj)
        x = self._enter(x, adj.num_nodes)
        weight = _weights("edge_weight", keep, edge_weight, adj, x)
        added = None if added_weight is None else _weights("added_weight", keep, added_weight, adj, x)
        layers = []
        for layer in range(self.num_layers):
            out = self.exits[layer](self._layer(layer, x, adj, weight, added))
            x = out + x if self.residual and out.shape == x.shape else out
            layers.append(x)
        if self.layer_weights is not None:
            # [N D, L]: as one product, whose gradient for the weights needs nothing of the size of x beside it
            flat = torch.stack(layers).flatten(1) if len(layers) > 1 else layers[0].reshape(1, -1)
            x = torch.mv(flat.T, self.layer_weights).view_as(x)
        return x

    def _enter(self, x: Tensor | None, num_nodes: int) -> Tensor:
        rows: Tensor
        if self.embedding is not None:
            rows = self.entry(self._looked_up(self.embedding, x, num_nodes))
        elif x is not None and is_sparse(x):
            check_sparse_rows(x, num_nodes, self.in_channels)
            first, *others = self.entry
            if not others:  # the map is the first layer's
                return self._enter(x.to_dense(), num_nodes)
            linear, last = others
            assert isinstance(linear, nn.Linear)
            rows = last(sparse_linear(x, linear, first))
        else:
            check_rows("x", x, num_nodes, self.in_channels)
            rows = self.entry(x)
        return rows

    @staticmethod
    def _looked_up(embedding: nn.Embedding, x: Tensor | None, num_nodes: int) -> Tensor:
        rows = embedding.num_embeddings
        if x is None:
            if rows != num_nodes:
                raise ValueError(f"x: expected rows of the table, for it has {rows} and not one a node (got None)")
            return embedding.weight
        _check.shaped("x", x, [num_nodes], (torch.int64,))
        _check.ids("x", x, rows)
        return F.embedding(x, embedding.weight)

    def _layer(self, layer: int, x: Tensor, adj: Adjacency, weight: Tensor | None, added: Tensor | None) -> Tensor:
        if self.training and self.edge_dropout > 0:
            kept = drop(x.new_ones(adj.num_edges), self.edge_dropout)  # [E]
            weight = kept if weight is None else weight * kept
            added = None if added is None else added * kept
        if self.kind == "puresum":
            if added is not None:
                weight = added + (1 if weight is None else weight)
            return spmm(adj.indptr, adj.indices, x, weight, transpose=adj.transpose)
        if self.kind == "gcn":
            linear = self.maps[layer]
            assert isinstance(linear, nn.Linear)
            return _propagate(F.linear(x, linear.weight), adj, weight, added) + linear.bias
        return _propagate(x, adj, weight, added)

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}, residual={self.residual}, edge_dropout={self.edge_dropout}"


def _propagate(x: Tensor, adj: Adjacency, weight: Tensor | None, added: Tensor | None) -> Tensor:
    """n (A (n x) + n x) + B x, A the weights, n the inverse roots of one plus their row sums and B what is added."""
    degree = adj.in_degree().to(x.dtype) if weight is None else segment_reduce(weight, adj.indptr)
    scale = (1 + degree).rsqrt()  # [N]
    out = spmm_scaled(adj.indptr, adj.indices, x, scale, scale, weight, transpose=adj.transpose)
    out = torch.addcmul(out, x, scale.square().unsqueeze(-1))
    if added is None:
        return out
    return out + spmm(adj.indptr, adj.indices, x, added, transpose=adj.transpose)


def _weights(name: str, keep: Tensor | None, edge_weight: Tensor | None, adj: Adjacency, x: Tensor) -> Tensor | None:
    """``[E]``: the weight of each entry, 0 where it does not count; None for ones."""
    if edge_weight is not None:
        _check.shaped(name, edge_weight, [adj.num_edges], _check.FLOAT_DTYPES)
        if bool((edge_weight < 0).any()):
            raise ValueError(f"{name}: expected none below 0 (got {float(edge_weight.min())})")
        edge_weight = edge_weight.to(x.dtype)
    if keep is None:
        return edge_weight
    return keep.to(x.dtype) if edge_weight is None else edge_weight * keep


def _glorot(in_channels: int, out_channels: int) -> nn.Linear:
    """W and b of a graph convolution, as PyG's GCNConv begins."""
    linear = nn.Linear(in_channels, out_channels)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
