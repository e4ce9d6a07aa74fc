"""GraphRLearner: its formulas, scikit-learn's conventions, what it must not see, and what it says of bad input."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from torch import Tensor
from torch.testing import assert_close

from gnnkit.causal import (
    CausalData,
    ConstantStage,
    GraphDRLearner,
    GraphRLearner,
    GraphSLearner,
    GraphTLearner,
    GraphXLearner,
    KnownStage,
    LinearStage,
    NetworkStage,
    calibration,
    simulate,
)
from gnnkit.causal._exposure import expected_exposure, exposure_of

FAST = NetworkStage("sign", epochs=30, patience=10, hidden_channels=8)
LEARNERS: dict[str, Any] = {
    "r": GraphRLearner(FAST, FAST, FAST, 3, random_state=0),
    "t": GraphTLearner(FAST, random_state=0),
    "s": GraphSLearner(FAST, random_state=0),
    "x": GraphXLearner(FAST, FAST, FAST, random_state=0),
    "dr": GraphDRLearner(FAST, FAST, FAST, 3, random_state=0),
}


@pytest.fixture(scope="module")
def data() -> CausalData:
    return simulate("ba", seed=0, num_nodes=300, share=0.5)


def known(data: CausalData) -> tuple[KnownStage, KnownStage]:
    assert data.propensity is not None
    base = data.outcome - data.treatment * data.effect
    return KnownStage(base + data.propensity * data.effect), KnownStage(data.propensity)


# ------------------------------------------------------------------ formulas


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
    """The loss is masked and the graph is not: features of the other fold count."""
    folds = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    learner = GraphRLearner(LinearStage(hops=1, ridge=1.0), "constant", "constant", folds)
    before = learner.fit(data)
    x = data.x.clone()
    x[150:] += torch.randn(150, 10)
    after = clone(learner).fit(x, data.treatment, data.outcome, data.edge_index)
    fitted_on_them = before.models_, after.models_
    assert fitted_on_them
    assert not torch.allclose(after.outcome_[150:], before.outcome_[150:])
    touched = torch.isin(data.edge_index[1], torch.arange(150)) & (data.edge_index[0] >= 150)
    nodes = data.edge_index[1][touched].unique()  # type: ignore[no-untyped-call]
    assert not torch.allclose(after.outcome_[nodes], before.outcome_[nodes])


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
        found += calibration(learner.held_out_effect_, learner.scores()).slope.low > 0
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


# ------------------------------------------------------------------ conventions


def test_nothing_of_an_earlier_fit_is_left(data: CausalData) -> None:
    learner = GraphRLearner("linear", "linear", "linear", 2, random_state=0).fit(data)
    learner.set_params(cross_fit_effect=False).fit(data)
    assert not hasattr(learner, "held_out_effect_")
    with pytest.raises(ValueError, match="trim"):
        learner.set_params(trim=-1.0).fit(data)
    with pytest.raises(NotFittedError):
        learner.effect(data)


def test_numbers_of_numpy_are_numbers(data: CausalData, tmp_path: Path) -> None:
    plain = GraphRLearner("linear", "linear", LinearStage(ridge=1.0), 3, random_state=1).fit(data)
    numbers: dict[str, Any] = {"clip": np.float64(0.01), "random_state": np.int64(1), "n_folds": np.int64(3)}
    learner = GraphRLearner("linear", "linear", LinearStage(ridge=np.float64(1.0)), **numbers)
    learner.fit(data).save(tmp_path / "l.pt")
    for each in (learner, GraphRLearner.load(tmp_path / "l.pt")):
        assert_close(each.effect(data), plain.effect(data), atol=0, rtol=0)


def test_an_experiment_with_a_known_propensity_survives_its_file(data: CausalData, tmp_path: Path) -> None:
    learner = GraphRLearner("linear", KnownStage(0.5), "linear", 2, random_state=0).fit(data)
    learner.save(tmp_path / "l.pt")
    assert_close(GraphRLearner.load(tmp_path / "l.pt").effect(data), learner.effect(data), atol=0, rtol=0)


def test_running_statistics_are_those_of_the_best_epoch(data: CausalData) -> None:
    class Normed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.layers(x)

    stage = NetworkStage(Normed(), epochs=60, lr=0.05, patience=10)
    learner = GraphTLearner(stage, random_state=0).fit(data)
    untreated, treated = (model.predictions for model in learner.models_)
    assert_close(learner.effect(data), treated - untreated, atol=1e-5, rtol=1e-5)


def test_estimators_without_weights_serve_nuisances_alone(data: CausalData) -> None:
    GraphRLearner(KNeighborsRegressor(), "linear", "linear", 2).fit(data)
    with pytest.raises(ValueError, match="estimator: expected one whose fit takes sample_weight, for the R-loss"):
        GraphRLearner("linear", "linear", KNeighborsRegressor(), 2).fit(data)


@pytest.mark.parametrize("name", LEARNERS)
def test_seeds_reproduce_clones_are_equal_and_nothing_else_is_disturbed(name: str, data: CausalData) -> None:
    learner = clone(LEARNERS[name])
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    effect = learner.fit(data).effect(data)
    left = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    assert (torch.rand(1), np.random.rand()) == left  # noqa: NPY002
    assert_close(clone(learner).fit(data).effect(data), effect, atol=0, rtol=0)
    assert_close(learner.fit(data).effect(data), effect, atol=0, rtol=0)
    other = clone(learner).set_params(random_state=1).fit(data).effect(data)
    assert not torch.allclose(other, effect)


@pytest.mark.parametrize("name", LEARNERS)
def test_arrays_tensors_and_data_give_the_same(name: str, data: CausalData) -> None:
    learner = clone(LEARNERS[name])
    effect = learner.fit(data).effect(data)
    assert_close(learner.fit(data.to_pyg()).effect(data.to_pyg()), effect, atol=0, rtol=0)
    arrays = [t.numpy() for t in (data.x, data.treatment, data.outcome, data.edge_index)]
    given = learner.fit(arrays[0].astype(np.float64), arrays[1][:, None].astype(int), arrays[2], arrays[3])
    answer = given.effect(arrays[0], arrays[3])
    assert isinstance(answer, np.ndarray)
    assert_close(answer, effect.numpy(), atol=0, rtol=0)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_survives_its_file_and_a_pickle(name: str, data: CausalData, tmp_path: Path) -> None:
    learner = clone(LEARNERS[name]).fit(data)
    learner.save(tmp_path / "learner.pt")
    loaded = type(learner).load(tmp_path / "learner.pt")
    effect = learner.effect(data)
    assert_close(loaded.effect(data), effect, atol=0, rtol=0)
    assert_close(pickle.loads(pickle.dumps(learner)).effect(data), effect, atol=0, rtol=0)
    assert str(loaded) == str(learner)
    assert_close(clone(loaded).fit(data).effect(data), effect, atol=0, rtol=0)
    if name == "r":
        assert loaded.average_effect() == learner.average_effect()
        assert loaded.overlap_ == learner.overlap_
    wrong = GraphTLearner if name != "t" else GraphSLearner
    with pytest.raises(ValueError, match=f"expected a {wrong.__name__}"):
        wrong.load(tmp_path / "learner.pt")


@pytest.mark.parametrize("stage", ["gcn", "sage", "gat", "mlp", "constant", "linear", "linear-graph"])
def test_every_stage_survives_its_file(stage: str, data: CausalData, tmp_path: Path) -> None:
    nuisance = NetworkStage(stage, epochs=3) if stage in ("gcn", "sage", "gat", "mlp") else stage
    learner = GraphRLearner(nuisance, nuisance, nuisance, KFold(2), random_state=0).fit(data)
    learner.save(tmp_path / "l.pt")
    assert_close(GraphRLearner.load(tmp_path / "l.pt").effect(data), learner.effect(data), atol=0, rtol=0)


def test_files_that_are_no_learners_are_refused_without_being_executed(tmp_path: Path, data: CausalData) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(pickle.dumps(Path))
    with pytest.raises(ValueError, match="expected a file that save wrote"):
        GraphRLearner.load(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="expected a GraphRLearner"):
        GraphRLearner.load(path)
    with pytest.raises(FileNotFoundError):
        GraphRLearner.load(tmp_path / "absent.pt")
    learner = GraphRLearner("linear", "linear", "linear", 2).fit(data)
    with pytest.raises(FileNotFoundError, match="expected an existing folder"):
        learner.save(tmp_path / "none" / "l.pt")
    learner.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="expected a file that save wrote"):
        GraphRLearner.load(path)
    path.write_bytes(whole)
    content = torch.load(path, weights_only=True)
    content.pop("params")
    torch.save(content, path)
    with pytest.raises(ValueError, match="expected the parts of a GraphRLearner"):
        GraphRLearner.load(path)
    forest = GraphRLearner(RandomForestRegressor(5), "linear", "linear").fit(data)
    with pytest.raises(ValueError, match="outcome: expected stages of gnnkit with their own networks"):
        forest.save(path)


def test_parameters_go_by_their_names_though_effect_is_a_method() -> None:
    learner = GraphRLearner(effect=LinearStage(ridge=2.0))
    assert learner.get_params()["effect__ridge"] == 2.0
    assert learner.set_params(effect__ridge=3.0).get_params()["effect"].ridge == 3.0
    assert callable(learner.set_params(effect="gcn", n_folds=4).effect)
    assert learner.get_params(deep=False)["effect"] == "gcn"
    assert "effect='gcn'" in repr(learner)
    with pytest.raises(ValueError, match="Invalid parameter"):
        learner.set_params(effects="gcn")
    with pytest.raises(NotFittedError):
        learner.effect(torch.zeros(3, 2), torch.zeros(2, 0, dtype=torch.int64))


def test_permuted_nodes_have_permuted_effects(data: CausalData) -> None:
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    folds = [(np.arange(150), np.arange(150, 300)), (np.arange(150, 300), np.arange(150))]
    moved = [tuple(place.numpy()[part] for part in pair) for pair in folds]
    # a best epoch may turn on a rounding, and so may the first steps of Adam from weights of 0
    steady = clone(FAST).set_params(patience=None, start=None, epochs=10)
    learner = GraphRLearner(steady, steady, steady, folds, random_state=0).fit(data)
    effect = learner.effect(data)
    edge_index = place[data.edge_index]
    assert_close(learner.effect(data.x[order], edge_index), effect[order], atol=1e-4, rtol=1e-4)
    again = clone(learner).set_params(n_folds=moved)
    again.fit(data.x[order], data.treatment[order], data.outcome[order], edge_index)
    assert_close(again.effect(data.x[order], edge_index), effect[order], atol=1e-3, rtol=1e-3)


def test_another_graph_may_be_asked_about(data: CausalData) -> None:
    other = simulate("er", seed=9, num_nodes=120)
    for learner in (clone(LEARNERS["r"]), GraphRLearner("linear-graph", "linear-graph", "linear-graph")):
        assert learner.fit(data).effect(other).shape == (120,)
    with pytest.raises(ValueError, match=r"X: expected 10 features, as in fit \(got 4\)"):
        learner.effect(other.x[:, :4], other.edge_index)


def test_estimators_of_scikit_learn_and_modules_are_stages(data: CausalData) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(10, 1)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.layer(x).squeeze(1)

    classifier = RandomForestClassifier(20, min_samples_leaf=10, random_state=0)
    learner = GraphRLearner(RandomForestRegressor(20, random_state=0), classifier, Own(), 2, random_state=0).fit(data)
    assert learner.effect(data).shape == (300,)
    ridge = GraphRLearner("linear", classifier, Ridge(1.0), 2, random_state=0).fit(data)
    assert ridge.models_[0].estimator.coef_.shape == (31,)  # features of two hops and the degree


# ------------------------------------------------------------------ overlap


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


# ------------------------------------------------------------------ bad input


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
