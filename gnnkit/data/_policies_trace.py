"""hit_ratio: what share of a trace's reads a policy serves from the cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gnnkit.data._policies import POLICIES, SCORED, WINDOWED, Ints, Policy, ranks_of
from gnnkit.data._policies_rows import Residents
from gnnkit.kernels import _check


def hit_ratio(
    trace: Sequence[Tensor],
    policy: str,
    capacity: int,
    *,
    num_rows: int | None = None,
    window: int = 8,
    victim: int = 0,
    scores: Tensor | None = None,
    seed: int = 0,
) -> float:
    """Replay a trace of batches through a policy of `gnnkit.data.Cached`, without data; return hits / reads.

    A read is a distinct row of a batch; a hit is one that lies in the cache or the victim buffer when its batch comes.
    The policies are the ones that `Cached` runs, not copies. The cache begins empty.

    Args:
        trace: Batches of ids, each ``[K]`` int32 or int64.
        policy: ``"degree"``, ``"pagerank"``, ``"lru"``, ``"lookahead"``, ``"hybrid"``, ``"random"`` or ``"fifo"``.
        capacity: Rows that fit, those of the victim buffer among them.
        num_rows: Rows of the table; None for the largest id plus one.
        window: Batches known ahead, of look-ahead policies.
        victim: Rows of the victim buffer, of look-ahead policies.
        scores: ``[num_rows]``, of ``"degree"``, ``"pagerank"`` and ``"hybrid"``: what the name says, or anything else.
        seed: Of ``"random"``.

    Raises:
        ValueError: An unknown policy, scores missing or of another length, or a number out of its range.

    Example:
        >>> import torch
        >>> from gnnkit.data import belady, hit_ratio
        >>> trace = [torch.tensor(batch) for batch in ([0, 1], [2, 3], [0, 1], [2, 3])]
        >>> hit_ratio(trace, "lru", 2), hit_ratio(trace, "lookahead", 2, window=2), belady(trace, 2)
        (0.0, 0.25, 0.25)
    """
    batches, num_rows = batches_of(trace, num_rows)
    for name, count in (("capacity", capacity), ("window", window), ("victim", victim)):
        _check.count(name, count)
    found = make_policy(policy, scores, num_rows, seed)
    if victim > capacity or (victim and (policy not in WINDOWED or not window)):
        raise ValueError(
            f"victim: expected at most the capacity, and 0 without a window (got {victim} of {capacity} for {policy})"
        )
    residents = Residents(num_rows, capacity, found, window, victim)
    for batch in batches:
        residents.window.announce(batch)
    reads = hits = 0
    for _ in batches:
        step = residents.look()
        reads, hits = reads + len(step.ids), hits + len(step.ids) - len(step.missing)
        residents.commit(step, residents.settle(step))
    return hits / reads if reads else 0.0


def batches_of(trace: Sequence[Tensor], num_rows: int | None) -> tuple[list[Ints], int]:
    """Check a trace; return the distinct rows of each batch, and the number of rows."""
    batches = []
    for batch in trace:
        _check.index_vector("trace", batch)
        ids = np.sort(batch.cpu().numpy()).astype(np.int64)
        batches.append(ids[np.diff(ids, prepend=-1 if not len(ids) else ids[0] - 1) != 0])
    low = min((int(batch[0]) for batch in batches if len(batch)), default=0)
    high = max((int(batch[-1]) for batch in batches if len(batch)), default=-1)
    if low < 0 or (num_rows is not None and high >= num_rows):
        expected = "ids >= 0" if num_rows is None else f"ids in [0, {num_rows})"
        raise ValueError(f"trace: expected {expected} (got {low if low < 0 else high})")
    return batches, high + 1 if num_rows is None else num_rows


def make_policy(name: str, scores: Tensor | None, num_rows: int, seed: int) -> Policy:
    """Check a policy's name and what it needs."""
    if name not in POLICIES:
        raise ValueError(f"policy: expected one of {', '.join(POLICIES)} (got {name!r})")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"seed: expected a whole number (got {seed!r})")
    if name not in SCORED:
        return Policy(name, seed=seed)
    if scores is None:
        raise ValueError(f"scores: expected a score for each row, which {name} goes by (got None)")
    if (
        not isinstance(scores, Tensor)
        or scores.shape != (num_rows,)
        or scores.is_complex()
        or bool(scores.isnan().any())
    ):
        raise ValueError(f"scores: expected {num_rows} numbers, one a row, none NaN (got {_check.describe(scores)})")
    return Policy(name, ranks_of(scores.detach().cpu().numpy()), seed)
