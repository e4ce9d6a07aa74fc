"""Uplift curves and calibration: by hand, of right effects and of noise, within folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gnnkit.causal import (
    GraphDRLearner,
    GraphRLearner,
    KnownStage,
    calibration,
    simulate,
    uplift_curve,
)


def test_the_uplift_curve_is_the_mean_gain_of_treating_the_first() -> None:
    effect, scores = torch.tensor([0.0, 3.0, 1.0, 2.0]), torch.tensor([-1.0, 4.0, 1.0, 2.0])
    curve = uplift_curve(effect, scores)
    assert_close(curve.gain, np.array([0, 4, 6, 7, 6]) / 4)
    heights = (curve.gain[:-1] + curve.gain[1:]) / 2 - (np.arange(4) + 0.5) / 4 * curve.gain[-1]
    assert curve.area.estimate == pytest.approx(heights.mean())


def test_nodes_of_the_same_effect_have_no_order() -> None:
    same = uplift_curve(torch.ones(200), torch.linspace(3, 1, 200))
    assert same.area.estimate == pytest.approx(0, abs=1e-12)
    assert_close(same.gain, np.linspace(0, 2, 201))
    ties = uplift_curve(torch.tensor([1.0, 2.0, 2.0, 0.0]), torch.tensor([1.0, 4.0, 2.0, 0.0]))
    assert_close(ties.gain, np.array([0, 3, 6, 7, 7]) / 4)


def test_uplift_and_calibration_tell_right_effects_from_noise_and_exaggeration() -> None:
    data = simulate("ba", seed=0, num_nodes=400, share=0.0)
    learner = GraphRLearner("linear-graph", KnownStage(data.propensity), "linear", random_state=0).fit(data)
    scores = learner.scores()
    right = calibration(data.effect, scores).slope
    assert right.low < 1 < right.high
    assert right.low > 0.5
    doubled = calibration(2 * data.effect, scores).slope
    assert doubled.estimate == pytest.approx(right.estimate / 2, rel=1e-4)
    noise = torch.randn(400, generator=torch.Generator().manual_seed(0))
    assert calibration(noise, scores).slope.low < 0 < calibration(noise, scores).slope.high
    areas = [uplift_curve(effect, scores).area for effect in (data.effect, noise, -data.effect)]
    assert areas[0].low > 0 > areas[2].high
    assert areas[1].low < 0 < areas[1].high
    groups = calibration(data.effect, scores, groups=4)
    assert np.all(np.diff(groups.predicted) > 0)
    assert np.all(np.abs(groups.observed - groups.predicted) < 4 * groups.standard_error)


@pytest.mark.parametrize(
    ("effect", "scores", "options", "message"),
    [
        (torch.ones(5), torch.ones(4), {}, r"expected two \[N\], N at least 4"),
        (torch.ones(3), torch.ones(3), {}, r"expected two \[N\], N at least 4"),
        (torch.tensor([1.0, 2, 3, torch.nan]), torch.ones(4), {}, "expected finite numbers"),
        (torch.ones(5), torch.ones(5), {"groups": 2}, r"effect: expected effects that differ \(got 1 for all\)"),
        (
            torch.tensor([1.0, 1, 2, 2]),
            torch.ones(4),
            {"groups": 2, "folds": [0, 0, 1, 1]},
            "effect: expected effects that differ within folds",
        ),
        (torch.arange(4.0), torch.ones(4), {"groups": 2, "folds": [0, 0, 1]}, r"folds: expected \[4\] .* \(got shape"),
        (torch.arange(4.0), torch.ones(4), {"groups": 2, "folds": [0, 0, 0, 1]}, r"of two nodes or more \(got 1 in"),
        (torch.arange(5.0), torch.ones(5), {"groups": 3}, r"groups: expected 2 to 2, half of the nodes \(got 3\)"),
        (torch.arange(5.0), torch.ones(5), {"groups": 2, "level": 0.0}, r"level: expected a number within \(0, 1\)"),
    ],
)
def test_bad_effects_and_scores_are_named(
    effect: torch.Tensor, scores: torch.Tensor, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        calibration(effect, scores, **options)  # type: ignore[arg-type]


def test_levels_of_folds_do_not_count_where_folds_are_given() -> None:
    fold = torch.arange(4).repeat_interleave(25)
    within = torch.linspace(0, 1, 25).repeat(4)
    effect, scores = within - 10.0 * fold, within + fold  # right within folds, upside down between them
    assert calibration(effect, scores).slope.estimate < 0
    found = calibration(effect, scores, folds=fold)
    assert found.slope.estimate == pytest.approx(1)
    assert_close(found.predicted - found.predicted.mean(), found.observed - found.observed.mean())
    assert uplift_curve(effect, scores).area.high < 0
    apart = uplift_curve(effect, scores, folds=fold)
    one = uplift_curve(within[:25], within[:25])
    assert apart.area.estimate == pytest.approx(one.area.estimate)
    assert apart.gain[-1] == pytest.approx(float(scores.mean()))
    assert np.all(np.diff(apart.gain) > 0)


def test_effects_that_do_not_vary_within_folds_have_no_area() -> None:
    data = simulate("ba", seed=900, num_nodes=500, heterogeneity=0.0)
    learner = GraphRLearner("linear", "linear", "constant", random_state=0).fit(data)
    area = uplift_curve(learner.held_out_effect_, learner.scores(), folds=learner.fold_).area
    assert area.low == pytest.approx(0, abs=1e-9)
    assert area.high == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="effects that differ within folds"):
        calibration(learner.held_out_effect_, learner.scores(), folds=learner.fold_)


def test_folds_are_those_that_the_effects_come_from() -> None:
    data = simulate("ba", seed=1, num_nodes=300)
    for learner in (
        GraphRLearner("linear", "linear", "constant", 3, random_state=0),
        GraphDRLearner("linear", "linear", "constant", 3, random_state=0),
    ):
        learner.fit(data)
        assert learner.fold_.bincount().tolist() == [100, 100, 100]
        for number in range(3):
            assert len(learner.held_out_effect_[learner.fold_ == number].unique()) == 1
        assert len(learner.held_out_effect_.unique()) == 3
