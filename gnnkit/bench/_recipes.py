"""Recipes: the settings that the literature reports for a dataset and a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gnnkit import datasets
from gnnkit.bench._inputs import FeaturesConfig, LoaderConfig
from gnnkit.bench._link_models import LinkConfig
from gnnkit.bench._link_recipes import link_recipe
from gnnkit.bench._models import ModelConfig, check_fit
from gnnkit.train import TrainConfig


@dataclass(frozen=True)
class BenchConfig:
    """All settings of a benchmark run.

    Attributes:
        dataset: A name of `gnnkit.datasets.names`.
        model_name: A key of `MODELS`.
        recipe: Where the settings come from.
        accelerate: Whether the layers run on gnnkit's kernels (`gnnkit.accelerate`) instead of PyG's own.
        features: What becomes of the features, and where they lie.
        loader: What a training step of a task on nodes sees.
        model: The shape of the model.
        link: The shape of a model of link prediction, in place of ``model``.
        train: How it is trained.
    """

    dataset: str
    model_name: str
    recipe: str = "gnnkit defaults"
    accelerate: bool = False
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


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
    if card.task == "link_prediction":
        found = link_recipe(dataset, model)
        return BenchConfig(dataset, model, found.recipe, link=found.link, train=found.train)
    for row in _TABLE:
        named = any(fnmatchcase(dataset, pattern) for pattern in row.datasets)
        if named and card.task.startswith(row.task) and (not row.models or model in row.models):
            scaled = FeaturesConfig(scale="rows" if row.scaled else "as_is")
            return BenchConfig(dataset, model, row.recipe, row.accelerate, scaled, model=row.model, train=row.train)
    return BenchConfig(dataset, model)


@dataclass(frozen=True)
class _Row:
    """Settings for some datasets and models.

    Attributes:
        datasets: Patterns of names.
        models: Names; empty for any.
        recipe: Where the settings come from.
        scaled: Whether feature rows are divided by their sums.
        task: What the task's name begins with.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...] = ()
    recipe: str = "gnnkit defaults"
    scaled: bool = False
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    accelerate: bool = False
    task: str = ""


_PLANETOID = ("cora", "citeseer", "pubmed")
_SHCHUR = ("computers", "photo", "cs", "physics")
_PLATONOV = ("roman-empire", "amazon-ratings", "minesweeper", "tolokers", "questions")
_TU = ("mutag", "proteins", "enzymes", "nci1", "imdb-binary")
_ATTENTION = ("gat", "gatv2")

# the first row that fits is taken
_TABLE = (
    _Row(
        _PLANETOID,
        ("gcn", "mlp"),
        "Kipf and Welling 2017, Planetoid",
        True,
        ModelConfig(hidden_channels=16),
        TrainConfig(decay="first"),
    ),
    _Row(
        ("pubmed",),
        ("gat",),
        "Velickovic et al. 2018, Planetoid",
        True,
        ModelConfig(hidden_channels=8, dropout=0.6, activation="elu", out_heads=8),
        TrainConfig(lr=0.01, weight_decay=1e-3, max_epochs=1000, patience=100),
    ),
    _Row(
        ("cora", "citeseer"),
        ("gat",),
        "Velickovic et al. 2018, Planetoid",
        True,
        ModelConfig(hidden_channels=8, dropout=0.6, activation="elu"),
        TrainConfig(lr=0.005, max_epochs=1000, patience=100),
    ),
    _Row(_PLANETOID, scaled=True),
    _Row(
        _SHCHUR,
        ("gcn", "sage", "mlp"),
        "after Shchur et al. 2018",
        model=ModelConfig(dropout=0.8),
        train=TrainConfig(weight_decay=1e-3, max_epochs=300, patience=50, monitor="loss"),
        accelerate=True,
    ),
    _Row(
        _PLATONOV,
        recipe="after Platonov et al. 2023, narrower and with a larger step",
        model=ModelConfig(num_layers=5, dropout=0.2, activation="elu", block="residual", attention_dropout=0.0),
        train=TrainConfig(lr=3e-3, weight_decay=0.0, max_epochs=300),
        accelerate=True,
    ),
    _Row(("chameleon-filtered", "squirrel-filtered"), ("mlp", "gcn", "sage", "gin"), scaled=True),
    _Row(
        _TU,
        recipe="after Xu et al. 2019, with an inner validation split",
        model=ModelConfig(hidden_channels=32, num_layers=4, edge_features=False, attention_dropout=0.0),
        train=TrainConfig(lr=0.01, weight_decay=0.0, max_epochs=100, patience=50, monitor="loss"),
    ),
    _Row(
        # OGB is 300 wide, 600 inside a GIN's layer, for hours on a CPU in place of minutes
        ("ogbg-mol*",),
        recipe="after OGB's examples/graphproppred/mol, 64 wide",
        model=ModelConfig(num_layers=5, pooling="mean", attention_dropout=0.0),
        train=TrainConfig(lr=1e-3, weight_decay=0.0, max_epochs=100, batch_size=32, checkpoint_every=5),
    ),
    _Row(
        ("zinc",),
        recipe="after Dwivedi et al. 2023",
        model=ModelConfig(num_layers=4, dropout=0.0, attention_dropout=0.0),
        train=TrainConfig(lr=1e-3, weight_decay=0.0, max_epochs=100, batch_size=128, schedule="cosine"),
    ),
    _Row(
        ("*",),
        model=ModelConfig(num_layers=4, attention_dropout=0.0),
        train=TrainConfig(lr=1e-3, weight_decay=0.0, max_epochs=100),
        task="graph",
    ),
    _Row(("*",), _ATTENTION, model=ModelConfig(hidden_channels=8, activation="elu")),
)
