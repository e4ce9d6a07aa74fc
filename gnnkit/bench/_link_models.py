"""The benchmark's models of link prediction by name, and their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gnnkit.bench._inputs import require_choices
from gnnkit.train._config import require

ABOUT = {
    "ncn": "Neural Common Neighbor, for links: message passing, then the sum over common neighbours",
    "ncnc": "NCN with completion: neighbours of one end count by the probability of the missing edge",
    "ncn2": "NCN with the neighbours two hops away of either end",
    "ncn-diff": "NCN with sums over the neighbours of one end alone",
    "gae": "graph auto-encoder: the product of two nodes' embeddings, through NCN's MLP",
    "link-mlp": "gae without message passing; nodes without features have learned rows",
    "gae-cn": "gae and the number of common neighbours",
}


@dataclass(frozen=True)
class LinkConfig:
    """The shape of a model of link prediction and how it sees its edges.

    Attributes:
        encoder: Kind of message passing, see `gnnkit.models.LinkEncoder`.
        hidden_channels: Width of all of it.
        num_layers: Layers of the encoder.
        input_dropout: Of the features.
        dropout: In the encoder.
        output_dropout: After the pure encoders.
        edge_dropout: Of the encoder's edges.
        norm: Whether LayerNorm stands in the encoder.
        residual: Whether layers of the encoder add what they read.
        jumping_knowledge: Whether the encoder adds up its layers with learned weights.
        predictor_dropout: In the predictor.
        pool_edge_dropout: Of the edges along which common neighbours are found.
        predictor_norm: Whether LayerNorm stands in the predictor.
        xlin: Whether an MLP is added to embeddings before they are pooled.
        tail_activation: Whether the predictor's parts end with their activation.
        two_layer_lin: Whether its last MLP has two layers.
        depth: Of NCNC's completion.
        alpha: Weight of the completed neighbours.
        probability: Share of edges that are observed, ``pt``.
        scale: Of the logit.
        offset: Of the logit.
        train_degree: Completed neighbours that are sampled in training; 0 for all.
        test_degree: The same in scoring.
        max_bytes: Memory for the neighbours of some pairs at a time.
        reweight: Strength of re-weighted messages, see `gnnkit.train.ReweightedLinkPredictor`; 0 for none.
        reweight_every: Epochs between two weightings.
        reweight_warm_up: Epochs before the first.
        eval_batch_size: Pairs scored at once.
        mask_targets: Whether a step's edges are hidden from the model.
        valid_as_input: Whether the graph holds the validation edges when test edges are scored.
    """

    encoder: Literal["puregcn", "puresum", "gcn"] = "puregcn"
    hidden_channels: int = 256
    num_layers: int = 1
    input_dropout: float = 0.0
    dropout: float = 0.0
    output_dropout: float = 0.0
    edge_dropout: float = 0.0
    norm: bool = True
    residual: bool = False
    jumping_knowledge: bool = False
    predictor_dropout: float = 0.0
    pool_edge_dropout: float = 0.0
    predictor_norm: bool = True
    xlin: bool = True
    tail_activation: bool = True
    two_layer_lin: bool = False
    depth: int = 1
    alpha: float = 1.0
    probability: float = 0.5
    scale: float = 5.0
    offset: float = 3.0
    train_degree: int = 0
    test_degree: int = 0
    max_bytes: int = 2**28
    reweight: float = 0.0
    reweight_every: int = 1
    reweight_warm_up: int = 1
    eval_batch_size: int = 8192
    mask_targets: bool = True
    valid_as_input: bool = False

    def __post_init__(self) -> None:
        require_choices(self, "link", "encoder")
        for name in ("hidden_channels", "eval_batch_size", "max_bytes"):
            require(f"link.{name}", getattr(self, name), low=1, high=1e15)
        require("link.reweight", self.reweight, low=0)
        require("link.reweight_every", self.reweight_every, low=1)
        require("link.reweight_warm_up", self.reweight_warm_up, low=0)
        if self.reweight and self.valid_as_input:
            raise ValueError(
                "link.reweight: expected link.valid_as_input=false with it, for it learns the training edges"
            )
        for name in ("num_layers", "train_degree", "test_degree", "depth"):
            require(f"link.{name}", getattr(self, name), low=0, high=1e9)
