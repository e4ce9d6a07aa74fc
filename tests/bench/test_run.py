"""The benchmark: the protocol as written, provenance in every row, and runs that continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import SHORT, bench, scores

import gnnkit
from gnnkit.bench import Progress, RunRecord, _provenance, read_run, run_benchmark, summarise
from gnnkit.bench._summary import to_json
from gnnkit.datasets import load

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A finished run of two seeds; tests only read it."""
    return bench(tmp_path_factory.mktemp("runs"))


# ------------------------------------------------------------------ protocol


def test_the_test_score_is_the_one_at_the_best_validation_epoch(tmp_path: Path) -> None:
    record = bench(tmp_path, seeds=range(4), overrides=("train.max_epochs=60", "train.lr=0.05"))
    assert len(record.results) == 4
    for row in record.results:
        history = record.history(row["seed"])
        assert [r["epoch"] for r in history] == list(range(1, 61))
        rank = [(r["valid"], -r["valid_loss"], -r["epoch"]) for r in history]
        best = history[rank.index(max(rank))]
        assert [row[name] for name in ("test", "valid", "train")] == [best[name] for name in ("test", "valid", "train")]
        assert (row["best_epoch"], row["epochs_run"]) == (best["epoch"], 60)
    # and it is not the best test score there was: that would be cheating
    assert any(row["test"] < max(r["test"] for r in record.history(row["seed"])) for row in record.results)


def test_seeds_differ_and_a_seed_is_the_same_alone_or_among_others(record: RunRecord, tmp_path: Path) -> None:
    assert record.history(0) != record.history(1)
    alone = bench(tmp_path, seeds=[1])
    assert scores(alone) == scores(record)[1:]
    assert alone.history(1) == record.history(1)


def test_patience_ends_a_seed_early_and_the_row_says_so(tmp_path: Path) -> None:
    record = bench(tmp_path, seeds=[0], overrides=("train.max_epochs=200", "train.patience=5", "train.lr=0.1"))
    (row,) = record.results
    assert row["epochs_run"] == len(record.history(0)) == row["best_epoch"] + 5
    assert row["epochs_run"] < 200


def test_scaled_features_are_scaled_for_the_model_and_no_one_else(tmp_path: Path) -> None:
    plain = bench(tmp_path, "mlp", seeds=[0])
    scaled = bench(tmp_path, "mlp", seeds=[0], overrides=(*SHORT, "features.scale=rows"))
    assert scaled.history(0) == plain.history(0)  # karate's rows sum to 1 already
    assert bool((load("karate").x.sum(dim=1) == 1).all())
    assert scaled.folder != plain.folder


def test_progress_hears_of_every_seed_and_epoch(tmp_path: Path) -> None:
    heard: list[tuple[Any, ...]] = []
    progress = Progress(
        begin=lambda seed, done, total: heard.append(("begin", seed, done, total)),
        epoch=lambda seed, row: heard.append(("epoch", seed, row["epoch"])),
        end=lambda row: heard.append(("end", row["seed"])),
    )
    bench(tmp_path, progress=progress)
    expected: list[tuple[Any, ...]] = []
    for seed in (0, 1):
        expected += [("begin", seed, 0, 25), *(("epoch", seed, epoch) for epoch in range(1, 26)), ("end", seed)]
    assert heard == expected


# ------------------------------------------------------------------ runs that continue, and runs that do not


def test_the_same_run_again_trains_nothing(record: RunRecord) -> None:
    files = {path.name: path.read_bytes() for path in record.folder.iterdir()}
    heard: list[int] = []

    def begin(seed: int, done: int, total: int) -> None:
        raise AssertionError("trained again")

    again = bench(record.folder.parent, progress=Progress(begin=begin, end=lambda row: heard.append(row["seed"])))
    assert again == record
    assert heard == [0, 1]
    assert {path.name: path.read_bytes() for path in record.folder.iterdir()} == files


def test_more_seeds_continue_the_run_and_fewer_give_a_part_of_it(tmp_path: Path) -> None:
    first = bench(tmp_path, seeds=[0])
    begun: list[int] = []
    more = bench(tmp_path, seeds=[0, 2], progress=Progress(begin=lambda seed, done, total: begun.append(seed)))
    assert begun == [2]
    assert more.folder == first.folder
    assert [row["seed"] for row in more.results] == [0, 2]
    assert more.results[0] == first.results[0]
    assert bench(tmp_path, seeds=[2]).results == more.results[1:]


