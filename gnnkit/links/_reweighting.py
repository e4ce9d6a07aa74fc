"""Weights of messages that follow the link predictor."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import _check, segment_reduce


@torch.no_grad()
def reweighted(edge_weight: Tensor, scores: Tensor, adj: Adjacency, strength: float) -> Tensor:
    r"""Add to the weight of each training edge its share of the link predictor's scores at its destination.

    .. math:: w'_{ij} = w_{ij} + strength \cdot s_{ij} \;/\; \sum_{j' \in N(i)} s_{ij'}

    To be called every few epochs after a warm-up, each time with the original weights. Only edges of ``adj`` have
    scores, and ``adj`` holds training edges: nothing of the other splits can enter, unlike in the authors' static
    version, which intersects the training neighbours of one end with the validation neighbours of the other.

    Source: *A Topological Perspective on Demystifying GNN-Based Link Prediction Performance*, ICLR 2024. What differs:
    the authors' code of the dynamic version takes the softmax of the scores and multiplies by the sum of the weights at
    the destination; give ``scores.exp()`` for the former.

    Cost: O(E).

    Args:
        edge_weight: ``[E]`` floats in the order of the edges of ``adj``, such as GCN's.
        scores: ``[E]``, of the same dtype, for each edge what the current predictor makes of it, at least 0: a
            probability, not a logit.
        adj: The training graph, in both directions.
        strength: At least 0; 2 for GCN and 0.01 to 0.2 for SAGE in the authors' settings.

    Returns:
        ``[E]``, without gradient. Where all scores of a destination are 0, its weights stay.

    Raises:
        ValueError: Not an `Adjacency`, other shapes or dtypes, negative or infinite scores or strength.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.links import reweighted
        >>> adj = gnnkit.Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 0, 1]]), num_nodes=3)
        >>> reweighted(torch.ones(3), torch.tensor([0.25, 0.5, 0.75]), adj, strength=2.0).tolist()
        [1.5, 3.0, 2.5]
    """
    if not isinstance(adj, Adjacency):
        raise ValueError(f"adj: expected an Adjacency (got {_check.describe(adj)})")
    for name, value in (("edge_weight", edge_weight), ("scores", scores)):
        _check.shaped(name, value, [adj.num_edges], _check.FLOAT_DTYPES)
    _check.same("edge_weight and scores", edge_weight, scores)
    if not ((scores >= 0) & scores.isfinite()).all():
        raise ValueError("scores: expected finite numbers >= 0, such as probabilities (got others)")
    if not isinstance(strength, int | float) or not 0 <= strength < float("inf"):
        raise ValueError(f"strength: expected a finite number >= 0 (got {strength!r})")
    values = adj.to_csr_order(scores)  # [E]
    total = segment_reduce(values[:, None], adj.indptr)[:, 0]  # [N]
    divisor = torch.where(total > 0, total, 1.0)
    share = values / divisor.repeat_interleave(adj.in_degree())
    return edge_weight + strength * adj.to_edge_order(share)
