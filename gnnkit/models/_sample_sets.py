"""Members of large sets drawn at random, with values that keep sums right in the mean."""

from __future__ import annotations

import torch

from gnnkit.kernels import Sets
from gnnkit.models._pool import Pool


def sample_sets(sets: Sets, degree: int | None) -> Pool:
    """Draw ``degree`` members with replacement from each set of more, each with the value |set| / degree.

    A member drawn twice is there twice, which adds its values up. Sets of at most ``degree`` stay, with values 1.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import Sets
        >>> from gnnkit.models._sample_sets import sample_sets
        >>> indices = torch.tensor([4, 5, 6, 7, 8, 1])
        >>> pool = sample_sets(Sets(torch.tensor([0, 5, 6]), indices, torch.arange(6), None), 2)
        >>> pool.indptr.tolist(), pool.values.tolist(), pool.indices[2:].tolist()
        ([0, 2, 3], [2.5, 2.5, 1.0], [1])
    """
    counts = sets.indptr.diff()
    if degree is None or not bool((counts > degree).any()):
        return Pool.of(sets)
    kept = counts.clamp(max=degree)
    indptr = torch.cat([sets.indptr[:1], kept.cumsum(0)])
    size = int(indptr[-1])
    pair = torch.arange(len(kept), device=kept.device).repeat_interleave(kept, output_size=size)
    # [M']: the place within its set of each member that stays; in a large set any place
    place = torch.arange(size, device=kept.device) - indptr[pair]
    large = (counts > degree)[pair]
    drawn = torch.rand(size, dtype=torch.float64, device=kept.device) * counts[pair]
    place = torch.where(large, drawn.long(), place)
    values = torch.where(large, counts[pair].double() / degree, 1.0)
    return Pool(indptr, sets.indices[sets.indptr[pair] + place], values)
