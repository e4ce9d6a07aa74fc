"""simulate_paper: the data on which the Graph R-Learner was published, as its code draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GCNConv
from torch_geometric.utils import barabasi_albert_graph, erdos_renyi_graph, stochastic_blockmodel_graph

from gnnkit.causal._data import CausalData
from gnnkit.causal._random import seeded
from gnnkit.datasets import load

Effect = Literal["simple_h", "local_x", "higher_order", "interaction"]
PaperGraph = Literal["ba", "er", "sbm", "cora"]

# x, H1, H2 -> the effect of each node
_EFFECTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "simple_h": lambda x, h1, h2: 2 + 1.5 * torch.sin(h1[:, 0]),
    "local_x": lambda x, h1, h2: 2 + 1.5 * torch.sin(x[:, 0]),
    "higher_order": lambda x, h1, h2: 2 + 1.5 * torch.sin(h2[:, 0]),
    "interaction": lambda x, h1, h2: 2 + h1[:, 0] * x[:, 1],
}
_GRAPHS: dict[str, Callable[[int], Tensor]] = {
    "ba": lambda n: barabasi_albert_graph(n, num_edges=4),
    "er": lambda n: erdos_renyi_graph(n, edge_prob=0.05),
    "sbm": lambda n: stochastic_blockmodel_graph([n // 2, n - n // 2], [[0.1, 0.01], [0.01, 0.1]]),
}


def simulate_paper(
    effect: Effect = "simple_h",
    graph: PaperGraph = "ba",
    seed: int = 0,
    *,
    num_nodes: int = 1000,
    num_features: int = 10,
    noise: float = 0.5,
    root: str | None = None,
) -> CausalData:
    r"""Draw the data of the Graph R-Learner's paper, on random graphs the same numbers as its code for the same seed.

    With :math:`H^1 = \mathrm{relu}(\mathrm{GCN}_2(X))` and :math:`H^2 = \mathrm{relu}(\mathrm{GCN}_2(H^1))`, two random
    networks of two layers that are never trained,

    .. math:: T = [0.5 X_0 - 0.7 H^1_1 + 0.3 \epsilon > 0], \quad
              Y = H^1_0 + 0.5 X_1 + noise \cdot \epsilon' + T \tau

    and :math:`\tau` = 2 + 1.5 sin(:math:`H^1_0`) (``"simple_h"``), 2 + 1.5 sin(:math:`X_0`) (``"local_x"``),
    2 + 1.5 sin(:math:`H^2_0`) (``"higher_order"``) or 2 + :math:`H^1_0 X_1` (``"interaction"``).

    Source: arXiv 2511.13018 and its public code. Three things to know before using it as a benchmark: the treatment is
    a threshold and no draw, so overlap is nearly violated; the output of a random GCN is tiny or dead, so that all
    effects but ``"local_x"`` are nearly constant (variances of 0 to .01 on average, .08 at most); and of
    :math:`E[\tau^2]`, about 4.3, the square of the mean is nearly all, which a final stage without intercept cannot
    express. `simulate` mends the first two.

    Args:
        effect: Which.
        graph: Barabási-Albert with 4 edges a node, Erdős-Rényi with p = 0.05, two blocks with p = 0.1 within and 0.01
            between (all PyG's generators), or Cora with its features.
        seed: Of torch and NumPy, whose states are left as they were.
        num_nodes: N; Cora has its own.
        num_features: d; Cora has its own.
        noise: Deviation of the outcome's noise.
        root: Folder of the raw data, for Cora.

    Raises:
        ValueError: An unknown effect or graph, or a number out of its range.

    Example:
        >>> from gnnkit.causal import simulate_paper
        >>> data = simulate_paper("simple_h", "ba", seed=0)
        >>> data.x.shape, round(data.average_effect, 2), float(data.effect.var()) < 0.05
        (torch.Size([1000, 10]), 2.38, True)
    """
    with seeded(seed):
        return draw_paper(effect, graph, num_nodes=num_nodes, num_features=num_features, noise=noise, root=root)


def draw_paper(
    effect: str,
    graph: str,
    *,
    num_nodes: int = 1000,
    num_features: int = 10,
    noise: float = 0.5,
    root: str | None = None,
) -> CausalData:
    """As `simulate_paper`, from the global generators as they stand, which go on from there."""
    if effect not in _EFFECTS:
        raise ValueError(f"effect: expected one of {', '.join(_EFFECTS)} (got {effect!r})")
    if graph not in (*_GRAPHS, "cora"):
        raise ValueError(f"graph: expected one of {', '.join(_GRAPHS)} or cora (got {graph!r})")
    if num_nodes < 5 or num_features < 2 or not 0 <= noise < float("inf"):
        got = f"{num_nodes}, {num_features}, {noise}"
        raise ValueError(f"num_nodes, num_features, noise: expected at least 5 and 2, and noise >= 0 (got {got})")
    if graph == "cora":
        cora = load("cora", root)
        x, edge_index = cora.x, cora.edge_index
    else:
        x = torch.randn(num_nodes, num_features)
        edge_index = _GRAPHS[graph](num_nodes)
    width = x.shape[1]
    first, second = ([GCNConv(width, width) for _ in range(2)] for _ in range(2))
    with torch.no_grad():
        h1 = _hidden(first, x, edge_index)
        h2 = _hidden(second, h1, edge_index)
    logits = 0.5 * x[:, 0] - 0.7 * h1[:, 1] + 0.3 * torch.randn(len(x))
    treatment = (logits.sigmoid() > 0.5).float()
    tau = _EFFECTS[effect](x, h1, h2)
    outcome = h1[:, 0] + 0.5 * x[:, 1] + noise * torch.randn(len(x)) + treatment * tau
    return CausalData(x, treatment, outcome, edge_index, tau)


def _hidden(layers: list[GCNConv], x: Tensor, edge_index: Tensor) -> Tensor:
    for layer in layers:
        x = F.relu(layer(x, edge_index))
    return x
