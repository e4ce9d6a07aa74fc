"""HeaRT's ranks: candidates of an anchor by several scores, and the best by their least or mean rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels._mix import GOLDEN, mix, shift
from gnnkit.links._graph import LinkGraph

Array = np.ndarray[Any, Any]
_FILL, _NEVER = 2**29, 2**30  # beyond every sum of ranks


@dataclass(frozen=True, eq=False)
class Choice:
    """How negatives are chosen by scores.

    Attributes:
        num: How many of an anchor.
        mean: Whether ranks are averaged; else the least one counts.
        seed: Decides ties.
        known: Whose neighbours are no candidates, or None.
    """

    num: int
    mean: bool
    seed: int
    known: LinkGraph | None


def choose(choice: Choice, anchors: Tensor, scores: list[Tensor], place: Tensor, partners: Tensor, rows: int) -> Tensor:
    """Choose negatives for pairs of an anchor and its partner.

    Args:
        choice: How.
        anchors: ``[B]`` nodes.
        scores: ``[B, N]`` float32 each; -1 is written over those of nodes that are no candidates.
        place: ``[K]`` which of the anchors each pair has.
        partners: ``[K]`` its partner.
        rows: How many pairs at a time.

    Returns:
        ``[K, num]`` int64 nodes, the hardest first.

    Raises:
        ValueError: An anchor has fewer candidates.
    """
    excluded = _no_candidates(choice.known, anchors, scores[0].shape[1])
    for each in scores:
        each[excluded] = -1
    tables = [each.cpu().numpy() for each in scores]
    smaller = [below(table) for table in tables]
    nodes, other, place_ = anchors.cpu(), partners.cpu(), place.cpu()
    excluded = excluded.cpu()
    found = torch.empty(len(place), choice.num, dtype=torch.int64)
    for low in range(0, len(place), rows):
        part = place_[low : low + rows]
        partner, index = other[low : low + rows].numpy(), part.numpy()
        out = excluded[part].numpy()
        out[np.arange(len(out)), partner] = True
        candidates = (~out).sum(axis=1)
        if candidates.min() < choice.num:
            got = f"{candidates.min()} of node {int(nodes[part[candidates.argmin()]])}"
            raise ValueError(f"per_positive: expected {choice.num} candidates for each end of a positive (got {got})")
        ranks = [
            ranks_without(table[index], counts[index], partner) for table, counts in zip(tables, smaller, strict=True)
        ]
        zero = np.logical_and.reduce([table[index] == 0 for table in tables])
        keys = mix(mix(mix(torch.tensor(choice.seed)) + nodes[part]) + torch.from_numpy(partner))
        found[low : low + rows] = _best(ranks, zero, out, choice, keys)
    return found.to(place.device)


def below(scores: Array) -> Array:
    """For every positive score of a row, how many positive ones of the row are smaller; ``[B, N]`` int32."""
    width = scores.shape[1]
    order = scores.argsort(axis=1)
    ascending = np.take_along_axis(scores, order, axis=1)
    # of equal scores all stand where the first of them does
    first = np.ones(scores.shape, dtype=bool)
    first[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    counts = np.maximum.accumulate(np.where(first, np.arange(width, dtype=np.int32), 0), axis=1)
    counts -= (ascending <= 0).sum(axis=1, dtype=np.int32)[:, None]
    found = np.empty_like(counts)
    np.put_along_axis(found, order, counts, axis=1)
    return found


def ranks_without(scores: Array, smaller: Array, partner: Array) -> Array:
    """Rank the candidates of each row, 1 being the best, when its partner is none.

    As in the official script, which ranks upwards and turns the ranks around: with s(u) positive scores below that of
    u, its rank is ``max(s) - s(u) + 1``. Scores of 0 share the rank after the last, negative ones the one after that.

    Args:
        scores: ``[R, N]`` float32, -1 for nodes that are no candidates.
        smaller: ``[R, N]``, what `below` gives for them.
        partner: ``[R]`` the node that is no candidate either; its rank is without meaning.

    Returns:
        ``[R, N]`` int32.
    """
    row = np.arange(len(scores))
    theirs = scores[row, partner][:, None]
    positive = scores > 0
    smaller = smaller - ((theirs > 0) & (scores > theirs))
    positive[row, partner] = False
    most = np.where(positive, smaller, -1).max(axis=1, keepdims=True)  # -1: no positive score, and 0 has rank 1
    ranks: Array = np.where(positive, most - smaller + 1, most + np.where(scores < 0, 3, 2)).astype(np.int32)
    return ranks


def _best(ranks: list[Array], zero: Array, excluded: Array, choice: Choice, keys: Tensor) -> Tensor:
    """The best candidates of each row, ties by chance; where too few have a score, these first and then others."""
    # [R, N]; the sum orders as the mean does
    combined = np.add.reduce(ranks, dtype=np.int64) if choice.mean else np.minimum.reduce(ranks).astype(np.int64)
    too_few = ((~zero & ~excluded).sum(axis=1) < choice.num)[:, None]
    combined[too_few & zero] = _FILL
    combined[excluded] = _NEVER
    chance = shift(mix(keys.unsqueeze(1) + GOLDEN * torch.arange(zero.shape[1])), 32)
    order = (torch.from_numpy(combined) << 32) | chance
    return order.topk(choice.num, dim=1, largest=False).indices


def _no_candidates(known: LinkGraph | None, anchors: Tensor, num_nodes: int) -> Tensor:
    """``[B, N]``: the anchor itself and its known neighbours."""
    excluded = torch.zeros(len(anchors), num_nodes, dtype=torch.bool, device=anchors.device)
    row = torch.arange(len(anchors), device=anchors.device)
    excluded[row, anchors] = True
    if known is not None:
        degree = known.degree()[anchors]
        starts = known.adj.indptr[anchors] - (degree.cumsum(0) - degree)
        total = torch.arange(int(degree.sum()), device=anchors.device)
        neighbors = known.adj.indices[starts.repeat_interleave(degree) + total].long()
        excluded[row.repeat_interleave(degree), neighbors] = True
    return excluded
