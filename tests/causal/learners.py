"""Learners that are quick to fit, and what is known of simulated data."""

from __future__ import annotations

from typing import Any

from gnnkit.causal import (
    CausalData,
    GraphDRLearner,
    GraphRLearner,
    GraphSLearner,
    GraphTLearner,
    GraphXLearner,
    KnownStage,
    NetworkStage,
)

FAST = NetworkStage("sign", epochs=30, patience=10, hidden_channels=8)
LEARNERS: dict[str, Any] = {
    "r": GraphRLearner(FAST, FAST, FAST, 3, random_state=0),
    "t": GraphTLearner(FAST, random_state=0),
    "s": GraphSLearner(FAST, random_state=0),
    "x": GraphXLearner(FAST, FAST, FAST, random_state=0),
    "dr": GraphDRLearner(FAST, FAST, FAST, 3, random_state=0),
}


def known(data: CausalData) -> tuple[KnownStage, KnownStage]:
    assert data.propensity is not None
    base = data.outcome - data.treatment * data.effect
    return KnownStage(base + data.propensity * data.effect), KnownStage(data.propensity)
