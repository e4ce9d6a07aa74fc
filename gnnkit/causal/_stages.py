"""Stages: what can be fitted to an outcome, a treatment or an effect, and how a stage is asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from gnnkit.causal._linear_stages import ConstantStage, EstimatorStage, FittedLinear, LinearStage
from gnnkit.causal._networks import KINDS, SIGN_HOPS, GraphNetwork
from gnnkit.causal._nodes import Nodes
from gnnkit.causal._task import Task
from gnnkit.causal._training import Budget, Fit, evaluated, train


class Fitted(Protocol):
    """A fitted stage."""

    predictions: Tensor
    """``[N]`` of the nodes it was fitted on; logits of a classification."""

    def predict(self, nodes: Nodes) -> Tensor:
        """Predictions ``[N]`` of any nodes."""


@runtime_checkable
class Stage(Protocol):
    """What outcome, treatment and effect are modelled by."""

    def fit_task(self, task: Task, nodes: Nodes, rows: Tensor) -> Fitted:
        """Fit on ``rows``, of which some may end the training."""


class NetworkStage(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A graph network, trained on the whole graph with the loss of some nodes.

    The prediction is that of a simpler model and what the network adds to it, in units of what that leaves; the network
    starts at 0. With ``start="linear"`` the model is ridge regression (`LinearStage`) on the features that the network
    sees: an effect is linear unless held-out nodes bear out more, and with few nodes it is seldom worse. With
    ``start="constant"`` an effect starts as the same for all nodes, and with None the network stands alone, on raw
    features, and starts as PyG makes it. A module of your own starts as it is made, beside a constant.

    Args:
        network: ``"gcn"``, ``"sage"``, ``"gat"``, ``"sign"`` (an MLP on features propagated 0, 1 and 2 times),
            ``"mlp"`` (which does not see the graph), a `torch.nn.Module` with ``forward(x, edge_index) -> [N] or
            [N, 1]``, copied for every fit, or a function from the number of features to one.
        hidden_channels: Width.
        num_layers: Layers; an MLP has this many hidden ones.
        epochs: At most this many, each a step on the whole graph.
        lr: Learning rate of Adam.
        weight_decay: Decoupled, as AdamW's: weights shrink by ``lr * weight_decay`` a step.
        patience: Epochs without a lower held-out loss until training ends; None for all epochs and no rows held out.
        validation: Share of the rows that is held out.
        start: ``"linear"``, ``"constant"`` or None, see above; with the former two, features are standardised.
    """

    def __init__(
        self,
        network: str | nn.Module | Callable[[int], nn.Module] = "sign",
        *,
        hidden_channels: int = 32,
        num_layers: int = 2,
        epochs: int = 500,
        lr: float = 0.003,
        weight_decay: float = 1.0,
        patience: int | None = 50,
        validation: float = 0.2,
        start: str | None = "linear",
    ) -> None:
        self.network = network
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation = validation
        self.start = start

    def fit_task(self, task: Task, nodes: Nodes, rows: Tensor) -> FittedNetwork:
        """See `Stage`."""
        fit, base = self.prepared(task, nodes, rows)
        train([fit], _output)
        return FittedNetwork.of(fit, base, nodes)

    def prepared(self, task: Task, nodes: Nodes, rows: Tensor) -> tuple[Fit, FittedLinear | None]:
        """A fit that has its network and rows and is still to be trained, and what it starts from."""
        self._check()
        held_out = None
        if self.patience is not None and len(rows) > 1:
            order = rows[torch.randperm(len(rows)).to(rows.device)]
            number = min(max(round(self.validation * len(rows)), 1), len(rows) - 1)
            held_out, rows = order[:number], order[number:]
        network = self._made(nodes.x.shape[1]).to(nodes.x.device)
        budget = Budget(self.epochs, self.lr, self.weight_decay, self.patience)
        if self.start is None:
            return Fit(network, nodes, task, rows, held_out, budget, torch.zeros_like(task.target), 1.0), None
        if isinstance(network, GraphNetwork):
            network.start_at_zero()
        simple: ConstantStage | LinearStage = ConstantStage()
        if self.start == "linear" and isinstance(self.network, str):
            simple = LinearStage(hops=0 if self.network == "mlp" else SIGN_HOPS)
        base = simple.fit_task(task, nodes, rows)
        spread = task.spread(base.predictions, rows)
        return Fit(network, nodes.standardised, task, rows, held_out, budget, base.predictions, spread), base

    def _made(self, in_channels: int) -> nn.Module:
        if isinstance(self.network, str):
            return GraphNetwork(self.network, in_channels, self.hidden_channels, self.num_layers)
        made = copy.deepcopy(self.network) if isinstance(self.network, nn.Module) else self.network(in_channels)
        if not isinstance(made, nn.Module):
            raise ValueError(f"network: expected a function that makes a torch.nn.Module (got {type(made).__name__})")
        return made

    def _check(self) -> None:
        if isinstance(self.network, str) and self.network not in KINDS:
            raise ValueError(f"network: expected one of {', '.join(KINDS)} or a torch.nn.Module (got {self.network!r})")
        for name, least in (("hidden_channels", 1), ("num_layers", 1), ("epochs", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: expected a whole number >= {least} (got {value!r})")
        if not self.lr > 0 or not self.weight_decay >= 0 or not 0 < self.validation < 1:
            got = f"{self.lr!r}, {self.weight_decay!r}, {self.validation!r}"
            raise ValueError(f"lr, weight_decay, validation: expected > 0, >= 0 and within (0, 1) (got {got})")
        if self.start not in ("linear", "constant", None):
            raise ValueError(f"start: expected linear, constant or None (got {self.start!r})")
        if self.patience is not None and not (isinstance(self.patience, int) and self.patience > 0):
            raise ValueError(f"patience: expected a whole number > 0 or None (got {self.patience!r})")


class FittedNetwork:
    """A trained network with the model that it adds to and what features and predictions are scaled by."""

    def __init__(
        self, network: nn.Module, base: FittedLinear | None, location: tuple[Tensor, Tensor] | None, spread: float
    ) -> None:
        self.network, self.base, self.location, self.spread = network, base, location, spread
        self.predictions, self.epochs = torch.empty(0), 0

    @classmethod
    def of(cls, fit: Fit, base: FittedLinear | None, nodes: Nodes) -> FittedNetwork:
        """What a fit has become."""
        fitted = cls(fit.network, base, nodes.location if base is not None else None, fit.spread)
        fitted.predictions, fitted.epochs = fit.predictions, fit.epochs
        return fitted

    def predict(self, nodes: Nodes) -> Tensor:
        """See `Fitted`."""
        if self.base is None or self.location is None:
            return evaluated(self.network, lambda: _output(self.network, nodes))
        scaled = nodes.with_features((nodes.x - self.location[0]) / self.location[1])
        return self.base.predict(nodes) + self.spread * evaluated(self.network, lambda: _output(self.network, scaled))

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which it can be made again."""
        scaled = {"location": self.location, "spread": self.spread, "epochs": self.epochs}
        return {"network": self.network.state_dict(), **scaled}


def _output(network: nn.Module, nodes: Nodes) -> Tensor:
    """``[N]``: what a network of ours or of the user's computes."""
    out: Tensor = network(nodes.x, nodes.edge_index)
    if out.shape not in ((len(nodes),), (len(nodes), 1)):
        expected = f"[{len(nodes)}] or [{len(nodes)}, 1], one number a node"
        raise ValueError(f"network: expected an output of shape {expected} (got {list(out.shape)})")
    return out.reshape(len(nodes))


class Asked(NamedTuple):
    """A stage and what it is to be fitted to."""

    stage: Stage
    task: Task
    rows: Tensor


def fit_all(asked: Sequence[Asked], nodes: Nodes) -> list[Fitted]:
    """Fit stages on the same nodes, their networks side by side; random numbers are drawn in the order given."""
    fitted: dict[int, Fitted] = {}
    fits: dict[int, tuple[Fit, FittedLinear | None]] = {}
    for place, (stage, task, rows) in enumerate(asked):
        if isinstance(stage, NetworkStage):
            fits[place] = stage.prepared(task, nodes, rows)
        else:
            fitted[place] = stage.fit_task(task, nodes, rows)
    train([fit for fit, _ in fits.values()], _output)
    fitted |= {place: FittedNetwork.of(fit, base, nodes) for place, (fit, base) in fits.items()}
    return [fitted[place] for place in range(len(asked))]


NAMES = (*KINDS, "linear", "linear-graph", "constant")


def make_stage(name: str, asked: object, *, r_loss: bool = False) -> Stage:
    """The stage that an argument ``name`` of a learner asks for; ``r_loss`` where it is fitted by that loss."""
    if isinstance(asked, str):
        if asked in KINDS:
            return NetworkStage(asked)
        if asked == "linear-no-intercept" and r_loss:
            return LinearStage(ridge=0.1, intercept=False)
        if asked in ("linear", "linear-graph"):
            return LinearStage(hops=2 if asked == "linear-graph" else 0)
        if asked == "constant":
            return ConstantStage()
    elif isinstance(asked, Stage) and not isinstance(asked, type):
        return asked
    elif isinstance(asked, nn.Module) or (
        callable(asked) and not hasattr(asked, "fit") and not hasattr(asked, "fit_task")
    ):
        return NetworkStage(asked)
    elif not isinstance(asked, type) and hasattr(asked, "fit") and hasattr(asked, "predict"):
        return EstimatorStage(asked)
    names = (*NAMES, *["linear-no-intercept"] * r_loss)
    kinds = f"one of {', '.join(names)}, a stage, a torch.nn.Module or a scikit-learn estimator"
    raise ValueError(f"{name}: expected {kinds} (got {asked!r})")
