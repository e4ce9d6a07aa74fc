"""What a process goes on from: its stage's weights, optimiser and historical rows."""

from __future__ import annotations

import copy
from typing import Any

import torch

from gnnkit.pipeline._stage import Stage


def state_of(stage: Stage, optimizer: torch.optim.Optimizer | None, way: int) -> dict[str, Any]:
    """Return copies of it, historical rows by ``layer.way``."""
    return {
        "model": stage.state(),
        "optimizer": copy.deepcopy(optimizer.state_dict()) if optimizer is not None else {},
        "history": {f"{hop}.{way}": history.historical.clone() for hop, history in stage.histories.items()},
    }


def load_state_of(stage: Stage, optimizer: torch.optim.Optimizer | None, way: int, state: dict[str, Any]) -> None:
    """Take it back; all of it is looked at before anything changes.

    Raises:
        ValueError: It is another stage's, another optimiser's, or of another cut.
    """
    wanted = {f"{hop}.{way}" for hop in stage.histories}
    if set(state["history"]) != wanted:
        raise ValueError(f"history: expected {sorted(wanted)} (got {sorted(state['history'])})")
    histories = [(history, state["history"][f"{hop}.{way}"]) for hop, history in stage.histories.items()]
    for history, rows in histories:
        history.check(rows)
    stage.check(state["model"])
    if optimizer is not None:
        _check_optimizer(optimizer.state_dict()["param_groups"], state["optimizer"].get("param_groups", []))
        optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
    stage.load(state["model"])
    for history, rows in histories:
        history.restore(rows)


def _check_optimizer(groups: list[dict[str, Any]], given: list[dict[str, Any]]) -> None:
    """Require groups of the same settings and sizes: Adam has others than SGD."""
    expected, got = ([(sorted(group), len(group["params"])) for group in each] for each in (groups, given))
    if expected != got:
        raise ValueError(f"optimizer: expected the state of this optimiser (got groups {got} in place of {expected})")
