"""simulate: effects on networks that vary, with overlap, and as far as asked through the graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv
from torch_geometric.utils import barabasi_albert_graph, is_undirected

from gnnkit.causal._data import CausalData, mean_of_neighbours, standardised
from gnnkit.causal._exposure import check_exposure, exposure_of
from gnnkit.causal._random import seeded
from gnnkit.kernels import _check as inputs

GRAPHS = ("ba", "er", "sbm")


def simulate(
    graph: str | Data = "ba",
    seed: int = 0,
    *,
    num_nodes: int = 1000,
    num_features: int = 10,
    share: float = 1.0,
    heterogeneity: float = 1.5,
    average: float = 2.0,
    noise: float = 0.5,
    selection: float = 1.0,
    homophily: float = 0.0,
    spillover: float = 0.0,
    exposure: str = "share",
) -> CausalData:
    r"""Draw a network with a treatment whose effect varies from node to node, by a known part through the graph.

    .. math::

        H &= \mathrm{standardise}(\mathrm{GCN}(X)), \qquad
        T \sim \mathrm{Bernoulli}(\sigma(selection \cdot (0.5 Z_0 - 0.7 H_1))) \\
        \tau &= average + heterogeneity \cdot (\sqrt{share} \sin H_0 + \sqrt{1 - share} \sin Z_0) \\
        Y &= H_0 + 0.5 Z_1 + noise \cdot \epsilon + T \tau + spillover \cdot e(T)

    with one random untrained layer GCN and Z = X, for a graph of your own the standardised random projection of its
    features on ten columns. e(T) is the exposure of a node: the share of its neighbours that are treated, whether any
    is, or how many are. τ is the effect of a node's own treatment, spillover that of its neighbours', unit by unit.

    What differs from the process of the paper (`simulate_paper`): the graph's signal is standardised, so the effects
    vary (a variance of 0.96 with the settings above, for every ``share``); the treatment is drawn, so there is overlap;
    and graph and features are told apart.

    Args:
        graph: ``"ba"`` (4 edges a node), ``"er"`` (10 neighbours a node on average), ``"sbm"`` (two equal blocks, 10
            neighbours, ten times as many within as between), or an undirected `Data` with ``x`` and ``edge_index``.
        seed: Decides everything; the global generators are left as they were.
        num_nodes: N of a drawn graph.
        num_features: d of a drawn graph, at least 2.
        share: Part of the effect's variance that comes through the graph, in [0, 1].
        heterogeneity: 0 for the same effect on all.
        average: The effect's mean, up to the draw.
        noise: Deviation of the outcome's noise.
        selection: How strongly features and graph decide who is treated: 0 is a randomised trial, beyond 3 hardly any
            node could have been either.
        homophily: Part of the variance of a drawn node's features that is smooth along the graph, in [0, 1).
        spillover: What one unit of exposure adds to the outcome; 0 for no interference.
        exposure: ``"share"``, ``"any"`` or ``"count"``.

    Raises:
        ValueError: An argument is out of its range, or a graph is directed.

    Example:
        >>> from gnnkit.causal import simulate
        >>> data = simulate("ba", seed=0, share=0.5)
        >>> data.x.shape, 0.5 < float(data.effect.var()) < 1.5, 0 < float(data.propensity.min())
        (torch.Size([1000, 10]), True, True)
        >>> trial = simulate("er", seed=0, selection=0.0, spillover=1.0)
        >>> trial.propensity.unique().tolist(), 0.3 < float(trial.exposure.mean()) < 0.7
        ([0.5], True)
    """
    _check(share, homophily, exposure, num_nodes, num_features)
    scales = {"heterogeneity": heterogeneity, "noise": noise, "selection": selection}
    for name, value in (scales | {"average": average, "spillover": spillover}).items():
        if not math.isfinite(value) or (name in scales and value < 0):
            raise ValueError(f"{name}: expected a finite number{' >= 0' * (name in scales)} (got {value!r})")
    with seeded(seed):
        if isinstance(graph, Data):
            x, edge_index = _given(graph)
            z = standardised(x @ torch.randn(x.shape[1], 10))
        else:
            edge_index = _drawn(graph, num_nodes)
            x = torch.randn(num_nodes, num_features)
            if homophily:
                common = x
                for _ in range(10):  # a lazy walk: what it leaves is much the same for neighbours
                    common = (common + mean_of_neighbours(common, edge_index)) / 2
                x = standardised(math.sqrt(1 - homophily) * x + math.sqrt(homophily) * standardised(common))
            z = x
        with torch.no_grad():
            layer = GCNConv(x.shape[1], max(x.shape[1], 2))
            # two columns of its output are read: no other is computed, which for thousands of features would not fit
            layer.lin.weight, layer.bias = (nn.Parameter(v[:2]) for v in (layer.lin.weight, layer.bias))
            h = standardised(layer(x, edge_index))  # [N, 2]
        propensity = (selection * (0.5 * z[:, 0] - 0.7 * h[:, 1])).sigmoid()
        treatment = torch.bernoulli(propensity)
        varies = math.sqrt(share) * h[:, 0].sin() + math.sqrt(1 - share) * z[:, 0].sin()
        effect = average + heterogeneity * varies
        outcome = h[:, 0] + 0.5 * z[:, 1] + noise * torch.randn(len(x)) + treatment * effect
    exposed = exposure_of(treatment, edge_index, exposure) if spillover else None
    if exposed is not None:
        outcome = outcome + spillover * exposed
    return CausalData(x, treatment, outcome, edge_index, effect, propensity, exposed, spillover)


def _check(share: float, homophily: float, exposure: str, num_nodes: int, num_features: int) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected a number in [0, 1] (got {share!r})")
    if not 0 <= homophily < 1:
        raise ValueError(f"homophily: expected a number in [0, 1) (got {homophily!r})")
    check_exposure(exposure, optional=False)
    if num_nodes < 20 or num_features < 2:
        raise ValueError(f"expected num_nodes >= 20 and num_features >= 2 (got {num_nodes} and {num_features})")


def _given(graph: Data) -> tuple[Tensor, Tensor]:
    """Features and edges of a graph of the user's own."""
    x, edge_index = graph.x, graph.edge_index
    if x is None or edge_index is None or x.dim() != 2:
        raise ValueError(f"graph: expected a Data with x [N, d] and edge_index (got {graph})")
    if len(x) < 20 or x.shape[1] < 1:
        raise ValueError(f"graph: expected at least 20 nodes with features (got x of shape {list(x.shape)})")
    if not inputs.is_dense(edge_index, (2,), (torch.int64,)) or len(edge_index) != 2:
        raise ValueError(f"graph: expected edge_index [2, E] int64 (got {inputs.describe(edge_index)})")
    inputs.ids("graph.edge_index", edge_index, len(x))
    if not bool(x.isfinite().all()):
        raise ValueError("graph: expected finite features (got NaN or infinite ones)")
    if not is_undirected(edge_index, num_nodes=len(x)):
        raise ValueError("graph: expected both directions of every edge, as to_undirected gives (got a directed graph)")
    return x.float().cpu(), edge_index.cpu()


