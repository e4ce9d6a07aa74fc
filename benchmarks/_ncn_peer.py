"""The code of NCN's authors, run beside gnnkit's on the same split: their models, their training step, their scores.

It is read from the folder ``GNNKIT_NCN``, a clone of GraphPKU/NeuralCommonNeighbor, in an environment with torch-sparse
(``make peers``). What only its ``main`` needs, ogb and tensorboard, is replaced by empty modules.
"""

from __future__ import annotations

import random
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from _authors import authors_scripts
from torch import Tensor

from gnnkit.bench import LinkConfig
from gnnkit.links import LinkSplit, hits_at
from gnnkit.train import TrainConfig
from gnnkit.train._link_scores import link_loss

_PREDICTORS = {"ncn": "cn1", "ncnc": "incn1cn1", "gae": "cn0"}
_EMPTY = ("ogb", "ogb.linkproppred", "torch.utils.tensorboard", "ogbdataset")


@cache
def _authors() -> ModuleType:
    """Import their training script."""
    (script,) = authors_scripts("GNNKIT_NCN", "GraphPKU/NeuralCommonNeighbor", ["NeighborOverlap"], empty=_EMPTY)
    return script


class Peer:
    """One training by their code.

    Args:
        name: ncn, ncnc or gae.
        x: ``[N, F]``.
        split: The same that gnnkit trains on.
        link: Settings, translated to their options.
        train: Learning rates and the size of a step.
        seed: Of their generators.
    """

    def __init__(self, name: str, x: Tensor, split: LinkSplit, link: LinkConfig, train: TrainConfig, seed: int) -> None:
        theirs = _authors()
        from torch_geometric.data import Data
        from torch_sparse import SparseTensor

        theirs.set_seed(seed)
        random.seed(seed)  # PyG draws negatives by it, and their function leaves it out
        graph = split.graph()
        edge_index = graph.adj.to_edge_index()
        self.data = Data(x=x, edge_index=edge_index, num_nodes=split.num_nodes)
        self.data.adj_t = SparseTensor.from_edge_index(edge_index, sparse_sizes=(len(x), len(x))).to_symmetric()
        self.data.adj_t = self.data.adj_t.coalesce()
        self.split, self.link, self.theirs, self.batch_size = split, link, theirs, train.batch_size
        self.edges = {"train": {"edge": graph.edges.t()}}
        width = link.hidden_channels
        self.model = theirs.GCN(
            x.shape[1], width, width, link.num_layers, link.dropout, link.norm, link.residual, -1, link.encoder,
            link.jumping_knowledge, link.edge_dropout, xdropout=link.input_dropout, taildropout=link.output_dropout,
            noinputlin=False,
        )  # fmt: skip
        make: Any = theirs.predictor_dict[_PREDICTORS[name]]
        if name != "gae":
            make = partial(
                make, cndeg=-1, use_xlin=link.xlin, tailact=link.tail_activation, twolayerlin=link.two_layer_lin, beta=1
            )
        if name == "ncnc":
            make = partial(
                make, depth=link.depth, splitsize=-1, scale=link.scale, offset=link.offset, trainresdeg=-1,
                testresdeg=-1, pt=link.probability, learnablept=False, alpha=link.alpha,
            )  # fmt: skip
        self.predictor = make(width, width, 1, 3, link.predictor_dropout, link.pool_edge_dropout, link.predictor_norm)
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.model.parameters(), "lr": train.lr},
                {"params": self.predictor.parameters(), "lr": train.predictor_lr or train.lr},
            ]
        )

    def train_epoch(self) -> None:
        """Their training function."""
        self.theirs.train(
            self.model, self.predictor, self.data, self.edges, self.optimizer, self.batch_size,
            self.link.mask_targets,
        )  # fmt: skip

    def give(self, model: Any) -> None:
        """Copy the weights into a `gnnkit.models.LinkPredictor`, which has them in the same order."""
        theirs = [*self.model.named_parameters(), *self.predictor.named_parameters()]
        theirs = [(name, p) for name, p in theirs if not name.startswith("ptlin")]  # of --learnpt, which is off
        mine = [*model.named_parameters()]
        if [p.shape for _, p in theirs] != [p.shape for _, p in mine]:
            raise SystemExit(f"expected the authors' weights {theirs} (got {mine})")
        with torch.no_grad():
            for (_, source), (_, target) in zip(theirs, mine, strict=True):
                target.copy_(source)

    @torch.no_grad()
    def logits(self, *parts: Tensor) -> list[Tensor]:
        """Score pairs ``[2, P]`` without dropout, the whole training graph known."""
        self.model.eval()
        self.predictor.eval()
        h = self.model(self.data.x, self.data.adj_t)
        found = []
        for pairs in parts:
            blocks = pairs.split(self.link.eval_batch_size, dim=1)
            found.append(torch.cat([self.predictor(h, self.data.adj_t, block).reshape(-1) for block in blocks]))
        return found

    def scores(self, k: int = 100) -> dict[str, float]:
        """Hits@k of validation and test, and the validation loss."""
        split = self.split
        valid, valid_neg, test, test_neg = self.logits(split.valid, split.valid_neg, split.test, split.test_neg)
        hits = {"valid": hits_at(valid, valid_neg, k), "test": hits_at(test, test_neg, k)}
        return hits | {"valid_loss": float(link_loss(valid, valid_neg))}
