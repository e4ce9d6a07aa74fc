"""NCNC: NCN that also counts neighbours which are probably common."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import common_neighbors
from gnnkit.models._inputs import check_number, check_size
from gnnkit.models._ncn import NCN, product_of_ends
from gnnkit.models._pool import Pool
from gnnkit.models._sample_sets import sample_sets

COMPLETED = ("cn1", "scn1")


class NCNC(NCN):
    r"""Score a pair as `NCN` does, with neighbours of one end counted by the probability of the missing edge.

    The sum over common neighbours becomes

    .. math:: \sum_{N(i) \cap N(j)} x'_u + \sum_{N(i) - N(j)} p_{ju} \, x'_u + \sum_{N(j) - N(i)} p_{iu} \, x'_u

    .. math:: p_{ab} = \frac{\alpha \, t \, q}{t \, q + 1 - q}, \quad q = \sigma(scale \, (s_{ab} - offset))

    where s_ab is the logit of this same model at one depth less, with x' for h and without gradient, down to
    NCN's own at depth 0. From Wang, Yang and Zhang, *Neural Common Neighbor with Completion for Link Prediction*, ICLR
    2024, and its code; ``"scn1"`` completes the number of common neighbours (``sincn1cn1`` there).

    What differs: the probability of an edge is computed once for each pair of nodes in a block of pairs, where that
    code computes it once for each of the pairs it completes, so with dropout those share a draw, as do the two sums.
    At each depth entries are dropped anew, from those left at the depth above. Where i and j are neighbours, i is a
    member of N(j) \ N(i), as there.

    Cost: NCN's, and NCN's for each different pair (end, member of a difference); ``train_degree`` and ``test_degree``
    bound these. Each depth multiplies by the degrees once more.

    Args:
        depth: 1 is NCNC, 2 is NCNC2.
        alpha: Factor of probabilities.
        probability: t above (``pt``), from 0 to 1.
        scale: Of logits.
        offset: Of logits.
        learn_probability: Whether t is σ(MLP(h_i * h_j)) of the pair completed, in place of
            ``probability`` (``learnpt``).
        train_degree: In training, draw so many members of a difference that has more, with replacement, each of value
            |difference| / ``train_degree``; None for all members (``trndeg``).
        test_degree: The same in evaluation, which is random then (``tstdeg``).
        **options: `NCN`'s, ``variant`` being ``"cn1"`` or ``"scn1"``. ``max_bytes`` bounds a block of pairs at each
            depth (``splitsize`` in bytes).

    ``alpha``, ``probability``, ``scale`` and ``offset`` are buffers: part of the state, not learned.

    Raises:
        ValueError: As `NCN`.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.models import NCNC
        >>> adj = gnnkit.Adjacency.from_csr(torch.tensor([0, 1, 3, 4]), torch.tensor([1, 0, 2, 1]))  # 0 - 1 - 2
        >>> ncnc = NCNC(8, 8, depth=1, alpha=0.5, scale=4.3, offset=2.8).eval()
        >>> ncnc(torch.rand(3, 8), adj, torch.tensor([[0, 0], [1, 2]])).shape
        torch.Size([2])
    """

    alpha: Tensor
    probability: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        depth: int = 1,
        alpha: float = 1.0,
        probability: float = 0.5,
        scale: float = 5.0,
        offset: float = 3.0,
        learn_probability: bool = False,
        train_degree: int | None = None,
        test_degree: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, hidden_channels, **options)
        check_size("depth", depth)
        check_number("alpha", alpha)
        check_number("probability", probability, 0.0, 1.0)
        check_number("scale", scale)
        check_number("offset", offset)
        for name, degree in (("train_degree", train_degree), ("test_degree", test_degree)):
            check_size(name, 1 if degree is None else degree)
        self.depth, self.train_degree, self.test_degree = depth, train_degree, test_degree
        for name, number in (("alpha", alpha), ("probability", probability), ("scale", scale), ("offset", offset)):
            self.register_buffer(name, torch.tensor(float(number)))
        self.ptlin: nn.Sequential | None = None
        if learn_probability:
            first = nn.Linear(in_channels, hidden_channels)
            self.ptlin = nn.Sequential(first, nn.ReLU(inplace=True), nn.Linear(hidden_channels, 1))

    @staticmethod
    def _variants() -> Collection[str]:
        return COMPLETED

    def forward(self, h: Tensor, adj: Adjacency, pairs: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """Return ``[P]`` logits; the arguments are `NCN`'s."""
        pairs = self._checked(h, adj, pairs, keep)
        keeps = [self._dropped(keep, adj)]
        for _ in range(self.depth):
            keeps.append(self._dropped(keeps[-1], adj))
        return self._complete(h, adj, pairs, keeps)

    def _complete(self, h: Tensor, adj: Adjacency, pairs: Tensor, keeps: list[Tensor | None]) -> Tensor:
        """``[P]`` logits at depth ``len(keeps) - 1``, with the entries that count at each depth from here on."""
        keep, *deeper = keeps
        if not deeper:
            return self._score(h, adj, pairs, keep, completing=True)
        # [N, D]: what members contribute, and the embeddings one depth down; of counts, one and the same h
        inner = h if self.variant == "scn1" else self._members(h)
        rows = h.new_ones(len(h), 1) if self.variant == "scn1" else inner
        scores = []
        for part in self._blocks(adj, pairs):
            i, j = pairs[:, part]
            found = common_neighbors(adj.indptr, adj.indices, pairs[:, part], keep=keep, check=False)
            assert found.only_i is not None
            assert found.only_j is not None
            degree = self.train_degree if self.training else self.test_degree
            pools = sample_sets(found.only_i, degree), sample_sets(found.only_j, degree)
            product = product_of_ends(h, pairs[:, part])
            probabilities = self._probabilities(inner.detach(), adj, (j, i), pools, product, deeper)
            common = Pool.of(found.both).sum(rows)
            for pool, p in zip(pools, probabilities, strict=True):
                values = p if pool.values is None else p * pool.values.to(p.dtype)
                common = common + pool._replace(values=values).sum(rows)
            scores.append(self._combine(product, (common, None)))
        return torch.cat(scores)

    def _probabilities(
        self,
        inner: Tensor,
        adj: Adjacency,
        ends: tuple[Tensor, Tensor],
        pools: tuple[Pool, Pool],
        product: Tensor,
        keeps: list[Tensor | None],
    ) -> list[Tensor]:
        """``[M]`` for each pool: the probability of an edge between each member and the other end of its pair."""
        sizes = [len(pool.indices) for pool in pools]
        counts = [pool.indptr.diff() for pool in pools]
        # [M1 + M2]: the other end of each member, and the pair it is of
        near = torch.cat([end.repeat_interleave(count) for end, count in zip(ends, counts, strict=True)])
        far = torch.cat([pool.indices for pool in pools]).long()
        number = torch.arange(len(product), device=near.device)
        pair = torch.cat([number.repeat_interleave(count) for count in counts])
        with torch.no_grad():
            # scores are symmetric: [U] pairs of nodes, the smaller id first, each once
            keys, which = _distinct(torch.minimum(near, far) * len(inner) + torch.maximum(near, far))
            logits = self._complete(inner, adj, torch.stack([keys // len(inner), keys % len(inner)]), keeps)
            odds = (self.scale * (logits - self.offset)).index_select(0, which)
        # t q / (t q + 1 - q) is the sigmoid of log t + the logit of q
        if self.ptlin is None:
            odds = odds + self.probability.log()
        else:
            odds = odds + F.logsigmoid(self.ptlin(product)).squeeze(-1).index_select(0, pair)
        first, second = torch.split_with_sizes(self.alpha * odds.sigmoid(), sizes)
        return [first, second]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, depth={self.depth}"


def _distinct(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The different keys in increasing order, and the place of each key among them."""
    found, place = keys.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return found, place
