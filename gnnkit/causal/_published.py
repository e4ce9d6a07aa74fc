"""The stages of the Graph R-Learner as its authors train them."""

from __future__ import annotations

from typing import Any

from gnnkit.causal._stages import NetworkStage


def published_stage(name: str, epochs: int) -> Any:
    """A stage as the paper's code trains it; ``"linear-no-intercept"`` is not trained."""
    if name == "linear-no-intercept":
        return name
    return NetworkStage(name, epochs=epochs, lr=1e-3, weight_decay=0.0, patience=None, start=None)
