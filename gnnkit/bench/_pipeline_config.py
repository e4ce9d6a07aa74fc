"""Settings of a pipeline run, the recipes they begin with, and the network they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from gnnkit import datasets
from gnnkit.bench._inputs import FeaturesConfig, require_choices
from gnnkit.datasets import Card
from gnnkit.train import METRICS, override
from gnnkit.train._config import require

if TYPE_CHECKING:
    from gnnkit.pipeline import Network


@dataclass(frozen=True)
class CutConfig:
    """How layers and nodes are cut.

    Attributes:
        mode: ``"pipeline"``: stages of layers. ``"graph"``: ways of nodes. ``"hybrid"``: ways in every stage.
        stages: S; None for the number of processes (pipeline) or 1 (graph); hybrid needs it.
        ways: W; None for the number of processes over S.
        chunks: K; None for 4 S, or 1 in graph mode and with one stage.
        partitioner: Of nodes into ways and chunks; ``"auto"`` is metis where pymetis is installed, else builtin.
        shuffle: Whether the chunks' order is drawn anew each epoch.
    """

    mode: Literal["pipeline", "graph", "hybrid"] = "pipeline"
    stages: int | None = None
    ways: int | None = None
    chunks: int | None = None
    partitioner: Literal["auto", "metis", "builtin"] = "auto"
    shuffle: bool = True

    def __post_init__(self) -> None:
        require_choices(self, "plan", "mode", "partitioner")
        for name in ("stages", "ways", "chunks"):
            if getattr(self, name) is not None:
                require(f"plan.{name}", getattr(self, name), low=1, high=1e9)

    def shape(self, processes: int) -> tuple[int, int, int]:
        """Return stages, ways and chunks for a number of processes; one process executes any plan.

        Raises:
            ValueError: They fit neither the mode nor the processes.
        """
        mode, stages, ways = self.mode, self.stages, self.ways
        if mode == "hybrid" and stages is None:
            raise ValueError("plan.stages: expected a number of stages in hybrid mode, --stages (got none)")
        if stages is None:
            stages = 1 if mode == "graph" else max(processes // (ways or 1), 1)
        if ways is None:
            ways = 1 if mode == "pipeline" else max(processes // stages, 1)
        for name, number, other in (("stages", stages, "graph"), ("ways", ways, "pipeline")):
            if mode == other and number > 1:
                raise ValueError(f"plan.{name}: expected 1 in {mode} mode (got {number})")
            if mode == "hybrid" and number == 1:
                raise ValueError(f"plan.{name}: expected more than 1 in hybrid mode, --{name} 2 (got 1)")
        if processes not in (1, stages * ways):
            raise ValueError(
                f"processes: expected {stages * ways}, for {stages} stages of {ways} ways, or one that executes all "
                f"(got {processes}); start torchrun with --nproc-per-node {stages * ways}"
            )
        return stages, ways, self.chunks or (4 * stages if stages > 1 else 1)


@dataclass(frozen=True)
class DeepConfig:
    """The shape of a deep network.

    Attributes:
        hidden_channels: Width of every hop.
        num_layers: Number of hops.
        dropout: Dropout before every linear map.
        alpha: Share of h0 in gcnii.
        theta: Of the identity mapping in gcnii.
        heads: Attention heads in gat, which share the width.
        attention_dropout: Of the coefficients in gat.
    """

    hidden_channels: int = 64
    num_layers: int = 32
    dropout: float = 0.5
    alpha: float = 0.1
    theta: float = 0.5
    heads: int = 4
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hidden_channels", "num_layers", "heads"):
            require(f"model.{name}", getattr(self, name), low=1, high=1e6)
        for name in ("dropout", "attention_dropout"):
            require(f"model.{name}", getattr(self, name), low=0, high=1)


@dataclass(frozen=True)
class DeepTrainConfig:
    """How it is trained: Adam, one step an epoch.

    Attributes:
        lr: Learning rate.
        weight_decay: L2 penalty.
        hop_weight_decay: That of the hops; None for the same.
        epochs: How many.
        eval_every: Epochs between exact evaluations; the last epoch is evaluated too.
        checkpoint_every: Epochs between checkpoints: what a killed run can lose.
        refresh: Epochs between refreshes of historical rows; none for never.
        prime: Whether an exact pass fills them first.
        recompute: Whether activations are computed again in place of being kept.
        precision: ``"full"``, or ``"bf16"`` for rows and layers.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0
    hop_weight_decay: float | None = None
    epochs: int = 200
    eval_every: int = 5
    checkpoint_every: int = 25
    refresh: int | None = 1
    prime: bool = True
    recompute: bool = False
    precision: Literal["full", "bf16"] = "full"

    def __post_init__(self) -> None:
        require("train.lr", self.lr, low=0, above=True)
        require("train.weight_decay", self.weight_decay, low=0)
        if self.hop_weight_decay is not None:
            require("train.hop_weight_decay", self.hop_weight_decay, low=0)
        for name in ("epochs", "eval_every", "checkpoint_every", "refresh"):
            if getattr(self, name) is not None:
                require(f"train.{name}", getattr(self, name), low=1, high=1e9)
        require_choices(self, "train", "precision")


