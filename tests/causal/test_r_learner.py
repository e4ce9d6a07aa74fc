"""GraphRLearner: its formulas, what it must not see, and what it says of little overlap."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from learners import FAST, known
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from torch.testing import assert_close

from gnnkit.causal import (
    CausalData,
    GraphDRLearner,
    GraphRLearner,
    GraphXLearner,
    KnownStage,
    LinearStage,
    calibration,
    simulate,
)
from gnnkit.causal._exposure import expected_exposure, exposure_of
from gnnkit.causal._nodes import Nodes


def test_the_linear_effects_are_the_published_ridge_and_the_one_with_a_constant(data: CausalData) -> None:
    learners = [
        GraphRLearner(*known(data), effect, 2, cross_fit_effect=False).fit(data)
        for effect in ("linear-no-intercept", LinearStage(ridge=0.1), "constant")
    ]
    x = data.x.double().numpy()
    tr, yr = (getattr(learners[0], f"{n}_residual_").double().numpy() for n in ("treatment", "outcome"))
    published = Ridge(0.1).fit(x * tr[:, None], yr)
    columns = np.hstack([np.ones((300, 1)), x])
    weighted = columns * tr[:, None]
    theta = np.linalg.solve(weighted.T @ weighted + 0.1 * np.eye(11), weighted.T @ yr)
    expected = [published.predict(x), columns @ theta, np.full(300, (yr @ tr) / (tr @ tr))]
    for learner, truth in zip(learners, expected, strict=True):
        assert_close(learner.effect(data).double().numpy(), truth, atol=1e-5, rtol=1e-5)


def test_the_average_effect_is_the_augmented_inverse_propensity_score(data: CausalData) -> None:
    folds = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    learner = GraphRLearner(LinearStage(ridge=1.0), LinearStage(ridge=1.0), "linear", folds).fit(data)
    x, t, y = (v.double().numpy() for v in (data.x, data.treatment, data.outcome))
    mu = np.empty((2, 300))
    for fit, out in folds:
        for arm in (0, 1):
            rows = fit[t[fit] == arm]
            mu[arm, out] = Ridge(1.0).fit(x[rows], y[rows]).predict(x[out])
    e = learner.propensity_.double().numpy()
    score = mu[1] - mu[0] + t * (y - mu[1]) / e - (1 - t) * (y - mu[0]) / (1 - e)
    assert_close(learner.scores().double().numpy(), score, atol=1e-3, rtol=1e-4)
    population = learner.average_effect(0.9, "population")
    assert population.estimate == pytest.approx(score.mean(), abs=1e-4)
    assert population.standard_error == pytest.approx(score.std(ddof=1) / np.sqrt(300), rel=1e-3)
    assert population.high - population.estimate == pytest.approx(1.6449 * population.standard_error, rel=1e-3)
    sample = learner.average_effect()
    assert sample.standard_error == pytest.approx((score - mu[1] + mu[0]).std(ddof=1) / np.sqrt(300), rel=1e-3)


def test_of_a_known_outcome_the_score_uses_what_it_and_the_effect_imply(data: CausalData) -> None:
    outcome, propensity = known(data)
    learner = GraphRLearner(outcome, propensity, "linear", 3, random_state=1).fit(data)
    t, y = data.treatment.double(), data.outcome.double()
    e, m, tau = (getattr(learner, n).double() for n in ("propensity_", "outcome_", "held_out_effect_"))
    mu1, mu0 = m + (1 - e) * tau, m - e * tau
    score = mu1 - mu0 + t * (y - mu1) / e - (1 - t) * (y - mu0) / (1 - e)
    assert_close(learner.scores().double(), score, atol=1e-3, rtol=1e-4)


def test_errors_of_the_nuisances_cancel_in_the_average(data: CausalData) -> None:
    outcome, propensity = known(data)
    wrong = KnownStage(outcome.values + 3.0 * data.x[:, 2])
    estimates = [GraphRLearner(stage, propensity, "constant", 5).fit(data) for stage in (outcome, wrong)]
    for learner in estimates:
        interval = learner.average_effect(0.999)
        assert interval.low < data.average_effect < interval.high


@pytest.mark.parametrize("stage", ["linear-graph", FAST, LinearRegression()])
def test_held_out_nuisances_do_not_see_the_nodes_own_outcome_or_treatment(data: CausalData, stage: Any) -> None:
    folds = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    learner = GraphRLearner(stage, LogisticRegression(), "constant", folds, random_state=0)
    before = learner.fit(data)
    outcome, treatment = data.outcome.clone(), data.treatment.clone()
    outcome[:150], treatment[:150] = outcome[:150] + 100, 1 - treatment[:150]
    after = clone(learner).fit(data.x, treatment, outcome, data.edge_index)
    assert_close(after.outcome_[:150], before.outcome_[:150], atol=0, rtol=0)
    assert_close(after.propensity_[:150], before.propensity_[:150], atol=0, rtol=0)
    assert not torch.allclose(after.outcome_[150:], before.outcome_[150:])


def test_held_out_nodes_pass_messages(data: CausalData) -> None:
    """The loss is masked and the graph is not: a fold is fitted on features that all nodes have sent."""
    folds = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    found = GraphRLearner(LinearStage(hops=1, ridge=1.0), "constant", "constant", folds).fit(data).outcome_[150:]
    within = (data.edge_index < 150).all(0)
    for edges, right in ((data.edge_index, True), (data.edge_index[:, within], False)):
        z, y = Nodes(data.x, edges).hops(1).double().numpy(), data.outcome.double().numpy()
        whole = Nodes(data.x, data.edge_index).hops(1).double().numpy()
        expected = Ridge(1.0).fit(z[:150], y[:150]).predict(whole[150:])
        assert torch.allclose(found.double(), torch.from_numpy(expected), atol=1e-4) is right


def test_a_dose_has_the_slope_of_its_outcome() -> None:
    torch.manual_seed(0)
    base = simulate("ba", seed=1, num_nodes=1500)
    dose = base.x[:, 0] + torch.randn(1500)
    slope = 1 + base.x[:, 1]
    outcome = base.x[:, 0] * 2 + slope * dose + 0.5 * torch.randn(1500)
    learner = GraphRLearner("linear", "linear", "linear", 5, treatment="continuous", random_state=0)
    learner.fit(base.x, dose, outcome, base.edge_index)
    assert float((learner.effect(base) - slope).square().mean()) < 0.05
    assert abs(learner.average_effect().estimate - float(slope.mean())) < 0.1
    with pytest.raises(ValueError, match="T: expected 0 and 1; for a dose set treatment='continuous'"):
        GraphRLearner().fit(base.x, dose, outcome, base.edge_index)


@pytest.mark.parametrize("exposure", ["share", "count", "any"])
def test_spillover_is_told_from_the_nodes_own_effect(exposure: str) -> None:
    data = simulate("er", seed=3, num_nodes=3000, share=0.0, spillover=1.5, exposure=exposure)
    learner = GraphRLearner("linear-graph", "linear-graph", "linear", 5, exposure=exposure, random_state=0).fit(data)
    effect = learner.spillover_effect(0.999)
    assert effect.low < 1.5 < effect.high
    assert effect.high - effect.low < (6 if exposure == "any" else 2)
    average = learner.average_effect(0.999)
    assert average.low < data.average_effect < average.high
    with pytest.raises(ValueError, match="exposure: expected share, any or count where spillover is asked for"):
        GraphRLearner("linear", "linear", "linear").fit(data).spillover_effect()


def test_bootstrap_intervals_cover_an_effect_that_the_stage_can_express() -> None:
    base = simulate("ba", seed=5, num_nodes=800, share=0.0)
    effect = 1 + 0.5 * base.x[:, 0]
    assert base.propensity is not None
    outcome = base.x[:, 1] + base.treatment * effect + 0.5 * torch.randn(800)
    mean = KnownStage(base.x[:, 1] + base.propensity * effect)
    learner = GraphRLearner(mean, KnownStage(base.propensity), LinearStage(ridge=0.1), n_bootstrap=50, random_state=0)
    learner.fit(base.x, base.treatment, outcome, base.edge_index)
    low, high = learner.effect_interval(base.x, base.edge_index)
    covered = float(((low < effect) & (effect < high)).float().mean())
    assert 0.7 < covered <= 1
    wide = learner.effect_interval(base.x, base.edge_index, level=0.999)
    assert bool((wide[0] < low).all())
    with pytest.raises(ValueError, match="n_bootstrap: expected at least 2 where intervals are asked for"):
        clone(learner).set_params(n_bootstrap=0).fit(base).effect_interval(base)


@pytest.mark.parametrize("stage", ["mlp", "linear"])
def test_held_out_effects_of_no_heterogeneity_do_not_look_useful(stage: str) -> None:
    """They would, if the held-out outcomes chose the epoch; of 40 networks about one may."""
    found = 0
    for seed in range(40):
        data = simulate("ba", seed=seed, num_nodes=200, heterogeneity=0.0, noise=0.0)
        outcome = data.outcome + 0.5 * torch.randn(200, generator=torch.Generator().manual_seed(seed))
        learner = GraphRLearner(*known(data), stage, random_state=seed)
        learner.fit(data.x, data.treatment, outcome, data.edge_index)
        found += calibration(learner.held_out_effect_, learner.scores(), folds=learner.fold_).slope.low > 0
    assert found <= 5


def test_loops_and_repeated_edges_are_no_exposure() -> None:
    simple = simulate("er", seed=1, num_nodes=300, spillover=1.0)
    loops = torch.arange(300).repeat(2, 1)
    messy = torch.cat([simple.edge_index, simple.edge_index[:, :50], loops], dim=1)
    for kind in ("share", "any", "count"):
        for values, measure in ((simple.treatment, exposure_of), (simple.propensity, expected_exposure)):
            assert values is not None
            assert_close(measure(values, messy, kind), measure(values, simple.edge_index, kind))


def test_a_known_outcome_counts_the_spillover_that_is_expected_once() -> None:
    data = simulate("er", seed=4, num_nodes=2000, share=0.0, spillover=1.5)
    outcome, propensity = known(data)
    assert data.propensity is not None
    assert data.exposure is not None
    expected = expected_exposure(data.propensity, data.edge_index, "share")
    mean = KnownStage(outcome.values - 1.5 * (data.exposure - expected))
    learner = GraphRLearner(mean, propensity, "linear", exposure="share", random_state=0).fit(data)
    assert_close(learner.outcome_, mean.values, atol=1e-4, rtol=1e-4)
    assert abs(learner.spillover_effect().estimate - 1.5) < 0.2


def test_spillover_without_neighbours_is_refused(data: CausalData) -> None:
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    learner = GraphRLearner("linear", "linear", "linear", 2, exposure="share")
    learner.fit(data.x, data.treatment, data.outcome, nothing)
    with pytest.raises(ValueError, match="expected nodes with neighbours, some of them treated"):
        learner.spillover_effect()


def test_little_overlap_is_described_warned_of_and_can_be_trimmed(data: CausalData) -> None:
    assert data.propensity is not None
    extreme = KnownStage(torch.where(data.x[:, 0] > 1, 1.0, data.propensity))
    share = float((data.x[:, 0] > 1).float().mean())
    outcome, _ = known(data)
    with pytest.warns(UserWarning, match="could hardly have been either treated or not.*trim=0.05"):
        learner = GraphRLearner(outcome, extreme, "constant", 2).fit(data)
    assert learner.overlap_.clipped == pytest.approx(share)
    assert float(learner.propensity_.max()) == pytest.approx(0.99)
    assert "clipped" in str(learner.overlap_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trimmed = GraphRLearner(outcome, extreme, "constant", 2, trim=0.05).fit(data)
    assert trimmed.overlap_.trimmed == pytest.approx(share, abs=0.01)
    kept = trimmed.kept_
    assert not bool(kept[data.x[:, 0] > 1].any())
    dose, response = trimmed.treatment_residual_[kept], trimmed.outcome_residual_[kept]
    folds = [float(m.constant) for m in trimmed.models_]
    whole = float((dose * response).sum() / dose.square().sum())
    assert min(folds) - 1e-6 <= whole <= max(folds) + 1e-6
    scores = trimmed.scores()[kept]
    assert trimmed.average_effect().estimate == pytest.approx(float(scores.mean()), rel=1e-4)
    with pytest.raises(ValueError, match="trim: expected some nodes within"):
        GraphRLearner(outcome, KnownStage(1.0), "constant", 2, trim=0.05).fit(data)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_propensities_of_0_and_1_are_warned_of_by_all_that_use_them(data: CausalData, clip: float) -> None:
    sure = KnownStage(data.treatment)
    learners = [GraphRLearner("linear", sure, "constant", 2, clip=clip), GraphXLearner("linear", sure, "constant")]
    if clip:
        learners.append(GraphDRLearner("linear", sure, "constant", 2, clip=clip))
    for learner in learners:
        with pytest.warns(UserWarning, match="100 % of the nodes have propensities below 0.01 or above 0.99"):
            learner.fit(data)
        assert learner.overlap_.extreme == 1
    if not clip:
        with pytest.raises(ValueError, match=r"clip: expected a number > 0, such as 0.01"):
            GraphDRLearner("linear", sure, "constant", 2, clip=0.0).fit(data)
        wrong = KnownStage(1 - data.treatment)
        with pytest.warns(UserWarning, match="100 % of the nodes"):
            learner = GraphRLearner("linear", wrong, "constant", 2, clip=0.0).fit(data)
        assert learner.overlap_.effective == 0
        for asked in (learner.scores, learner.average_effect):
            with pytest.raises(ValueError, match=r"expected propensities within \(0, 1\): set clip"):
                asked()
