"""Full-batch training of a network on some rows, with the best epoch by held-out rows or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnnkit.causal._task import Task


@dataclass(frozen=True)
class Budget:
    """How long and how hard a network is trained; ``patience`` None for all epochs, whatever held-out rows say."""

    epochs: int
    lr: float
    weight_decay: float
    patience: int | None


def train(
    network: nn.Module,
    forward: Callable[[], Tensor],
    task: Task,
    rows: Tensor,
    held_out: Tensor | None,
    budget: Budget,
    *,
    draws: bool,
) -> tuple[Tensor, int]:
    """Train by Adam with decoupled weight decay on the mean loss of ``rows``.

    With held-out rows the weights at the end are those of their lowest loss, which the untrained network may have too.
    ``draws`` says that the network may compute something else in training than in evaluation, such as dropout.

    Returns:
        Predictions ``[N]`` with these weights, and the epochs that made them.
    """
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=budget.lr, weight_decay=budget.weight_decay, fused=True)
    best, best_epoch, kept = float("inf"), 0, [p.detach().clone() for p in parameters]
    predictions = torch.empty(0)
    for epoch in range(budget.epochs + 1):
        network.train()
        prediction = forward()
        if held_out is not None:
            seen = evaluated(network, forward) if draws else prediction.detach()
            loss = float(task.losses(seen[held_out], held_out).mean())
            if loss < best:
                best, best_epoch, predictions = loss, epoch, seen
                torch._foreach_copy_(kept, [p.detach() for p in parameters])
            elif budget.patience is not None and epoch - best_epoch >= budget.patience:
                break
        if epoch == budget.epochs:
            break
        optimizer.zero_grad()
        task.losses(prediction[rows], rows).mean().backward()
        optimizer.step()
    if held_out is None:
        return evaluated(network, forward), budget.epochs
    if not predictions.numel():
        raise ValueError("expected a finite loss of the held-out rows: lower lr (got NaN or infinity in every epoch)")
    with torch.no_grad():
        torch._foreach_copy_(parameters, kept)
    return predictions, best_epoch


def evaluated(network: nn.Module, forward: Callable[[], Tensor]) -> Tensor:
    """Predictions without gradient, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        return forward()