@dataclass(frozen=True)
class ProcessConfig:
    """What the processes do that changes no number.

    Attributes:
        threads: Of each on the CPU; None for OMP_NUM_THREADS, else the cores shared among a host's.
        timeout_seconds: After which a process that does not answer is given up.
        prepare_seconds: The same while the dataset is downloaded, converted and cut, which takes them unequal times.
    """

    threads: int | None = None
    timeout_seconds: float = 600.0
    prepare_seconds: float = 86400.0

    def __post_init__(self) -> None:
        for name in ("timeout_seconds", "prepare_seconds"):
            require(f"process.{name}", getattr(self, name), low=0, above=True, high=1e9)
        if self.threads is not None:
            require("process.threads", self.threads, low=1, high=1e6)


@dataclass(frozen=True)
class PipelineConfig:
    """All settings of a pipeline run.

    Attributes:
        dataset: A name of `gnnkit.datasets.names`.
        model_name: A key of `gnnkit.pipeline.adapters.MODELS`.
        recipe: Where the settings come from.
        features: ``scale``, and ``kind`` memory or memmap.
        plan: How layers and nodes are cut.
        model: The shape of the network.
        train: How it is trained.
        process: What changes no number.
    """

    dataset: str
    model_name: str
    recipe: str = "gnnkit defaults"
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    plan: CutConfig = field(default_factory=CutConfig)
    model: DeepConfig = field(default_factory=DeepConfig)
    train: DeepTrainConfig = field(default_factory=DeepTrainConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)


def pipeline_config(
    dataset: str, model: str, root: str | None, overrides: Sequence[str], processes: int
) -> PipelineConfig:
    """Return the settings of a run, all of them checked before anything is launched.

    Raises:
        ValueError: An unknown name or setting, a task other than classes of nodes, more stages than layers, or settings
            that do not fit the number of processes.
    """
    from gnnkit.pipeline.adapters import MODELS

    card = datasets.card(dataset, root)
    if model not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)}, which are deep (got {model!r})")
    _check_card(card)
    config = override(_recipe(dataset, model), *overrides)
    if (config.dataset, config.model_name) != (dataset, model):
        raise ValueError(f"--set: expected settings (got another dataset or model: {', '.join(overrides)})")
    if config.features.kind not in ("memory", "memmap"):
        raise ValueError(f"features.kind: expected memory or memmap in a pipeline (got {config.features.kind!r})")
    stages, ways, chunks = config.plan.shape(processes)
    if stages > config.model.num_layers:
        raise ValueError(f"plan.stages: expected at most the {config.model.num_layers} layers (got {stages})")
    if card.num_nodes is not None and ways * chunks > card.num_nodes:
        raise ValueError(
            f"plan.chunks: expected at most as many cells as the {card.num_nodes} nodes "
            f"(got {ways} ways of {chunks} chunks)"
        )
    try:
        with torch.device("meta"):  # which allocates and draws nothing
            build_network(config, card)
    except ValueError as error:
        raise ValueError(f"model.{error}") from None
    return config


def build_network(config: PipelineConfig, card: Card) -> Network:
    """Make the network for a dataset's features and classes."""
    from gnnkit.pipeline.adapters import MODELS

    model = config.model
    more: dict[str, Any] = {}
    if config.model_name == "gcnii":
        more = {"alpha": model.alpha, "theta": model.theta}
    elif config.model_name == "gat":
        more = {"heads": model.heads, "attention_dropout": model.attention_dropout}
    sizes = card.num_features, model.hidden_channels, card.out_channels, model.num_layers
    return MODELS[config.model_name](*sizes, dropout=model.dropout, **more)


def _check_card(card: Card) -> None:
    if card.task != "node_classification" or card.metric not in METRICS or card.num_tasks is not None:
        raise ValueError(
            f"{card.name}: expected a task of one class a node and a metric among {', '.join(METRICS)}, which a "
            f"pipeline trains (got {card.task}, {card.metric})"
        )
    if card.node_type is not None:
        raise ValueError(f"{card.name}: expected nodes of one type (got classes on {card.node_type!r})")


_PLANETOID = ("cora", "citeseer", "pubmed")


def _recipe(dataset: str, model: str) -> PipelineConfig:
    scaled = FeaturesConfig(scale="rows")
    if dataset in _PLANETOID and model == "gcnii":
        return PipelineConfig(
            dataset,
            model,
            "Chen et al. 2020, Planetoid",
            scaled,
            model=DeepConfig(num_layers=64, dropout=0.6),
            train=DeepTrainConfig(lr=0.01, weight_decay=5e-4, hop_weight_decay=0.01, epochs=500),
        )
    if dataset in (*_PLANETOID, "chameleon-filtered", "squirrel-filtered"):
        return PipelineConfig(dataset, model, features=scaled)
    return PipelineConfig(dataset, model)
