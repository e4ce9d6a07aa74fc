"""The learners keep scikit-learn's conventions, their files and their seeds."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learners import FAST, LEARNERS
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.testing import assert_close

from gnnkit.causal import (
    CausalData,
    GraphRLearner,
    GraphSLearner,
    GraphTLearner,
    KnownStage,
    LinearStage,
    NetworkStage,
    simulate,
)
from gnnkit.causal._nodes import Nodes


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
    numbers: dict[str, Any] = {"clip": np.float32(0.01), "random_state": np.int64(1), "n_folds": np.int64(3)}
    numbers["n_bootstrap"] = np.int64(2)
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


def test_a_classifier_gives_probabilities_of_an_outcome_of_0_and_1(data: CausalData) -> None:
    happened = (data.outcome > data.outcome.median()).float()
    model = LogisticRegression(max_iter=1000)
    learner = GraphTLearner(model).fit(data.x, data.treatment, happened, data.edge_index)
    z = Nodes(data.x, data.edge_index).hops(2).double().numpy()
    arms = [
        clone(model).fit(z[data.treatment == arm], happened[data.treatment == arm].long()).predict_proba(z)[:, 1]
        for arm in (0, 1)
    ]
    assert_close(learner.effect(data).double(), torch.from_numpy(arms[1] - arms[0]).double(), atol=1e-4, rtol=1e-4)
    forest = RandomForestClassifier(20, random_state=0)
    never = GraphTLearner(forest).fit(data.x, data.treatment, happened * data.treatment, data.edge_index)
    assert bool((never.effect(data) >= 0).all())  # no untreated node had it


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), Ridge(2.0)),
        GridSearchCV(Ridge(), {"alpha": [2.0]}),
        GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [2.0]}),
    ],
)
def test_pipelines_and_searches_hand_weights_on(data: CausalData, estimator: Any) -> None:
    learner = GraphRLearner("linear", "linear", estimator, 2, cross_fit_effect=False, random_state=0).fit(data)
    dose = learner.treatment_residual_.double().numpy()
    target = learner.outcome_residual_.double().numpy() / dose
    z = Nodes(data.x, data.edge_index).hops(2).double().numpy()
    if isinstance(estimator, Pipeline) or isinstance(estimator.estimator, Pipeline):
        z = StandardScaler().fit_transform(z)
    expected = Ridge(2.0).fit(z, target, dose**2).predict(z)
    assert_close(learner.effect(data).double().numpy(), expected, atol=1e-3, rtol=1e-3)


def test_tables_lists_and_foreign_byte_orders_are_arrays(data: CausalData) -> None:
    pandas = pytest.importorskip("pandas")
    learner = GraphRLearner("linear", "linear", "linear", 2, random_state=0)
    expected = learner.fit(data).effect(data).numpy()
    x, edges = data.x.numpy(), data.edge_index.numpy()
    table = pandas.DataFrame(x)
    columns = pandas.Series(data.treatment.numpy().astype(bool)), pandas.Series(data.outcome.numpy())
    for given, link in ((table, edges), (x.astype(">f4"), edges.astype(">i8")), (x.tolist(), edges.tolist())):
        effect = learner.fit(given, *columns, link).effect(given, link)
        assert isinstance(effect, np.ndarray)
        assert_close(effect, expected, atol=1e-5, rtol=1e-5)
    mixed = pandas.DataFrame(x)
    mixed["flag"] = x[:, 0] > 0
    assert learner.fit(mixed, *columns, edges).effect(mixed, edges).shape == (300,)
    assert learner.fit(table, *columns, [[], []]).effect(table, [[], []]).shape == (300,)
