"""Bad input and settings are named with their remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learners import FAST, LEARNERS
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

from gnnkit.causal import (
    CausalData,
    ConstantStage,
    GraphRLearner,
    GraphTLearner,
    KnownStage,
    LinearStage,
    simulate,
)


def bad(data: CausalData, **changes: Any) -> list[Any]:
    fields = {"x": data.x, "t": data.treatment, "y": data.outcome, "edge_index": data.edge_index} | changes
    return [fields[name] for name in ("x", "t", "y", "edge_index")]


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.full((300, 10), torch.nan)}, r"X: expected finite numbers, with gaps filled in before \(got NaN"),
        ({"x": torch.zeros(300)}, r"X: expected \[N, d\]"),
        ({"x": None}, "X: expected X"),
        ({"x": torch.ones(300, 10) + 0j}, "X: expected a dense tensor of real numbers"),
        ({"edge_index": torch.tensor([[-1], [0]])}, r"edge_index: expected ids in \[0, 300\) \(got -1\)"),
        ({"x": np.array([["a"] * 10] * 300)}, "X: expected numbers"),
        ({"t": torch.ones(300)}, "T: expected treatments that differ"),
        ({"t": torch.arange(300) % 3}, "T: expected 0 and 1; for a dose set treatment='continuous'"),
        ({"t": torch.ones(299)}, r"T: expected \[300\], one a node of X"),
        ({"t": None}, r"T: expected \[N\] numbers"),
        ({"y": torch.full((300,), torch.inf)}, "Y: expected finite numbers"),
        ({"edge_index": None}, "edge_index: expected X"),
        ({"edge_index": torch.tensor([[0, 300], [300, 0]])}, "X has 300 nodes; expected the graph of the same nodes"),
        ({"edge_index": torch.zeros(3, 4, dtype=torch.int64)}, r"edge_index: expected \[2, E\] whole numbers"),
        ({"edge_index": torch.zeros(2, 4)}, r"edge_index: expected \[2, E\] whole numbers"),
    ],
)
def test_bad_input_is_named_with_its_remedy(name: str, changes: dict[str, Any], message: str, data: CausalData) -> None:
    with pytest.raises(ValueError, match=message):
        clone(LEARNERS[name]).fit(*bad(data, **changes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outcome": "gin"}, "outcome: expected one of gcn"),
        ({"outcome": "linear-no-intercept"}, "outcome: expected one of gcn"),
        ({"effect": 3}, "effect: expected one of gcn"),
        ({"effect": Ridge}, "effect: expected one of gcn"),
        ({"n_folds": 1}, "n_folds: expected 2 to"),
        ({"n_folds": 200}, "n_folds: expected 2 to .*, the number of nodes of the rarer treatment"),
        ({"n_folds": None}, "n_folds: expected a whole number >= 2"),
        ({"n_folds": [(np.arange(10), np.arange(10, 300))]}, "n_folds: expected every node to be held out once"),
        ({"treatment": "dose"}, "treatment: expected binary or continuous"),
        ({"clip": 0.5}, r"clip: expected a number in \[0, 0.5\)"),
        ({"trim": -0.1}, r"trim: expected a number in \[0, 0.5\)"),
        ({"exposure": "all"}, "exposure: expected one of share, any, count or None"),
        ({"exposure": "any", "treatment": "continuous"}, "exposure: expected treatments in {0, 1}"),
        ({"trim": 0.1, "treatment": "continuous"}, "trim: expected 0 for doses"),
        ({"clip": True}, r"clip: expected a number in \[0, 0.5\)"),
        ({"outcome": LogisticRegression()}, "estimator: expected a regressor for targets other than 0 and 1"),
        ({"effect": make_pipeline(KNeighborsRegressor())}, r"fit takes sample_weight, for the R-loss \(got Pipeline\)"),
        ({"n_bootstrap": 1}, "n_bootstrap: expected 0 or a whole number >= 2"),
        ({"outcome": LinearStage(hops=-1)}, "hops: expected a whole number from 0 to 10"),
        ({"outcome": LinearStage(ridge=-1.0)}, "ridge: expected a number >= 0 or None"),
        ({"effect": LinearStage(intercept=False)}, "ridge: expected a number where intercept is False"),
        ({"propensity": KnownStage(2.0)}, "values: expected probabilities"),
        ({"outcome": KnownStage(torch.zeros(3))}, "values: expected a finite number or"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str, data: CausalData) -> None:
    learner = GraphRLearner(**({"outcome": "linear", "propensity": "linear", "effect": "linear"} | settings))
    with pytest.raises(ValueError, match=message):
        learner.fit(data)


def test_one_treatment_alone_in_a_fit_is_refused() -> None:
    data = simulate("ba", seed=0, num_nodes=20)
    treatment = torch.zeros(20)
    treatment[:2] = 1
    folds = [(np.arange(2, 20), np.arange(2)), (np.arange(2), np.arange(2, 20))]
    with pytest.raises(ValueError, match="n_folds: expected two nodes of each treatment in every fit"):
        GraphRLearner("constant", "constant", "constant", folds).fit(data.x, treatment, data.outcome, data.edge_index)


def test_fewer_nodes_of_a_treatment_than_folds_are_refused() -> None:
    data = simulate("ba", seed=0, num_nodes=20)
    with pytest.raises(ValueError, match=r"n_folds: expected 2 to .*, the number of nodes of the rarer"):
        GraphRLearner("linear", "linear", ConstantStage(), 15).fit(data)


def test_one_treated_node_and_no_edges_are_enough_for_a_t_learner(data: CausalData) -> None:
    treatment = torch.zeros(300)
    treatment[7] = 1
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    effect = GraphTLearner(FAST, random_state=0).fit(data.x, treatment, data.outcome, nothing).effect(data.x, nothing)
    assert bool(effect.isfinite().all())


def test_both_a_data_object_and_its_parts_are_refused(data: CausalData) -> None:
    with pytest.raises(ValueError, match="expected a CausalData alone"):
        GraphRLearner().fit(data, data.treatment)
    learner = GraphRLearner("linear", "linear", "linear").fit(data)
    with pytest.raises(ValueError, match="expected a CausalData alone"):
        learner.effect(data, data.edge_index)
    for target, level, message in (("all", 0.9, "target: expected"), ("sample", 1.0, "level: expected")):
        with pytest.raises(ValueError, match=message):
            learner.average_effect(level, target)


def test_one_treated_node_is_too_few_for_folds(data: CausalData) -> None:
    treatment = torch.zeros(300)
    treatment[7] = 1
    with pytest.raises(ValueError, match=r"T: expected two nodes of each treatment for folds \(got 1 of one\)"):
        GraphRLearner().fit(data.x, treatment, data.outcome, data.edge_index)


def test_numbers_that_32_bits_cannot_tell_apart_are_warned_of(data: CausalData) -> None:
    learner = GraphRLearner("linear", "linear", "linear", 2, random_state=0)
    with pytest.warns(UserWarning, match=r"Y: expected numbers whose deviation .*subtract their mean first"):
        learner.fit(data.x, data.treatment, data.outcome.double() + 1e6, data.edge_index)
    x = data.x.double().numpy().copy()
    x[:, 3] = 1.6e9 + 100 * x[:, 3]
    with pytest.warns(UserWarning, match=r"X: expected numbers whose .* of column 3\)"):
        learner.fit(x, data.treatment, data.outcome, data.edge_index)
    x[:, 3] = 1.6e9
    learner.fit(x, data.treatment, data.outcome, data.edge_index)  # a constant has nothing to lose


def test_weights_of_edges_are_said_to_be_left_aside(data: CausalData) -> None:
    weighted = data.to_pyg()
    weighted.edge_weight = torch.rand(weighted.num_edges)
    learner = GraphRLearner("linear", "linear", "linear", 2, random_state=0)
    with pytest.warns(UserWarning, match="edge_weight: edges count alike here"):
        learner.fit(weighted)
