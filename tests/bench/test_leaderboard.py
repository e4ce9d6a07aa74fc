"""What an OGB submission asks for: complete, unbiased, chosen by validation, or refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from gnnkit.bench import RunRecord, read_run
from gnnkit.bench._leaderboard import leaderboard
from gnnkit.cli import main

Make = Callable[..., RunRecord]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a finished run of two epochs a seed, of which the second is the better, and read it."""

    def write(dataset: str = "ogbg-molesol", seeds: int = 10, monitor: str = "metric", **changes: Any) -> RunRecord:
        folder = tmp_path / "runs" / f"{dataset}-gin-{len(changes)}"
        folder.mkdir(parents=True)
        lower = dataset == "ogbg-molesol"
        spec = {
            "dataset": dataset,
            "model": "gin",
            "metric": "rmse" if lower else "hits@20" if dataset == "ogbl-ddi" else "roc_auc",
            "config": {"train": {"monitor": monitor}},
            "key": "00000000",
            "created": "2026-01-01T00:00:00+00:00",
            "recipe": "a recipe",
            "overrides": ["train.lr=0.1"],
            "hardware": "a processor, 2 threads",
        }
        (folder / "run.json").write_text(json.dumps(spec))
        rows = []
        for seed in range(seeds):
            last = {"valid": 1.0 + seed, "test": 2.0 + seed, "valid_loss": 0.5}
            first = {"valid": last["valid"] + (1 if lower else -1), "test": 0.0, "valid_loss": 0.6}
            epochs = [{"epoch": 1, **first}, {"epoch": 2, **last}]
            (folder / f"seed-{seed}.epochs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in epochs))
            row = {"seed": seed, "test": last["test"], "valid": last["valid"], "best_epoch": 2, "parameters": 12345}
            row |= {"commit": "abc", "device": "cpu", "versions": {"ogb": "1.3.6"}, "overrides": [], "epochs_run": 2}
            rows.append(row | changes)
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_run(folder)

    return write


def test_the_fields_are_those_that_ogb_asks_for(make: Make) -> None:
    fields = leaderboard(make())
    spread = stdev(range(10))  # with n - 1
    assert fields["Dataset"] == "ogbg-molesol"
    assert fields["OGB version"] == "1.3.6"
    assert fields["Method"] == "gin (a recipe, train.lr=0.1)"
    assert fields["Test"] == f"6.5000 ± {spread:.4f} (rmse)"
    assert fields["Validation"] == f"5.5000 ± {spread:.4f} (rmse)"
    assert fields["Seeds"] == "0 to 9"
    assert fields["#Params"] == "12,345"
    assert fields["Hardware"] == "a processor, 2 threads; cpu"
    assert fields["Command"] == "gnnkit bench ogbg-molesol --model gin --seeds 10 --set train.lr=0.1"
    assert fields["Commit"] == "abc"
    assert fields["Remark"] == "OGB keeps no leaderboard for ogbg-molesol"
    assert "Note" not in fields


def test_only_the_seeds_0_to_9_count(make: Make) -> None:
    fields = leaderboard(make("ogbg-molhiv", seeds=12))
    assert fields["Test"] == f"6.5000 ± {stdev(range(10)):.4f} (rocauc)"
    assert "Remark" not in fields


def test_a_run_on_links_qualifies_too(make: Make) -> None:
    fields = leaderboard(make("ogbl-ddi"))
    assert fields["Test"] == f"6.5000 ± {stdev(range(10)):.4f} (hits@20)"
    assert "Remark" not in fields


def test_uncommitted_source_is_remarked_on(make: Make) -> None:
    assert "uncommitted" in leaderboard(make(commit="abc-dirty"))["Note"]


@pytest.mark.parametrize("dataset", ["cora", "ogbn-own"])
def test_another_dataset_is_refused(make: Make, dataset: str) -> None:
    with pytest.raises(ValueError, match=rf"expected a run on one of OGB's own datasets \(got {dataset} in "):
        leaderboard(make(dataset))


def test_fewer_than_10_seeds_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match=r"expected the seeds 0 to 9 in .* \(got 8; missing 8, 9\)$"):
        leaderboard(make(seeds=8))


def test_three_seeds_do_for_the_largest(make: Make) -> None:
    with pytest.raises(ValueError, match=r"expected the seeds 0 to 2 in .* \(got 2; missing 2\)$"):
        leaderboard(make("ogbn-papers100M", seeds=2))


@pytest.mark.parametrize(
    "changes",
    [{"test": 0.0}, {"valid": 0.5}, {"best_epoch": 1, "valid": 2.0, "test": 0.0}, {"best_epoch": 3}],
    ids=["test", "valid", "another epoch", "no such epoch"],
)
def test_a_score_that_validation_did_not_choose_is_refused(make: Make, changes: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"expected the scores of the best validation epoch for seed 0 in .*\(got test "
    ):
        leaderboard(make(**changes))


def test_selection_by_the_validation_loss_counts_as_selection_by_validation(make: Make) -> None:
    record = make(monitor="loss")
    assert leaderboard(record)["Seeds"] == "0 to 9"
    path = record.folder / "seed-4.epochs.jsonl"
    path.write_text(path.read_text().replace('"valid_loss": 0.6', '"valid_loss": 0.4'))
    with pytest.raises(ValueError, match="best validation epoch for seed 4"):
        leaderboard(record)


def test_a_run_that_lacks_what_is_asked_for_is_refused(make: Make) -> None:
    record = make()
    (record.folder / "seed-3.epochs.jsonl").unlink()
    with pytest.raises(ValueError, match=r"expected parameters, best epoch and the log of epochs for seed 3 "):
        leaderboard(record)


def test_the_command_prints_it_and_writes_nothing(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    folder = make().folder
    with pytest.raises(SystemExit) as done:
        main(["report", str(folder), "--leaderboard"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert "6.5000 ± 3.0277 (rmse)" in out
    assert "12,345" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    (folder / "results.jsonl").write_text("")
    with pytest.raises(SystemExit) as done:
        main(["report", str(folder), "--leaderboard"])
    assert done.value.code == 1
    assert capsys.readouterr().err.startswith("gnnkit: leaderboard: expected the seeds 0 to 9 in ")
