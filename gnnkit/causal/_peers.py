"""EconML's estimators on features and on graph features, to be compared with: an optional package."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from gnnkit._optional import require
from gnnkit.causal._data import CausalData
from gnnkit.causal._nodes import Nodes

# name -> estimator and hops of the features
PEERS = {
    "econml forest": ("forest", 0),
    "econml linear": ("linear", 0),
    "econml nonparametric": ("nonparametric", 0),
    "econml forest, graph features": ("forest", 2),
    "econml linear, graph features": ("linear", 2),
    "econml nonparametric, graph features": ("nonparametric", 2),
}


def peer_effect(name: str, data: CausalData, seed: int) -> Tensor:
    """``[N]`` effects by one of `PEERS`, with five folds and gradient boosting for its nuisances."""
    dml: Any = require("econml.dml", "econml")
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestRegressor

    kind, hops = PEERS[name]
    features = Nodes(data.x, data.edge_index).hops(hops).double().numpy()
    settings = {
        "model_y": HistGradientBoostingRegressor(early_stopping=True, random_state=seed),
        "model_t": HistGradientBoostingClassifier(early_stopping=True, random_state=seed),
        "discrete_treatment": True,
        "cv": 5,
        "random_state": seed,
    }
    if kind == "forest":
        estimator = dml.CausalForestDML(n_estimators=500, **settings)
    elif kind == "linear":
        estimator = dml.LinearDML(**settings)
    else:
        final = RandomForestRegressor(200, min_samples_leaf=10, random_state=seed)
        estimator = dml.NonParamDML(model_final=final, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies' coming changes
        estimator.fit(data.outcome.numpy(), data.treatment.long().numpy(), X=features)
        effect = estimator.effect(features)
    return torch.as_tensor(effect, dtype=data.effect.dtype).reshape(-1)
