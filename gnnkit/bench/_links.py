"""Link prediction in the benchmark: the task, the models, and the best epoch of each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.bench._link_models import LinkConfig
from gnnkit.links import LinkGraph, LinkSplit
from gnnkit.models import NCN, NCNC, LinkEncoder, LinkPredictor
from gnnkit.models._ncn import Variant
from gnnkit.train import LinkPrediction, ReweightedLinkPredictor

_VARIANTS: dict[str, Variant] = {
    "ncn": "cn1",
    "ncn2": "cn1.5",
    "ncn-diff": "cn1res",
    "gae": "cn0",
    "gae-cn": "scn1",
    "link-mlp": "cn0",
}
SPARSE = 0.25  # share of features beyond which a dense product is faster
_ALSO = {"mrr": ("hits@1", "hits@3", "hits@10"), "hits": ("hits@20", "hits@50", "hits@100")}


def link_task(data: Any, split: LinkSplit, config: LinkConfig, batch_size: int, device: torch.device) -> LinkPrediction:
    """Make the task of one seed."""
    metric = data.card.metric
    also = tuple(name for name in _ALSO[metric.partition("@")[0]] if name != metric)
    return LinkPrediction(
        _features(data.x, config).to(device) if data.card.num_features else None,
        split.to(device),
        metric,
        also=also if metric != "mrr" or split.valid_neg.dim() == 3 else (),
        batch_size=batch_size,
        eval_batch_size=config.eval_batch_size,
        mask_targets=config.mask_targets,
        valid_as_input=config.valid_as_input,
    )


def _features(x: Tensor, config: LinkConfig) -> Tensor:
    """Features as the encoder reads them fastest: those that are mostly zeros in COO, under a map at the input."""
    mostly_zeros = int(x.count_nonzero()) < SPARSE * x.numel()
    return x.to_sparse().coalesce() if mostly_zeros and config.encoder != "gcn" else x


def best_of_each(history: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the test score of each further metric at its own best validation epoch, as the authors of NCN report."""
    also, judged = {}, [row for row in history if "valid" in row]
    for valid in judged[0]:
        if valid.startswith("valid_") and valid != "valid_loss":
            row = max(judged, key=itemgetter(valid))  # the first of equally good epochs
            name = valid.removeprefix("valid_")
            also[name] = {"valid": row[valid], "test": row[f"test_{name}"]}
    return {"also": also} if also else {}


def build_link(name: str, data: Any, config: LinkConfig, graph: LinkGraph | None = None) -> nn.Module:
    """Make a model by name.

    Args:
        name: A key of `ABOUT`.
        data: A loaded graph; nodes without features have a learned row each.
        config: Its shape.
        graph: The training graph, which re-weighted messages ask for.
    """
    if name == "link-mlp":
        config = replace(config, num_layers=0, jumping_knowledge=False)
    in_channels = data.card.num_features or None
    encoder = LinkEncoder(
        in_channels,
        config.hidden_channels,
        config.num_layers,
        config.encoder,
        input_dropout=config.input_dropout,
        dropout=config.dropout,
        output_dropout=config.output_dropout,
        edge_dropout=config.edge_dropout,
        norm=config.norm,
        residual=config.residual,
        jumping_knowledge=config.jumping_knowledge,
        num_embeddings=None if in_channels else data.num_nodes,
    )
    width = config.hidden_channels
    options: dict[str, Any] = {
        "dropout": config.predictor_dropout,
        "pool_edge_dropout": config.pool_edge_dropout,
        "norm": config.predictor_norm,
        "use_xlin": config.xlin,
        "tail_activation": config.tail_activation,
        "two_layer_lin": config.two_layer_lin,
        "max_bytes": config.max_bytes,
    }
    if name == "ncnc":
        options |= {
            "depth": config.depth,
            "alpha": config.alpha,
            "probability": config.probability,
            "scale": config.scale,
            "offset": config.offset,
            "train_degree": config.train_degree or None,
            "test_degree": config.test_degree or None,
        }
        predictor: nn.Module = NCNC(width, width, **options)
    else:
        predictor = NCN(width, width, variant=_VARIANTS[name], **options)
    if not config.reweight:
        return LinkPredictor(encoder, predictor)
    if graph is None:
        raise ValueError("graph: expected the training graph for link.reweight (got None)")
    return ReweightedLinkPredictor(
        encoder,
        predictor,
        graph.adj.num_edges,
        strength=config.reweight,
        every=config.reweight_every,
        warm_up=config.reweight_warm_up,
    )
