"""Hits@K and the mean reciprocal rank, equal to what OGB's ``Evaluator`` gives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnnkit.kernels import _check


def ranks(pos: Tensor, neg: Tensor) -> Tensor:
    r"""Rank each positive among its own negatives, 1 being the best; equal scores share the ranks they take up.

    .. math:: rank_p = 1 + \frac{1}{2} (|\{k : neg_{pk} > pos_p\}| + |\{k : neg_{pk} \geq pos_p\}|)

    the mean of the optimistic and the pessimistic rank, as in OGB (Hu et al., "Open Graph Benchmark", NeurIPS 2020).

    Args:
        pos: ``[P]`` scores.
        neg: ``[P, K]`` scores of the same dtype.

    Returns:
        ``[P]`` float64, NaN where a score is NaN.

    Raises:
        ValueError: Not such tensors.

    Example:
        >>> import torch
        >>> from gnnkit.links import ranks
        >>> ranks(torch.tensor([0.5, 0.5]), torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.5, 0.5]])).tolist()
        [2.0, 2.5]
    """
    _check.float_tensor("pos", pos, (1,))
    _check.float_tensor("neg", neg, (2,))
    _check.same("pos and neg", pos, neg)
    if neg.shape[0] != pos.shape[0]:
        raise ValueError(f"neg: expected a row for each of {pos.shape[0]} positives (got {neg.shape[0]})")
    own = pos.unsqueeze(1)
    found = 1 + ((neg > own).sum(dim=1) + (neg >= own).sum(dim=1)).double() / 2
    unknown = pos.isnan() | neg.isnan().any(dim=1)
    return found.masked_fill(unknown, math.nan)


def mrr(pos: Tensor, neg: Tensor) -> float:
    """Mean of ``1 / rank`` over the positives; see `ranks` for the ties, the shapes and the errors.

    Returns:
        In (0, 1]; NaN where a score is NaN, so that a diverged model is no perfect one.

    Example:
        >>> import torch
        >>> from gnnkit.links import mrr
        >>> mrr(torch.tensor([0.5, 0.5]), torch.tensor([[0.1, 0.9], [0.1, 0.2]]))
        0.75
    """
    found = ranks(pos, neg)
    if not len(found):
        raise ValueError("pos: expected at least one positive (got none)")
    return float(found.reciprocal().mean())


def hits_at(pos: Tensor, neg: Tensor, k: int) -> float:
    """Share of positives among the best k: Hits@K.

    With shared negatives ``[Q]`` that is the share above the k-th best of them, where a tie does not count; 1 when
    there are fewer than k. With negatives of their own ``[P, K]`` it is the share whose rank (see `ranks`) is at most
    k. Both as in OGB's ``Evaluator``.

    Args:
        pos: ``[P]`` scores.
        neg: ``[Q]`` or ``[P, K]`` scores of the same dtype.
        k: From 1 on.

    Returns:
        In [0, 1]; NaN where a score is NaN.

    Raises:
        ValueError: Not such tensors, no positive, or ``k`` below 1.

    Example:
        >>> import torch
        >>> from gnnkit.links import hits_at
        >>> hits_at(torch.tensor([0.9, 0.6, 0.5, 0.1]), torch.tensor([0.7, 0.5, 0.2]), 2)
        0.5
    """
    _check.count("k", k)
    if k < 1:
        raise ValueError(f"k: expected a whole number >= 1 (got {k})")
    _check.float_tensor("pos", pos, (1,))
    _check.float_tensor("neg", neg, (1, 2))
    _check.same("pos and neg", pos, neg)
    if not len(pos):
        raise ValueError("pos: expected at least one positive (got none)")
    if bool(pos.isnan().any()) or bool(neg.isnan().any()):
        return math.nan
    if neg.dim() == 2:
        return float((ranks(pos, neg) <= k).double().mean())
    if len(neg) < k:
        return 1.0
    return float((pos > torch.topk(neg, k).values[-1]).double().mean())
