"""The code of the Graph R-Learner's authors, run beside gnnkit's paper mode, one seed at a time.

It is read from the folder ``GNNKIT_GRAPH_R_LEARNER``, a clone of S-Sairam/final-stage-bottleneck.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

from _authors import authors_scripts

CELLS = ("mlp + linear-no-intercept", "gcn + linear-no-intercept", "mlp + gcn", "gcn + gcn", "s-learner")


@cache
def _authors() -> list[ModuleType]:
    """Import their modules of data and estimators."""
    return authors_scripts("GNNKIT_GRAPH_R_LEARNER", "S-Sairam/final-stage-bottleneck", ["src.data", "src.engine"])


def authors_seed(seed: int, graph: str = "ba", effect: str = "simple_h") -> dict[str, float]:
    """Errors of the five published methods, in the order and with the settings of their script."""
    data, engine = _authors()
    drawn: Any = data.simulate_data(seed=seed, n=1000, d=10, graph_type=graph, noise_level=0.5, cate_type=effect)
    x, t, y, edge_index, tau = drawn
    model = {"hidden_dim": 32, "num_layers": 2}
    training = {"lr": 1e-3, "nuisance_epochs": 150, "cate_epochs": 200}
    residuals = []
    for use_gnn in (False, True):
        edges = edge_index if use_gnn else None
        m, e = engine.get_nuisance_predictions(
            x, t, y, edges, use_gnn=use_gnn, model_kwargs=model, training_kwargs=training
        )
        residuals.append((y.squeeze() - m, t.squeeze() - e))
    found = [engine.estimate_cate_linear(*each, x) for each in residuals]
    options = {"model_kwargs": model, "training_kwargs": training}
    found += [engine.estimate_cate_gnn(*each, x, edge_index, **options) for each in residuals]
    found.append(engine.estimate_cate_tlearner_gnn(x, t, y, edge_index, **options))
    return {cell: float((each - tau).square().mean()) for cell, each in zip(CELLS, found, strict=True)}
