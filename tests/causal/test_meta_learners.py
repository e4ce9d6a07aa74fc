"""T, S, X and DR learners against their formulas, and what effects are good for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, ttest_rel, wilcoxon
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from gnnkit.causal import (
    CausalData,
    GraphDRLearner,
    GraphRLearner,
    GraphSLearner,
    GraphTLearner,
    GraphXLearner,
    KnownStage,
    LinearStage,
    compare,
    simulate,
)
from gnnkit.causal._paired import holm

RIDGE = LinearStage(ridge=1e-6)


@pytest.fixture(scope="module")
def data() -> CausalData:
    return simulate("ba", seed=0, num_nodes=400, share=0.0)


def least_squares(columns: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    design = np.hstack([np.ones((len(columns), 1)), columns.double().numpy()])
    return np.linalg.lstsq(design, target.double().numpy(), rcond=None)[0]


def test_the_t_learner_is_the_difference_of_two_regressions(data: CausalData) -> None:
    arms = [least_squares(data.x[data.treatment == arm], data.outcome[data.treatment == arm]) for arm in (0, 1)]
    design = np.hstack([np.ones((400, 1)), data.x.double().numpy()])
    effect = GraphTLearner(RIDGE).fit(data).effect(data.x.numpy(), data.edge_index.numpy())
    assert_close(effect.astype(float), design @ (arms[1] - arms[0]), atol=1e-4, rtol=1e-4)


def test_a_linear_s_learner_has_one_effect_the_coefficient_of_the_treatment(data: CausalData) -> None:
    columns = torch.cat([data.x, data.treatment.unsqueeze(1)], 1)
    coefficient = least_squares(columns, data.outcome)[-1]
    effect = GraphSLearner(RIDGE).fit(data).effect(data)
    assert_close(effect, torch.full((400,), float(coefficient)), atol=1e-4, rtol=1e-4)


def test_the_x_learner_weighs_two_effects_by_the_propensity(data: CausalData) -> None:
    x, design = data.x, np.hstack([np.ones((400, 1)), data.x.double().numpy()])
    treated = data.treatment == 1
    mu0, mu1 = (torch.from_numpy(design @ least_squares(x[arm], data.outcome[arm])) for arm in (~treated, treated))
    tau1 = design @ least_squares(x[treated], (data.outcome - mu0)[treated])
    tau0 = design @ least_squares(x[~treated], (mu1 - data.outcome)[~treated])
    expected = 0.3 * tau0 + 0.7 * tau1
    effect = GraphXLearner(RIDGE, KnownStage(0.3), RIDGE).fit(data).effect(data)
    assert_close(effect.double().numpy(), expected, atol=1e-4, rtol=1e-4)


def test_the_dr_learner_regresses_the_doubly_robust_score(data: CausalData) -> None:
    folds = [(np.arange(200), np.arange(200, 400)), (np.arange(200, 400), np.arange(200))]
    learner = GraphDRLearner(RIDGE, KnownStage(0.4), RIDGE, folds).fit(data)
    design = np.hstack([np.ones((400, 1)), data.x.double().numpy()])
    t, y = data.treatment.double().numpy(), data.outcome.double().numpy()
    score = np.empty(400)
    for fit, out in folds:
        mu = [design @ least_squares(data.x[fit[t[fit] == a]], data.outcome[fit[t[fit] == a]]) for a in (0, 1)]
        whole = mu[1] - mu[0] + t * (y - mu[1]) / 0.4 - (1 - t) * (y - mu[0]) / 0.6
        score[out] = whole[out]
    assert_close(learner.scores_.double().numpy(), score, atol=1e-3, rtol=1e-4)
    scores = torch.from_numpy(score)
    expected = np.mean([design @ least_squares(data.x[fit], scores[fit]) for fit, _ in folds], axis=0)
    assert_close(learner.effect(data).double().numpy(), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "learner",
    [
        GraphTLearner("linear-graph"),
        GraphXLearner("linear-graph", "linear", "linear-graph"),
        GraphDRLearner("linear-graph", LogisticRegression(), "linear-graph", random_state=0),
        GraphRLearner("linear-graph", "linear-graph", "linear-graph", random_state=0),
    ],
)
def test_learners_find_effects_that_come_through_the_graph(learner: GraphTLearner) -> None:
    data = simulate("ba", seed=2, num_nodes=2000)
    error = (learner.fit(data).effect(data) - data.effect).square().mean()
    assert error < 0.2 * data.effect.var()


# ------------------------------------------------------------------ comparisons


def test_comparisons_are_scipys_with_the_larger_p_corrected() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(size=12)
    errors = {"a": base, "b": base + 0.5 + 0.2 * generator.normal(size=12), "c": base + 0.1 * generator.normal(size=12)}
    found = compare(errors, "a", ["b", "c"])
    for each, other in zip(found, ("b", "c"), strict=True):
        assert each.t_p == pytest.approx(ttest_rel(errors["a"], errors[other]).pvalue)
        assert each.wilcoxon_p == pytest.approx(wilcoxon(errors["a"] - errors[other]).pvalue)
        difference = errors["a"] - errors[other]
        assert each.size == pytest.approx(difference.mean() / difference.std(ddof=1))
        assert each.low < each.difference < each.high
    worst = sorted(max(c.t_p, c.wilcoxon_p) for c in found)
    assert found[0].holm_p == pytest.approx(2 * worst[0])
    assert found[1].holm_p == pytest.approx(max(worst[1], 2 * worst[0]))
    assert found[0].holm_p < 0.01 < found[1].holm_p


def test_holms_correction_steps_down_and_never_below_a_smaller_one() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    corrected, controlled = np.array(holm([0.001, 0.2, 0.04])), false_discovery_control([0.001, 0.2, 0.04])
    assert np.all(corrected >= controlled)


def test_errors_that_do_not_differ_and_bad_ones() -> None:
    same = compare({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [2.0, 3.0]}, "a", ["b", "c"])
    assert (same[0].t_p, same[0].size, same[1].size, same[1].holm_p) == (1.0, 0.0, -np.inf, 1.0)
    with pytest.raises(ValueError, match="expected finite errors"):
        compare({"a": [1.0, np.nan], "b": [1.0, 2.0]}, "a", ["b"])
    with pytest.raises(ValueError, match="expected errors of the same seeds, two or more"):
        compare({"a": [1.0, 2.0], "b": [1.0]}, "a", ["b"])
    with pytest.raises(ValueError, match="expected one of a"):
        compare({"a": [1.0, 2.0]}, "a", ["b"])
