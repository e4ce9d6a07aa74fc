"""PyG's layers as hops of a pipeline, and deep networks made of them.

`adapt` takes a layer; the functions in `MODELS` make whole networks by name.

Example:
    >>> import torch
    >>> from torch_geometric.nn import GCNConv
    >>> from gnnkit.pipeline import Network
    >>> from gnnkit.pipeline.adapters import adapt, gcnii
    >>> net = Network(None, [adapt(GCNConv(8, 16), leave=torch.nn.ReLU()), adapt(GCNConv(16, 3))], None, edges="gcn")
    >>> net(torch.randn(4, 8), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 3])
    >>> gcnii(8, 64, 3, num_layers=32)(torch.randn(4, 8), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 3])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from gnnkit.pipeline._convs import hop_of
from gnnkit.pipeline._network import Network, OneHop

__all__ = ["MODELS", "adapt", "gat", "gcn", "gcnii", "resgcn", "sage"]


def adapt(
    conv: Any, *, enter: nn.Module | None = None, leave: nn.Module | None = None, residual: bool = False
) -> OneHop:
    r"""Make a hop of a PyG layer, which keeps its parameters and computes the same numbers.

    .. math:: x' = [x +] \; \mathrm{leave}(\mathrm{conv}(\mathrm{enter}(x)))

    ============  =======================================================  ==============================
    layer         options                                                  ``edges`` of its `Network`
    ============  =======================================================  ==============================
    GCNConv       ``normalize``; self-loops as it has them by default      "gcn"; "plain" unnormalised
    SAGEConv      ``aggr`` mean, sum, max, min; all others                 "mean"; "plain" without mean
    GCN2Conv      ``normalize``; with self-loops; both weights             "gcn"; "plain" unnormalised
    GATConv       all, ``edge_dim`` where it adds no self-loops            "loops"; "plain" without them
    DeepGCNLayer  ``block`` "res+" or "plain" around one of the others     as the other
    ============  =======================================================  ==============================

    Differs from the layer called by itself in where things are done: normalisation is the network's, of the whole
    graph; rows are gathered before a linear map, unless it narrows them, and the map runs once for each node (GATConv:
    always before, for scores need it). ``cached`` is without meaning, for edges are read once.

    Args:
        conv: The layer; exactly PyG's class, for a subclass may compute anything.
        enter: Works row by row on the hop's input, such as dropout; random numbers are drawn once for each row.
        leave: Works row by row on what the layer gives, such as an activation.
        residual: Whether the hop's input is added at the end.

    Returns:
        A `OneHop` whose ``conv`` is the layer.

    Raises:
        ValueError: Another class, an option that one hop or the network's normalisation cannot honour, parameters
            without shapes, or hooks.

    Example:
        >>> from torch import nn
        >>> from torch_geometric.nn import SAGEConv
        >>> from gnnkit.pipeline.adapters import adapt
        >>> conv = SAGEConv(16, 16)
        >>> adapt(conv, enter=nn.Dropout(0.5), leave=nn.ReLU()).conv is conv
        True
    """
    return hop_of(conv, enter, leave, residual)


def gcn(in_channels: int, hidden_channels: int, out_channels: int, num_layers: int, *, dropout: float = 0.5) -> Network:
    """Make a deep GCN: hops x' = relu(A dropout(x) W + b), A = D^-1/2 (A + I) D^-1/2.

    Kipf and Welling, *Semi-Supervised Classification with Graph Convolutional Networks*, 2017, equation (2); between
    linear maps from and to other widths, as the others here, in place of narrowing hops.

    Cost of a pass: O(L (E D + N D^2)) with D the hidden width, as of the others.

    Args:
        in_channels: Width of the features.
        hidden_channels: Width of every hop.
        out_channels: Width of the output.
        num_layers: Number of hops, L.
        dropout: Of the rows that enter each linear map.

    Returns:
        A `Network` with ``edges="gcn"``.

    Raises:
        ValueError: A size below 1, or dropout outside [0, 1).

    Example:
        >>> from gnnkit.pipeline import inspect
        >>> from gnnkit.pipeline.adapters import gcn
        >>> len(inspect(gcn(8, 16, 3, num_layers=4), in_channels=8))
        4
    """
    from torch_geometric.nn import GCNConv

    width = _sizes(in_channels, hidden_channels, out_channels, num_layers, dropout)
    hops = [adapt(GCNConv(width, width), enter=_drop(dropout), leave=nn.ReLU()) for _ in range(num_layers)]
    return Network(_first(in_channels, width, dropout), hops, _last(width, out_channels, dropout), edges="gcn")


def sage(
    in_channels: int, hidden_channels: int, out_channels: int, num_layers: int, *, dropout: float = 0.5
) -> Network:
    """Make a deep GraphSAGE: hops x' = relu(mean_j(h_j) W_l + b + h W_r), h = dropout(x).

    Hamilton et al., *Inductive Representation Learning on Large Graphs*, 2017, algorithm 1 with the mean aggregator
    and all neighbours; rows are not normalised, as in PyG's default.

    Args, returns and raises: as `gcn`, with ``edges="mean"``.

    Example:
        >>> from gnnkit.pipeline.adapters import sage
        >>> sage(8, 16, 3, num_layers=4).layers[0].conv
        SAGEConv(16, 16, aggr=mean)
    """
    from torch_geometric.nn import SAGEConv

    width = _sizes(in_channels, hidden_channels, out_channels, num_layers, dropout)
    hops = [adapt(SAGEConv(width, width), enter=_drop(dropout), leave=nn.ReLU()) for _ in range(num_layers)]
    return Network(_first(in_channels, width, dropout), hops, _last(width, out_channels, dropout), edges="mean")


def resgcn(
    in_channels: int, hidden_channels: int, out_channels: int, num_layers: int, *, dropout: float = 0.5
) -> Network:
    """Make a ResGCN+: hops x' = x + A dropout(relu(LayerNorm(x))) W + b.

    Li et al., *DeeperGCN: All You Need to Train Deeper GCNs*, 2020, the pre-activation residual connection ("res+"),
    with GCN's aggregation in place of the generalised one. The last map reads dropout(relu(LayerNorm(x))) too; the
    features are only mapped.

    Args, returns and raises: as `gcn`.

    Example:
        >>> from gnnkit.pipeline.adapters import resgcn
        >>> resgcn(8, 16, 3, num_layers=4).layers[0].enter[0]
        LayerNorm((16,), eps=1e-05, elementwise_affine=True, bias=True)
    """
    from torch_geometric.nn import GCNConv

    width = _sizes(in_channels, hidden_channels, out_channels, num_layers, dropout)

    def ready() -> list[nn.Module]:
        return [nn.LayerNorm(width), nn.ReLU(), nn.Dropout(dropout)]

    hops = [adapt(GCNConv(width, width), enter=nn.Sequential(*ready()), residual=True) for _ in range(num_layers)]
    last = nn.Sequential(*ready(), nn.Linear(width, out_channels))
    return Network(nn.Linear(in_channels, width), hops, last, edges="gcn")


def gcnii(
    in_channels: int,
    hidden_channels: int,
    out_channels: int,
    num_layers: int,
    *,
    dropout: float = 0.5,
    alpha: float = 0.1,
    theta: float = 0.5,
    shared_weights: bool = True,
) -> Network:
    """Make a GCNII: hops x' = relu(((1 - alpha) A h + alpha h0) ((1 - beta_l) I + beta_l W)), h = dropout(x).

    Chen et al., *Simple and Deep Graph Convolutional Networks*, 2020, equation (5), beta_l = log(theta / l + 1) at hop
    l = 1 … L; the dropout stands where the authors' code has it, and h0 = relu(dropout(features) W + b) without one.

    Args:
        in_channels: Width of the features.
        hidden_channels: Width of every hop.
        out_channels: Width of the output.
        num_layers: Number of hops, L.
        dropout: Of the rows that enter each hop, the first map and the last.
        alpha: Share of h0.
        theta: Of beta_l, lambda in the paper.
        shared_weights: False for a weight of h0 of its own (the paper's GCNII*).

    Returns:
        A `Network` with ``edges="gcn"`` and ``shares=True``.

    Raises:
        ValueError: A size below 1, dropout outside [0, 1), alpha outside [0, 1], or theta that is not positive.

    Example:
        >>> from gnnkit.pipeline.adapters import gcnii
        >>> network = gcnii(8, 16, 3, num_layers=4)
        >>> [round(hop.conv.beta, 3) for hop in network.layers]
        [0.405, 0.223, 0.154, 0.118]
    """
    from torch_geometric.nn import GCN2Conv

    width = _sizes(in_channels, hidden_channels, out_channels, num_layers, dropout)
    if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected a number in [0, 1] (got {alpha!r})")
    if not isinstance(theta, int | float) or not 0 < theta < float("inf"):
        raise ValueError(f"theta: expected a positive number (got {theta!r})")
    hops = [
        adapt(
            GCN2Conv(width, alpha, theta, layer=number, shared_weights=shared_weights),
            enter=_drop(dropout),
            leave=nn.ReLU(),
        )
        for number in range(1, num_layers + 1)
    ]
    first, last = _first(in_channels, width, dropout), _last(width, out_channels, dropout)
    return Network(first, hops, last, shares=True, edges="gcn")


def gat(
    in_channels: int,
    hidden_channels: int,
    out_channels: int,
    num_layers: int,
    *,
    dropout: float = 0.5,
    heads: int = 4,
    attention_dropout: float = 0.0,
) -> Network:
    """Make a deep GAT: hops x' = elu(concatenated heads of sum_j alpha_ij (h_j W) + b), h = dropout(x).

    Veličković et al., *Graph Attention Networks*, 2018, equations (1) to (5).

    Args:
        in_channels: Width of the features.
        hidden_channels: Width of every hop, all heads together.
        out_channels: Width of the output.
        num_layers: Number of hops, L.
        dropout: Of the rows that enter each linear map.
        heads: Number of heads, which divides ``hidden_channels``.
        attention_dropout: Of the coefficients alpha.

    Returns:
        A `Network` with ``edges="loops"``.

    Raises:
        ValueError: A size below 1, a dropout outside [0, 1), or heads that do not divide the width.

    Example:
        >>> from gnnkit.pipeline.adapters import gat
        >>> gat(8, 16, 3, num_layers=4).layers[0].conv
        GATConv(16, 4, heads=4)
    """
    from torch_geometric.nn import GATConv

    width = _sizes(in_channels, hidden_channels, out_channels, num_layers, dropout)
    _fraction("attention_dropout", attention_dropout)
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1 or width % heads:
        raise ValueError(f"heads: expected a divisor of hidden_channels={width} (got {heads!r})")
    hops = [
        adapt(GATConv(width, width // heads, heads, dropout=attention_dropout), enter=_drop(dropout), leave=nn.ELU())
        for _ in range(num_layers)
    ]
    return Network(_first(in_channels, width, dropout), hops, _last(width, out_channels, dropout), edges="loops")


MODELS: dict[str, Callable[..., Network]] = {"gcn": gcn, "sage": sage, "resgcn": resgcn, "gcnii": gcnii, "gat": gat}


def _first(in_channels: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(in_channels, width), nn.ReLU())


def _last(width: int, out_channels: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, out_channels))


def _drop(dropout: float) -> nn.Module | None:
    return nn.Dropout(dropout) if dropout else None


def _sizes(in_channels: int, hidden_channels: int, out_channels: int, num_layers: int, dropout: float) -> int:
    sizes = {"in_channels": in_channels, "hidden_channels": hidden_channels}
    for name, size in {**sizes, "out_channels": out_channels, "num_layers": num_layers}.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{name}: expected a number >= 1 (got {size!r})")
    _fraction("dropout", dropout)
    return hidden_channels


def _fraction(name: str, value: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"{name}: expected a number in [0, 1) (got {value!r})")