def _drawn(graph: str, num_nodes: int) -> Tensor:
    """``[2, E]``: a random graph, both directions of each edge."""
    if graph == "ba":
        edge_index: Tensor = barabasi_albert_graph(num_nodes, num_edges=4)
        return edge_index
    if graph not in GRAPHS:
        raise ValueError(f"graph: expected one of {', '.join(GRAPHS)}, or a Data (got {graph!r})")
    blocks = torch.arange(num_nodes) * 2 // num_nodes if graph == "sbm" else torch.zeros(num_nodes, dtype=torch.int64)
    return _random_graph(blocks, mean_degree=10.0, within=10.0)


def _random_graph(blocks: Tensor, mean_degree: float, within: float) -> Tensor:
    """Independent edges between ``blocks [N]``, those within ``within`` times as likely; O(E), not O(N^2).

    As many pairs are drawn as the mean degree asks for, and repeated ones and self-loops left out: at 10 of 1,000
    neighbours that is half a percent of them.
    """
    num_nodes, num_edges = len(blocks), round(len(blocks) * mean_degree / 2)
    chance = (blocks.bincount() / num_nodes).square().sum() * within  # of a pair within, against the others' part
    inside = torch.rand(num_edges) < chance / (chance + 1 - chance / within)
    src = torch.randint(num_nodes, (num_edges,))
    dst = torch.randint(num_nodes, (num_edges,))
    while bool((wrong := (blocks[src] == blocks[dst]) != inside).any()):
        dst[wrong] = torch.randint(num_nodes, (int(wrong.sum()),))
    low, high = torch.minimum(src, dst), torch.maximum(src, dst)
    keys = (low * num_nodes + high)[low != high].unique()  # type: ignore[no-untyped-call]
    low, high = keys // num_nodes, keys % num_nodes
    return torch.stack([torch.cat([low, high]), torch.cat([high, low])])
