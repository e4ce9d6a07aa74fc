"""Full-batch training of networks on some rows each, with the best epoch by held-out rows or without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnkit.causal._networks import GraphNetwork
from gnnkit.causal._nodes import Nodes
from gnnkit.causal._stack import KINDS, Stack
from gnnkit.causal._task import Task

_STACK_FLOATS = 2**24  # of one hidden layer of all networks together, 64 MiB


@dataclass(frozen=True)
class Budget:
    """How long and how hard a network is trained; ``patience`` None for all epochs, whatever held-out rows say."""

    epochs: int
    lr: float
    weight_decay: float
    patience: int | None


@dataclass(eq=False)
class Fit:
    """A network to be trained; predictions are ``base + spread * network``, what it adds to a simpler model.

    Attributes:
        network: Gets the weights of the best epoch.
        nodes: With features as the network reads them.
        task: Its loss.
        rows: Nodes whose loss is lowered.
        held_out: Nodes whose loss chooses the epoch, None for the last one.
        budget: Epochs and steps.
        base: ``[N]``, see above.
        spread: See above; losses are divided by its square, so that steps and decay mean the same for all targets.
        predictions: ``[N]`` with the final weights.
        epochs: Steps that made these.
    """

    network: nn.Module
    nodes: Nodes
    task: Task
    rows: Tensor
    held_out: Tensor | None
    budget: Budget
    base: Tensor
    spread: float
    predictions: Tensor = field(default_factory=lambda: torch.empty(0))
    epochs: int = 0

    @property
    def unit(self) -> float:
        """What losses are divided by."""
        return 1.0 if self.task.kind == "classification" else self.spread**2


def train(fits: Sequence[Fit], forward: Callable[[nn.Module, Nodes], Tensor]) -> None:
    """Train by Adam with decoupled weight decay, networks of one shape on the same nodes side by side.

    With held-out rows the weights at the end are those of their lowest loss, which the untrained network may have too.

    Args:
        fits: Their predictions, epochs and networks are written.
        forward: ``[N]`` of a network that is none of ours.
    """
    groups: dict[object, list[Fit]] = {}
    for fit in fits:
        network = fit.network
        alike: object = id(fit)
        if isinstance(network, GraphNetwork) and network.kind in KINDS:
            alike = (network.kind, network.sizes, fit.budget, id(fit.nodes), fit.held_out is None)
        groups.setdefault(alike, []).append(fit)
    for group in groups.values():
        if not isinstance(alike := group[0].network, GraphNetwork) or alike.kind not in KINDS:
            _train_alone(group[0], forward)
            continue
        most = max(_STACK_FLOATS // (len(group[0].nodes) * alike.sizes[1]), 1)
        for first in range(0, len(group), most):
            _train_together(group[first : first + most])


def _train_together(fits: Sequence[Fit]) -> None:
    nodes, budget, number = fits[0].nodes, fits[0].budget, len(fits)
    stack = Stack([fit.network for fit in fits], nodes)  # type: ignore[misc]
    weights = list(stack.weights.values())
    optimizer = torch.optim.AdamW(weights, lr=budget.lr, weight_decay=budget.weight_decay, fused=True)
    base = torch.stack([fit.base for fit in fits])  # [K, N]
    spread = nodes.x.new_tensor([fit.spread for fit in fits]).unsqueeze(1)
    losses = _losses(fits)  # [K, N] -> [K, N]
    seen = torch.stack([_share(fit, fit.rows) for fit in fits])  # [K, N], its sum over a row is 1
    stop = None if fits[0].held_out is None else torch.stack([_share(fit, fit.held_out) for fit in fits])
    best = torch.full((number,), float("inf"), device=nodes.x.device)
    best_epoch = torch.zeros(number, dtype=torch.int64, device=nodes.x.device)
    kept, predictions = [weight.detach().clone() for weight in weights], torch.zeros_like(seen)
    for epoch in range(budget.epochs + 1):
        prediction = stack.forward() * spread + base
        loss = losses(prediction)
        if stop is not None:
            with torch.no_grad():
                now = (loss * stop).sum(1)
                better = now < best
                if budget.patience is not None:
                    better &= epoch - best_epoch <= budget.patience
                if bool(better.any()):
                    best, best_epoch = torch.where(better, now, best), torch.where(better, epoch, best_epoch)
                    predictions = torch.where(better.unsqueeze(1), prediction, predictions)
                    for weight, copy in zip(weights, kept, strict=True):
                        copy[better] = weight[better]
                if budget.patience is not None and bool((epoch - best_epoch >= budget.patience).all()):
                    break
        if epoch == budget.epochs:
            break
        optimizer.zero_grad()
        (loss * seen).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if stop is None:
        kept, best_epoch, predictions = weights, best_epoch + budget.epochs, prediction.detach()
        best = (loss.detach() * seen).sum(1)
    _require_finite(best)
    stack.write_back(dict(zip(stack.weights, kept, strict=True)))
    for fit, own, epochs in zip(fits, predictions, best_epoch.tolist(), strict=True):
        fit.predictions, fit.epochs = own.clone(), epochs


def _losses(fits: Sequence[Fit]) -> Callable[[Tensor], Tensor]:
    """``[K, N] -> [K, N]``: losses of predictions, in units of each fit."""
    target = torch.stack([fit.task.target for fit in fits])
    classes = [number for number, fit in enumerate(fits) if fit.task.kind == "classification"]
    doses = None
    if any(fit.task.dose is not None for fit in fits):
        doses = torch.stack([torch.ones_like(f.task.target) if f.task.dose is None else f.task.dose for f in fits])

    def losses(prediction: Tensor) -> Tensor:
        if len(classes) == len(fits):
            return F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        squares = (target - (prediction if doses is None else doses * prediction)).square()
        if not classes:
            return squares
        logistic = F.binary_cross_entropy_with_logits(prediction[classes], target[classes], reduction="none")
        return squares.index_copy(0, torch.tensor(classes, device=squares.device), logistic)

    return losses


def _share(fit: Fit, rows: Tensor | None) -> Tensor:
    """``[N]``: by what each node's loss counts in the mean over the rows, in the fit's unit."""
    assert rows is not None
    share = torch.zeros_like(fit.task.target)
    share[rows] = 1 / (len(rows) * fit.unit)
    return share if fit.task.weight is None else share * fit.task.weight


def _train_alone(fit: Fit, forward: Callable[[nn.Module, Nodes], Tensor]) -> None:
    network, task, budget, held_out = fit.network, fit.task, fit.budget, fit.held_out
    optimizer = torch.optim.AdamW(network.parameters(), lr=budget.lr, weight_decay=budget.weight_decay, fused=True)
    best, kept = float("inf"), copy.deepcopy(network.state_dict())  # with running statistics, if there are any

    def predict() -> Tensor:
        return fit.base + fit.spread * forward(network, fit.nodes)

    for epoch in range(budget.epochs + 1):
        if held_out is not None:
            seen = evaluated(network, predict)  # dropout, if there is any, is off
            loss = float(task.losses(seen[held_out], held_out).mean())
            if loss < best:
                best, fit.epochs, fit.predictions = loss, epoch, seen
                kept = copy.deepcopy(network.state_dict())
            elif budget.patience is not None and epoch - fit.epochs >= budget.patience:
                break
        if epoch == budget.epochs:
            break
        network.train()
        optimizer.zero_grad()
        (task.losses(predict()[fit.rows], fit.rows).mean() / fit.unit).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if held_out is None:
        fit.predictions, fit.epochs = evaluated(network, predict), budget.epochs
        best = float(task.losses(fit.predictions[fit.rows], fit.rows).mean())
    else:
        network.load_state_dict(kept)
    _require_finite(torch.tensor(best))


def _require_finite(losses: Tensor) -> None:
    if not bool(losses.isfinite().all()):
        raise FloatingPointError("expected a finite loss: lower lr or epochs (got NaN or infinity)")


def evaluated(network: nn.Module, forward: Callable[[], Tensor]) -> Tensor:
    """Predictions without gradient, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        return forward()
