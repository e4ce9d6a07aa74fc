"""The claims on link prediction: which trainings they ask for, what they make of them, and what ends a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gnnkit.bench import recipe
from gnnkit.bench._links import build_link, link_task
from gnnkit.datasets import load
from gnnkit.train import fit, override, seed_everything

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "claims")]

import _link_runs  # noqa: E402
import _stored  # noqa: E402
import ddi_thresholds  # noqa: E402
import heart  # noqa: E402
import ncn_accuracy  # noqa: E402
import tune_gae  # noqa: E402
from _link_runs import NO_COMMON, NOT_HIDDEN, Run  # noqa: E402


def rows_of(wanted: list[Run], test: Callable[[Run], float]) -> list[dict[str, Any]]:
    return [{**vars(run), "test": test(run)} for run in wanted]


def test_both_claims_ask_for_the_same_trainings() -> None:
    accuracy = ncn_accuracy.runs(["cora"], list(ncn_accuracy.CASES), 10)
    assert len(accuracy) == len(set(accuracy)) == 40 + 20 + 10
    assert len(ncn_accuracy.runs(["pubmed"], list(ncn_accuracy.CASES), 10)) == 40 + 6 + 3
    ranking = heart.runs(["cora"], 5)
    assert {run for run in ranking if run.protocol == "link" and run.method in heart.MODELS} <= set(accuracy)
    assert sum(run.method == "cn" and run.protocol == "heart" for run in ranking) == 1


def test_accuracies_are_compared_on_the_same_seeds() -> None:
    wanted = ncn_accuracy.runs(["pubmed"], list(ncn_accuracy.CASES), 10)
    offset = {"ncn": 0.0, "ncnc": 1.0, "gae": -0.5, NO_COMMON: -1.0, NOT_HIDDEN: -3.0}
    rows = rows_of(wanted, lambda run: 78.5 + run.seed / 10 + offset[run.method] + 0.2 * (run.who == "authors"))
    lines = {line["model"]: line for line in ncn_accuracy.judge(rows)}
    assert lines["ncn"]["reaches"]
    assert lines["ncn"]["difference_points"] == pytest.approx(-0.2)
    assert lines["gae"]["less_ncn_points"] == "-0.50 ± 0.00"
    assert lines[NO_COMMON]["less_ncn_points"] == "-1.00 ± 0.00"
    assert lines[NOT_HIDDEN]["less_ncn_points"] == "-3.00 ± 0.00"
    assert lines[NOT_HIDDEN]["lower"]
    assert lines[NOT_HIDDEN]["difference_points"] == pytest.approx(-3.2)
    low = rows_of(wanted, lambda run: 70.0 + run.seed / 10)
    assert not any(line["reaches"] for line in ncn_accuracy.judge(low) if "reaches" in line)


def test_orders_of_methods_are_compared() -> None:
    methods = [*heart.HEURISTICS, *heart.MODELS]
    place = {method: number for number, method in enumerate(methods)}
    rows = rows_of(
        heart.runs(["cora"], 5), lambda run: place[run.method] * (1 if run.protocol == "link" else -1) + run.seed / 100
    )
    lines, orders = heart.judge(rows, ["cora"])
    assert orders[0]["tau_between_protocols"] == pytest.approx(-1)
    assert orders[0]["tau_between_halves"] == pytest.approx(1)
    assert (orders[0]["best_random"], orders[0]["best_hard"]) == (methods[-1], methods[0])
    assert lines[0]["mrr"] == "0.00"  # scored once


def test_a_run_trains_and_a_heuristic_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link_runs, "recipe", lambda name, model: _short(name, model))
    for method in ("gae", NO_COMMON, NOT_HIDDEN, "cn"):
        row = _link_runs.execute(Run("gnnkit", method, "karate", "link", 0))
        assert 0 <= row["test"] <= 100
        assert row["epochs"] == (0 if method == "cn" else 3)


def _short(name: str, model: str) -> Any:
    return override(recipe(name, model), "train.max_epochs=3", "link.hidden_channels=8")


def test_a_worker_that_exits_ends_the_claim_and_finished_ones_are_stored(tmp_path: Path) -> None:
    store = tmp_path / "rows.jsonl"
    with pytest.raises(SystemExit, match="expected a clone"):
        _stored.finish(["expected a clone"] * 3, sys.exit, str, store, 1)
    assert store.read_text() == ""
    rows = ['{"row": 1}', '{"row": 2}']
    assert _stored.finish(rows, json.loads, str, store, 1) == [{"row": 1}, {"row": 2}]
    assert store.read_text().count("\n") == 2


def test_ncn_without_common_neighbours_has_the_settings_of_ncn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(_link_runs, "recipe", lambda name, model: asked.append((name, model)) or _short(name, model))
    monkeypatch.setattr(
        _link_runs, "fit_unseen", lambda model, *_: ({"valid": 0, "test": model.predictor.variant == "cn0"}, 1)
    )
    row = _link_runs.execute(Run("gnnkit", NO_COMMON, "karate", "link", 0))
    assert (asked, row["test"]) == ([("karate:link", "ncn")], 100)


def test_a_key_changes_with_the_settings_that_its_training_has_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [Run("gnnkit", method, "cora", "link", 0) for method in ("ncn", "gae", NOT_HIDDEN)]
    before = [run.key for run in runs]
    assert len(set(before)) == 3
    plain = _link_runs.recipe
    changed = {"gae": "train.max_epochs=7"}

    def other(name: str, model: str) -> Any:
        return _link_runs.override(plain(name, model), *([changed[model]] if model in changed else []))

    monkeypatch.setattr(_link_runs, "recipe", other)
    assert [run.key == key for run, key in zip(runs, before, strict=True)] == [True, False, True]


@pytest.mark.parametrize("dataset", tune_gae.DRAWS)
def test_the_auto_encoders_recipe_is_what_its_search_found(dataset: str) -> None:
    drawn = tune_gae.draws(dataset, tune_gae.DRAWS[dataset])
    rows = [json.loads(line)["row"] for line in (tune_gae.RESULTS / "tune_gae.jsonl").read_text().splitlines()]
    rows = sorted(
        (row for row in rows if row["dataset"] == dataset), key=lambda row: drawn.index(tuple(row["settings"]))
    )
    assert len(rows) == len(tune_gae.SPLITS) * len(drawn)
    (_, best), *_ = tune_gae.ranked(rows, dataset)
    found = tune_gae.Run(dataset, best, 1000).config
    assert _link_runs.settings(found) == _link_runs.settings(recipe(f"{dataset}:link", "gae"))
    assert ("searched" in recipe(f"{dataset}:link", "gae").recipe) == (best != ())


def test_what_is_not_scored_while_it_is_learnt_changes_no_number() -> None:
    data, config = load("karate:link"), _short("karate:link", "ncn")
    found = []
    for unseen in (False, True):
        task = link_task(data, data.card.split(data, 0), config.link, config.train.batch_size, torch.device("cpu"))
        seed_everything(0)
        model = build_link("ncn", data, config.link)
        best = _link_runs.fit_unseen(model, task, config)[0] if unseen else fit(model, task, config.train).best
        found.append([best[name] for name in ("train", "valid", "test", "valid_loss", "test_hits@20")])
    assert found[0] == found[1]


def test_settings_are_drawn_once_and_begin_with_those_of_ncn() -> None:
    first, *others = tune_gae.draws("cora", 24)
    assert first == ()
    assert len(others) == len(set(others)) == 23
    assert tune_gae.draws("cora", 24) == [first, *others] != tune_gae.draws("pubmed", 24)
    row = tune_gae.execute(tune_gae.Run("karate", (*others[0], "train.max_epochs=2"), 1000))
    assert 0 <= row["valid"] <= 100


def test_the_thresholds_of_a_checkpoint_are_those_of_its_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = override(recipe("digits:link", "ncn"), "train.max_epochs=1")
    data = load("digits:link")
    task = link_task(data, data.card.split(data, 0), config.link, config.train.batch_size, torch.device("cpu"))
    torch.manual_seed(0)
    model = build_link("ncn", data, config.link)
    (row,) = fit(model, task, config.train, checkpoint=tmp_path / "seed-0.ckpt").history
    assert ddi_thresholds.main([str(tmp_path / "seed-0.ckpt"), "--dataset", "digits:link"]) == 0
    valid, test = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()[2:]]
    assert valid[1:3] + test[1:3] == ["1", "valid", "1", "test"]
    # Hits@20 and Hits@50
    assert (valid[6], valid[8]) == (f"{100 * row['valid_hits@20']:.1f}", f"{100 * row['valid_hits@50']:.1f}")
    assert (test[6], test[8]) == (f"{100 * row['test_hits@20']:.1f}", f"{100 * row['test_hits@50']:.1f}")
