"""LinkPredictor: an encoder of nodes and a predictor of pairs."""

from __future__ import annotations

from torch import Tensor, nn

from gnnkit.adjacency import Adjacency


class LinkPredictor(nn.Module):
    r"""Embed all nodes once, then score pairs: predictor(encoder(x, A), A, pairs).

    With ``keep`` both see the graph without the entries that are held back, which is how target links are removed:
    no adjacency is built for a batch. Cost: one pass of the encoder, whatever the number of pairs, and the predictor's;
    to score many pairs in pieces, `encode` once and `score` each piece.

    Args:
        encoder: ``encoder(x, adj, keep=…)`` gives ``[N, D]``, as `LinkEncoder`.
        predictor: ``predictor(h, adj, pairs, keep=…)`` gives ``[P]``, as `NCN` and `NCNC`.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.models import NCN, LinkEncoder, LinkPredictor
        >>> adj = gnnkit.Adjacency.from_csr(torch.tensor([0, 2, 4, 6]), torch.tensor([1, 2, 0, 2, 0, 1]))  # a triangle
        >>> model = LinkPredictor(LinkEncoder(4, 8, num_layers=1), NCN(8, 8))
        >>> model(torch.rand(3, 4), adj, torch.tensor([[0], [1]]), keep=torch.tensor([0, 1, 0, 1, 1, 1]).bool()).shape
        torch.Size([1])
    """

    def __init__(self, encoder: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.encoder, self.predictor = encoder, predictor

    def forward(self, x: Tensor | None, adj: Adjacency, pairs: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """Return ``[P]`` logits of pairs ``[2, P]``; ``keep`` ``[E]`` bool, in the order of ``adj.indices``."""
        return self.score(self.encode(x, adj, keep), adj, pairs, keep)

    def encode(self, x: Tensor | None, adj: Adjacency, keep: Tensor | None = None) -> Tensor:
        """Return embeddings ``[N, D]``."""
        h: Tensor = self.encoder(x, adj, keep=keep)
        return h

    def score(self, h: Tensor, adj: Adjacency, pairs: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return ``[P]`` logits from embeddings."""
        logits: Tensor = self.predictor(h, adj, pairs, keep=keep)
        return logits
