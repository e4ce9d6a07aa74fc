"""CommonNeighbors: for each pair of nodes, the sum of rows over the neighbours that both have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import common_neighbors, pair_blocks, spmm
from gnnkit.nn._simple_graph import check_keep, check_pairs, check_rows, check_simple


class CommonNeighbors(nn.Module):
    r"""Add up the rows of the common neighbours of each pair.

    .. math:: out_{(i, j)} = \sum_{u \in N(i) \cap N(j)} x_u

    The pooling of NCN (Wang, Yang and Zhang, *Neural Common Neighbor with Completion for Link Prediction*, ICLR 2024):
    a sum, not a mean; ones for ``x`` give the count. It is differentiable in ``x``. The sets are found by intersecting
    sorted rows, O(degrees of the pairs' ends), and pooled in O(members · D); no sparse matrices are multiplied.

    Args:
        max_bytes: A bound on the sets that are held at a time, or None; it does not change results.

    Shapes:
        x ``[N, D]`` float32 or float64, pairs ``[2, P]``, result ``[P, D]``.

    Raises:
        ValueError: ``adj`` is not simple and undirected, ``pairs`` holds an id out of range or a node paired with
            itself, ``x`` has not N rows, or ``keep`` not one mark an entry.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.nn import CommonNeighbors
        >>> # a square, 0 - 1 - 2 - 3 - 0
        >>> adj = gnnkit.Adjacency.from_csr(torch.tensor([0, 2, 4, 6, 8]), torch.tensor([1, 3, 0, 2, 1, 3, 0, 2]))
        >>> x = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
        >>> CommonNeighbors()(x, adj, torch.tensor([[0, 0], [2, 1]])).flatten().tolist()
        [10.0, 0.0]
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def forward(self, x: Tensor, adj: Adjacency, pairs: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """Return ``[P, D]``; ``keep`` ``[E]`` bool, in the order of ``adj.indices``, says which entries count."""
        check_simple(adj)
        check_rows("x", x, adj.num_nodes)
        check_keep(keep, adj)
        pairs = check_pairs(pairs, adj.num_nodes)
        # [P, D], block by block
        blocks = [slice(None)] if self.max_bytes is None else pair_blocks(adj.indptr, pairs, self.max_bytes)
        sums = [self._sums(x, adj, pairs[:, block], keep) for block in blocks]
        return torch.cat(sums) if sums else x.new_zeros(0, x.shape[1])

    def _sums(self, x: Tensor, adj: Adjacency, pairs: Tensor, keep: Tensor | None) -> Tensor:
        found = common_neighbors(adj.indptr, adj.indices, pairs, keep=keep, sets=("both",), check=False)
        assert found.both is not None
        return spmm(found.both.indptr, found.both.indices, x)

    def extra_repr(self) -> str:
        return f"max_bytes={self.max_bytes}"
