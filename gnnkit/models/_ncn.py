"""NCN: score pairs of nodes by their embeddings and those of their common neighbours."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import backend_name, common_neighbors
from gnnkit.models._inputs import check_choice, check_number, check_rate, check_size
from gnnkit.models._mlp import Block, SumMLP, tail
from gnnkit.models._pool import Pool, blocks, drop_entries, members_alone, walks
from gnnkit.nn._simple_graph import check_keep, check_pairs, check_rows, check_simple

Variant = Literal["cn0", "cn1", "scn1", "cn1.5", "cn1res"]
Summed = tuple[Tensor, Tensor | None]  # sums, and the place of each pair's among them
VARIANTS = ("cn0", "cn1", "scn1", "cn1.5", "cn1res")
ROWS = 2**13  # pairs whose hidden rows are made at once without gradient: these stay near, and their memory is reused


class NCN(nn.Module):
    r"""Score a pair of nodes by the product of their embeddings and the sum over their common neighbours.

    .. math:: s_{ij} = lin(\beta \; xcnlin(\sum_{u \in N(i) \cap N(j)} x'_u) + xijlin(h_i \odot h_j))

    with x' = h + xlin(h), or h without ``use_xlin``, four MLPs and a learned number β; from Wang, Yang and Zhang,
    *Neural Common Neighbor with Completion for Link Prediction*, ICLR 2024, and its code, whose names variants have:

    - ``"cn1"``: NCN, as above.
    - ``"cn0"``: GAE, lin(xijlin(h_i * h_j)).
    - ``"scn1"``: the number of common neighbours in place of their sum, through an MLP on that number.
    - ``"cn1.5"``: NCN2, an MLP's output added for the sum over N(i) ∩ N2(j) and N2(i) ∩ N(j), N2 the ends of walks of
      two steps, each member times the number of these walks, its entry of A @ A. That code multiplies the matrices and
      then takes the sets alone: ``walk_counts=False``.
    - ``"cn1res"``: NCN-diff, an MLP's output added for the sum over N(i) \ N(j) and N(j) \ N(i).

    Without a mask of target links (``keep``) it is the paper's NoTLR. What differs: x' is computed for the nodes in
    the sets alone where pairs fit one block, and what an empty set gives once. Scores are symmetric in a pair's ends.

    Cost: O(degrees of the ends) a pair for the sets; with D channels, O(D²) a pair and a member, and O(D) for each time
    a node is a member. For ``"cn1.5"`` also A @ A on the CPU in every forward pass.

    Args:
        in_channels: Of h.
        hidden_channels: Of the MLPs.
        use_xlin: Whether members' rows are transformed.
        tail_activation: Whether xcnlin and xijlin end with their activation, and not a linear map (``tailact``).
        two_layer_lin: One more block in lin (``twolayerlin``).
        dropout: In the MLPs (``predp``).
        pool_edge_dropout: Of the entries that sets are made of, in training; nothing is rescaled (``preedp``).
        norm: LayerNorm in the MLPs (``lnnn``).
        variant: As above.
        beta: The number at which ``beta`` begins.
        walk_counts: Of ``"cn1.5"``.
        max_bytes: About how much the sets and hidden rows of a block of pairs may take. Without dropout it does not
            change scores beyond rounding.

    Shapes:
        h ``[N, in_channels]`` float32 or float64, pairs ``[2, P]``, result ``[P]`` logits.

    Raises:
        ValueError: An argument is not as above, ``adj`` is not simple and undirected, or ``pairs`` holds an id out of
            range or a node paired with itself.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.models import NCN
        >>> adj = gnnkit.Adjacency.from_csr(torch.tensor([0, 2, 4, 6]), torch.tensor([1, 2, 0, 2, 0, 1]))  # a triangle
        >>> ncn = NCN(8, 16, use_xlin=True).eval()
        >>> h, pairs = torch.rand(3, 8), torch.tensor([[0, 1], [1, 0]])
        >>> logits = ncn(h, adj, pairs, keep=torch.tensor([False, True, False, True, True, True]))  # without 0 - 1
        >>> logits.shape, torch.allclose(logits[0], logits[1])
        (torch.Size([2]), True)
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *,
        use_xlin: bool = False,
        tail_activation: bool = False,
        two_layer_lin: bool = False,
        dropout: float = 0.0,
        pool_edge_dropout: float = 0.0,
        norm: bool = True,
        variant: Variant = "cn1",
        beta: float = 1.0,
        walk_counts: bool = True,
        max_bytes: int = 2**28,
    ) -> None:
        super().__init__()
        check_choice("variant", variant, self._variants())
        for name, size in (
            ("in_channels", in_channels),
            ("hidden_channels", hidden_channels),
            ("max_bytes", max_bytes),
        ):
            check_size(name, size)
        check_rate("dropout", dropout)
        check_rate("pool_edge_dropout", pool_edge_dropout)
        check_number("beta", beta)
        self.in_channels, self.hidden_channels, self.variant = in_channels, hidden_channels, variant
        self.pool_edge_dropout, self.walk_counts, self.max_bytes = pool_edge_dropout, walk_counts, max_bytes
        if variant != "cn0":
            self.beta = nn.Parameter(torch.tensor([float(beta)]))
        self.xlin: SumMLP | None = None
        if use_xlin and variant not in ("cn0", "scn1"):
            self.xlin = SumMLP(in_channels, in_channels, dropout, norm)

        def pooled() -> SumMLP:
            width = 1 if variant == "scn1" else in_channels
            return SumMLP(width, hidden_channels, dropout, norm, tail_activation=tail_activation)

        self.xcnlin = pooled() if variant != "cn0" else None
        self.xextralin = pooled() if variant in ("cn1.5", "cn1res") else None
        product = Block(in_channels, hidden_channels, dropout, norm)
        self.xijlin = nn.Sequential(product, *tail(hidden_channels, tail_activation))
        lin = [Block(hidden_channels, hidden_channels, dropout, norm) for _ in range(1 + two_layer_lin)]
        self.lin = nn.Sequential(*lin, nn.Linear(hidden_channels, 1))

    @staticmethod
    def _variants() -> Collection[str]:
        return VARIANTS

    def forward(self, h: Tensor, adj: Adjacency, pairs: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """Return ``[P]`` logits.

        Args:
            h: Embeddings of the nodes.
            adj: A simple undirected graph.
            pairs: ``[2, P]`` nodes to score.
            keep: ``[E]`` bool in the order of ``adj.indices``: entries that count, as `LinkEncoder` takes it.
        """
        pairs = self._checked(h, adj, pairs, keep)
        keep = self._dropped(keep, adj)
        return self._score(h, adj, pairs, keep)

    def _checked(self, h: Tensor, adj: Adjacency, pairs: Tensor, keep: Tensor | None) -> Tensor:
        check_simple(adj)
        check_keep(keep, adj)
        check_rows("h", h, adj.num_nodes, self.in_channels)
        return check_pairs(pairs, adj.num_nodes)

    def _dropped(self, keep: Tensor | None, adj: Adjacency) -> Tensor | None:
        return drop_entries(keep, adj, self.pool_edge_dropout if self.training else 0.0)

    def _blocks(self, adj: Adjacency, pairs: Tensor) -> list[slice]:
        """Pairs that are worked on together: about four hidden rows of a pair live at a time."""
        return blocks(adj, pairs, self.max_bytes, 4 * self.hidden_channels * next(self.parameters()).element_size())

    def _score(
        self, h: Tensor, adj: Adjacency, pairs: Tensor, keep: Tensor | None, *, completing: bool = False
    ) -> Tensor:
        """``[P]`` logits of NCN itself; pairs of a node with itself are allowed, completion asks for them."""
        two_hops = walks(adj, keep) if self.variant == "cn1.5" else None
        parts = self._blocks(adj, pairs)
        # [N, in_channels], where several blocks read it
        members = self._members(h) if len(parts) > 1 and self.variant not in ("cn0", "scn1") else None
        # chunks draw dropout anew; in training without gradient (a checkpoint's first pass) there has to be one draw
        whole = torch.is_grad_enabled() or (self.training and not completing) or backend_name(h) != "numba"
        scores = []
        for part in parts:
            chosen = pairs[:, part]
            pools = self._pools(adj, chosen, keep, two_hops)
            scores.append(self._score_block(h, chosen, pools, members, max(chosen.shape[1], 1) if whole else ROWS))
        return scores[0] if len(scores) == 1 else torch.cat(scores)

    def _score_block(
        self, h: Tensor, pairs: Tensor, pools: list[list[Pool]], members: Tensor | None, step: int
    ) -> Tensor:
        """``[P]`` logits, of so many pairs at a time."""
        if self.variant == "scn1":
            counts = [(pool.indptr.diff().to(h.dtype).unsqueeze(-1), None) for (pool,) in pools]
            return self._combine(product_of_ends(h, pairs), *counts)
        if members is None and pools:
            rows, pools = members_alone(pools, len(h))
            if torch.is_grad_enabled():
                # [R + 2 P, D], gathered at once: each gather costs N rows of zeros in the backward pass
                gathered = h.index_select(0, torch.cat([rows, pairs.flatten()]))
                near, ends = gathered.tensor_split([len(rows)])
                return self._combine(_product(ends), *_sums(self._members(near), pools))
            members = self._members(h.index_select(0, rows))
        scores = []
        for low in range(0, max(pairs.shape[1], 1), step):
            near_pools = [[pool.part(low, low + step) for pool in group] for group in pools]
            product = product_of_ends(h, pairs[:, low : low + step])
            scores.append(self._combine(product, *_sums(members, near_pools)))
        return torch.cat(scores)

    def _members(self, rows: Tensor) -> Tensor:
        """x': the rows that members contribute."""
        return rows if self.xlin is None else rows + self.xlin(rows)

    def _pools(
        self, adj: Adjacency, pairs: Tensor, keep: Tensor | None, two_hops: tuple[Tensor, Tensor, Tensor] | None
    ) -> list[list[Pool]]:
        """The pools that xcnlin sees the sum of, and those that xextralin sees the sum of."""
        if self.variant == "cn0":
            return []
        sets = ("both", "only_i", "only_j") if self.variant == "cn1res" else ("both",)
        found = common_neighbors(adj.indptr, adj.indices, pairs, keep=keep, sets=sets, check=False)
        if self.variant == "cn1res":
            return [[Pool.of(found.both)], [Pool.of(found.only_i), Pool.of(found.only_j)]]
        if two_hops is None:
            return [[Pool.of(found.both)]]
        other, count = two_hops[:2], two_hops[2]
        far = []
        for ends in (pairs, pairs.flip(0)):  # N(i) with N2(j), N(j) with N2(i)
            there = common_neighbors(
                adj.indptr, adj.indices, ends, keep=(keep, None), other=other, sets=("both",), check=False
            ).both
            assert there is not None
            assert there.other_entries is not None
            far.append(Pool.of(there, count[there.other_entries] if self.walk_counts else None))
        return [[Pool.of(found.both)], far]

    def _combine(self, product: Tensor, common: Summed | None = None, extra: Summed | None = None) -> Tensor:
        """``[P]``: the score of products of ends and sums over members."""
        hidden = self.xijlin(product)
        if self.xcnlin is not None and common is not None:
            hidden = torch.addcmul(hidden, self.beta, self.xcnlin(*common))
        if self.xextralin is not None and extra is not None:
            hidden = hidden + self.xextralin(*extra)
        logits: Tensor = self.lin(hidden)
        return logits.squeeze(-1)

    def extra_repr(self) -> str:
        return f"variant={self.variant!r}, pool_edge_dropout={self.pool_edge_dropout}"


def product_of_ends(h: Tensor, pairs: Tensor) -> Tensor:
    """``[P, D]``: h_i * h_j."""
    return _product(h.index_select(0, pairs.flatten()))


def _product(ends: Tensor) -> Tensor:
    """``[P, D]`` from the rows of all first ends and then of all second ends."""
    first, second = ends.view(2, -1, ends.shape[1]).unbind(0)
    return first * second


def _sums(rows: Tensor | None, pools: list[list[Pool]]) -> list[Summed]:
    """For each list of pools the sum over all of its members, as `SumMLP` takes it."""
    sums: list[Summed] = []
    for first, *others in pools:
        assert rows is not None
        filled, place = first.compact()
        if not others and 2 * len(filled.indptr) < len(first.indptr):
            sums.append((filled.sum(rows), place))
            continue
        total = first.sum(rows)
        for pool in others:
            total = total + pool.sum(rows)
        sums.append((total, None))
    return sums