def test_another_setting_model_or_source_makes_another_folder(
    record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [bench(tmp_path, seeds=[0], overrides=("train.max_epochs=2",)).folder]
    folders.append(bench(tmp_path, seeds=[0], overrides=("train.max_epochs=3",)).folder)
    folders.append(bench(tmp_path, "mlp", seeds=[0], overrides=("train.max_epochs=2",)).folder)
    monkeypatch.setattr(_provenance, "source_digest", lambda: "changed")
    folders.append(bench(tmp_path, seeds=[0], overrides=("train.max_epochs=2",)).folder)
    monkeypatch.setattr(_provenance, "versions", lambda *more: {"torch": "99"})
    folders.append(bench(tmp_path, seeds=[0], overrides=("train.max_epochs=2",)).folder)
    assert len(set(folders)) == 5
    assert all(len(read_run(folder).results) == 1 for folder in folders)


def test_the_same_settings_said_otherwise_are_the_same_run(tmp_path: Path) -> None:
    first = bench(tmp_path, seeds=[0], overrides=("train.max_epochs=2", "train.lr=0.01"))
    again = bench(tmp_path, seeds=[0], overrides=("train.lr=1e-2", "train.max_epochs=2"))
    assert again.folder == first.folder


def test_a_run_leaves_no_checkpoint_no_lock_and_no_scratch_file(record: RunRecord) -> None:
    names = {path.name for path in record.folder.iterdir()} - {"lock"}
    assert names == {"run.json", "results.jsonl", "seed-0.epochs.jsonl", "seed-1.epochs.jsonl"}
    bench(record.folder.parent)  # the lock is free


def test_the_source_digest_covers_all_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {name: tmp_path / name for name in ("gnnkit", "datasets", "kernels")}
    for name, folder in folders.items():
        (folder / "inner").mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "inner" / "code.py").write_text("x = 1\n")
        monkeypatch.setattr(getattr(_provenance, name), "__file__", str(folder / "__init__.py"))

    def digest() -> str:
        return str(_provenance.source_digest.__wrapped__())

    seen = {digest()}
    assert digest() in seen
    for folder in folders.values():
        (folder / "inner" / "code.py").write_text("x = 2\n")
        seen.add(digest())
        (folder / "inner" / "code.py").rename(folder / "inner" / "other.py")
        seen.add(digest())
    assert len(seen) == 7


# ------------------------------------------------------------------ what is stored


def test_the_json_holds_what_the_design_promises(record: RunRecord) -> None:
    facts = json.loads(json.dumps(to_json(summarise(record))))
    promised = (
        "dataset, model, metric, seeds, test_mean, test_std, valid_mean, valid_std, epochs_run, wall_seconds, "
        "commit, versions, device"
    )
    assert set(promised.split(", ")) <= set(facts)
    assert (facts["dataset"], facts["model"], facts["metric"]) == ("karate", "gcn", "accuracy")
    assert facts["seeds"] == [0, 1]
    tests = [row["test"] for row in record.results]
    assert facts["test_mean"] == pytest.approx(sum(tests) / 2)
    assert facts["test_std"] == pytest.approx(abs(tests[0] - tests[1]) / 2**0.5)
    assert facts["epochs_run"] == 50
    assert facts["device"] == "cpu"
    assert facts["overrides"] == list(SHORT)


def test_every_result_row_says_what_made_it(record: RunRecord) -> None:
    for row in record.results:
        assert row["recipe"] == "gnnkit defaults"
        assert row["overrides"] == list(SHORT)
        assert row["commit"] == _provenance.commit()
        assert row["versions"]["torch"] == torch.__version__
        assert row["versions"]["gnnkit"] == gnnkit.__version__
        assert row["device"] == "cpu"
        assert row["backend"] == "torch-geometric"
        assert row["wall_seconds"] > 0
        assert row["peak_memory_bytes"] > 2**20


def test_the_description_says_what_is_run(record: RunRecord) -> None:
    spec = record.spec
    assert (spec["dataset"], spec["model"], spec["task"]) == ("karate", "gcn", "node_classification")
    assert spec["config"]["train"]["max_epochs"] == 25
    assert spec["config"]["model"]["hidden_channels"] == 64
    assert {"commit", "versions", "device", "hardware", "backend", "key", "created"} <= set(spec)
    assert record.folder.name == f"karate-gcn-{spec['key']}"


def test_the_commit_is_that_of_the_repository_or_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit() -> str:
        return str(_provenance.commit.__wrapped__())

    monkeypatch.setattr(
        _provenance, "_git", lambda folder, *args: {"ls-files": "x", "rev-parse": "abc"}.get(args[0], "")
    )
    assert commit() == "abc"
    monkeypatch.setattr(_provenance, "_git", lambda folder, *args: "abc")
    assert commit() == "abc-dirty"
    monkeypatch.setattr(_provenance, "_git", lambda folder, *args: "")
    assert commit() == f"release {gnnkit.__version__}"


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1], [3, -1, 3]], ids=str)
def test_seeds_that_are_none_repeated_or_negative_are_refused(seeds: list[int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seeds: expected distinct numbers >= 0, at least one, below 2\^32 \(got "):
        bench(tmp_path, seeds=seeds)


@pytest.mark.parametrize("seed", [2**32, 2**63, 2**70], ids=lambda seed: f"2^{seed.bit_length() - 1}")
def test_a_seed_that_no_generator_takes_is_refused(seed: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(got "):
        bench(tmp_path, seeds=[seed])


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:-1", "cpu:0", "", "CPU", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"device: expected .+ \(got "):
        run_benchmark("karate", "gcn", device=name, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("setting", ["dataset=cora", "model_name=mlp"])
def test_a_setting_cannot_change_the_dataset_or_the_model(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--set: expected settings \(got "):
        bench(tmp_path / "runs", overrides=[setting])
    assert not (tmp_path / "runs").exists()


def test_a_run_that_another_process_writes_is_refused_and_left_alone(record: RunRecord, tmp_path: Path) -> None:
    from gnnkit.bench._store import RunWriter

    holder = RunWriter(record.folder.parent, record.spec)
    try:
        with pytest.raises(ValueError, match="expected no other gnnkit process"):
            bench(record.folder.parent)
    finally:
        holder.close()


def test_an_error_in_the_middle_gives_the_lock_back(tmp_path: Path) -> None:
    def fail(seed: int, row: dict[str, float]) -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="terminal"):
        bench(tmp_path, progress=Progress(epoch=fail))
    assert len(bench(tmp_path).results) == 2
