"""ReweightedLinkPredictor: messages count by what the predictor makes of their edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnnkit.adjacency import Adjacency
from gnnkit.links import LinkGraph, reweighted
from gnnkit.train._config import require


class ReweightedLinkPredictor(nn.Module):
    r"""A `gnnkit.models.LinkPredictor` whose messages along likely edges count more, by training edges alone.

    Every some epochs the model scores the training edges, :math:`s = \sigma(\mathrm{logit})`, and until the next time
    each message from j to i weighs, on top of what the encoder normalises,

    .. math:: w_{ij} + strength \cdot s_{ij} \;/\; \sum_{j' \in N(i)} s_{ij'}

    Source: *A Topological Perspective on Demystifying GNN-Based Link Prediction Performance*, ICLR 2024, the
    re-weighting of its code. What differs: an edge that is held back has no share, and the others' shares are made
    anew without it, so that a step's edges cannot be read off their neighbours' weights; nothing of the validation
    edges enters.

    The scores are buffers: a checkpoint holds them, and the best epoch's weights come with the scores they were
    trained with. Cost: a pass over all training edges each time, and one more sum over the edges a layer.

    Args:
        encoder: ``encoder(x, adj, keep=…, added_weight=…)``, as `gnnkit.models.LinkEncoder`.
        predictor: ``predictor(h, adj, pairs, keep=…)`` gives ``[P]``.
        num_entries: E of the training graph, both directions counted.
        strength: At least 0.
        every: Epochs between two scorings.
        warm_up: Epochs before the first.

    Raises:
        ValueError: An argument is out of its range, or a graph has another number of entries.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph
        >>> from gnnkit.models import NCN, LinkEncoder
        >>> from gnnkit.train import ReweightedLinkPredictor
        >>> graph = LinkGraph.from_edges(torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
        >>> model = ReweightedLinkPredictor(LinkEncoder(4, 8, 1), NCN(8, 8), graph.adj.num_edges, strength=1.0)
        >>> x = torch.rand(3, 4)
        >>> for _ in range(2):
        ...     model.begin_epoch(x, graph)
        >>> bool((model.scores > 0).all())
        True
    """

    scores: Tensor
    epochs: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module,
        num_entries: int,
        *,
        strength: float,
        every: int = 1,
        warm_up: int = 1,
    ) -> None:
        super().__init__()
        require("num_entries", num_entries, low=0)
        require("strength", strength, low=0)
        require("every", every, low=1)
        require("warm_up", warm_up, low=0)
        self.encoder, self.predictor = encoder, predictor
        self.strength, self.every, self.warm_up = strength, every, warm_up
        self.register_buffer("scores", torch.zeros(num_entries))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def begin_epoch(self, x: Tensor | None, graph: LinkGraph, batch_size: int = 8192) -> None:
        """Score the training edges where it is due; `gnnkit.train.LinkPrediction` calls it before each epoch."""
        epoch = int(self.epochs)
        self.epochs += 1
        if epoch < self.warm_up or (epoch - self.warm_up) % self.every:
            return
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            h = self.encode(x, graph.adj)
            logits = [self.score(h, graph.adj, block) for block in torch.split(graph.edges, batch_size, dim=1)]
            scores = torch.cat(logits).sigmoid().to(self.scores.dtype)  # [M]
            self.scores[graph.entries] = scores  # both directions of an edge
        finally:
            for module, training in modes:
                module.training = training

    def encode(self, x: Tensor | None, adj: Adjacency, keep: Tensor | None = None) -> Tensor:
        """Return embeddings ``[N, D]``."""
        if adj.num_edges != len(self.scores):
            raise ValueError(
                f"adj: expected the {len(self.scores)} entries of the training graph (got {adj.num_edges})"
            )
        scores = self.scores if keep is None else self.scores * keep
        added = reweighted(torch.zeros_like(scores), scores, adj, self.strength)  # [E]
        h: Tensor = self.encoder(x, adj, keep=keep, added_weight=added)
        return h

    def score(self, h: Tensor, adj: Adjacency, pairs: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return ``[P]`` logits from embeddings."""
        logits: Tensor = self.predictor(h, adj, pairs, keep=keep)
        return logits
