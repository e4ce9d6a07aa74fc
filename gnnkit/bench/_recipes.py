"""Recipes: the settings that the literature reports for a dataset and a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gnnkit import datasets
from gnnkit.bench._models import ModelConfig, check_fit
from gnnkit.train import TrainConfig

_PLANETOID = ("cora", "citeseer", "pubmed")


@dataclass(frozen=True)
class BenchConfig:
    """All settings of a benchmark run.

    Attributes:
        dataset: A name of `gnnkit.datasets.names`.
        model_name: A key of `MODELS`.
        recipe: Where the settings come from.
        features: ``"rows"`` divides every feature row by its sum where that exceeds 1, as Kipf and Welling do;
            ``"as_is"`` does not.
        model: The shape of the model.
        train: How it is trained.
    """

    dataset: str
    model_name: str
    recipe: str = "gnnkit defaults"
    features: Literal["as_is", "rows"] = "as_is"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.features not in ("as_is", "rows"):
            raise ValueError(f"features: expected as_is or rows (got {self.features!r})")


def recipe(dataset: str, model: str, root: str | None = None) -> BenchConfig:
    """Return the settings for a dataset and a model.

    Args:
        dataset: A name that `gnnkit.datasets.load` takes.
        model: A key of `MODELS`.
        root: Folder of the raw data, for a dataset of the user's own.

    Raises:
        ValueError: Unknown dataset or model, or the model does not fit the dataset's task.
    """
    card = datasets.card(dataset, root)
    check_fit(model, card)
    if dataset.startswith("ogbg-mol"):
        return _molecules(dataset, model)
    if dataset in _PLANETOID and model in ("gcn", "mlp"):
        return BenchConfig(
            dataset,
            model,
            recipe="Kipf and Welling 2017, Planetoid",
            features="rows",
            model=ModelConfig(hidden_channels=16),
            train=TrainConfig(decay="first"),
        )
    if dataset in _PLANETOID and model == "gat":
        pubmed = dataset == "pubmed"
        return BenchConfig(
            dataset,
            model,
            recipe="Velickovic et al. 2018, Planetoid",
            features="rows",
            model=ModelConfig(hidden_channels=8, dropout=0.6, activation="elu", out_heads=8 if pubmed else 1),
            train=TrainConfig(
                lr=0.01 if pubmed else 0.005,
                weight_decay=1e-3 if pubmed else 5e-4,
                max_epochs=1000,
                patience=100,
            ),
        )
    if dataset in _PLANETOID:
        return BenchConfig(dataset, model, features="rows")
    if model == "gat":
        return BenchConfig(dataset, model, model=ModelConfig(hidden_channels=8, activation="elu"))
    return BenchConfig(dataset, model)


def _molecules(dataset: str, model: str) -> BenchConfig:
    """As OGB's examples for its molecules do, but 64 wide in place of 300, for minutes on a CPU in place of hours.

    A GIN's inner layer is as wide as the others, not twice.
    """
    return BenchConfig(
        dataset,
        model,
        recipe="after OGB's examples/graphproppred/mol, 64 wide",
        model=ModelConfig(hidden_channels=64, num_layers=5, pooling="mean", attention_dropout=0.0),
        train=TrainConfig(lr=1e-3, weight_decay=0.0, max_epochs=100, batch_size=32, checkpoint_every=5),
    )
