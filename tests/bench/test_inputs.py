"""Settings of sampled training, and runs that sample: the same protocol, stored and continued as every other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import bench, scores

from gnnkit.bench import Progress, recipe, run_benchmark
from gnnkit.bench._inputs import FeaturesConfig, LoaderConfig, SampledInputs, check
from gnnkit.datasets import load
from gnnkit.train import override

pytestmark = pytest.mark.usefixtures("own_cache")
SAMPLED = ("loader.kind=neighbor", "loader.fanout=5,3", "loader.batch_size=8", "train.max_epochs=6")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loader.kind=other", r"loader.kind: expected full or neighbor \(got 'other'\)"),
        ("loader.fanout=", r"loader.fanout: expected numbers of neighbours"),
        ("loader.fanout=5,-2", r"loader.fanout: expected numbers of neighbours.*\(got \(5, -2\)\)"),
        ("loader.batch_size=0", r"loader.batch_size: expected a number >= 1"),
        ("loader.prefetch=-1", r"loader.prefetch: expected a number >= 0"),
        ("features.kind=tape", r"features.kind: expected memory or memmap or pinned or cached \(got 'tape'\)"),
        ("features.policy=best", r"features.policy: expected degree or .*\(got 'best'\)"),
        ("features.cache_share=1.5", r"features.cache_share: expected a number"),
        ("features.window=-1", r"features.window: expected a number >= 0"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(recipe("karate", "sage"), setting)


def test_one_fanout_serves_every_layer() -> None:
    assert LoaderConfig(fanout=(7,)).per_layer(3) == [7, 7, 7]
    assert LoaderConfig(fanout=(15, 10, 5)).per_layer(3) == [15, 10, 5]
    with pytest.raises(ValueError, match=r"expected one number, or one a layer \(2\) \(got 15,10,5\)"):
        LoaderConfig(fanout=(15, 10, 5)).per_layer(2)


def test_settings_have_to_fit_each_other_and_the_task(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features.kind=memmap: expected loader.kind=neighbor with it \(got full\)"):
        bench(tmp_path, overrides=("features.kind=memmap",))
    with pytest.raises(ValueError, match=r"loader.kind=neighbor: expected a task on nodes .*\(got mutag, graph"):
        run_benchmark("mutag", "gin", out=tmp_path, overrides=["loader.kind=neighbor"])
    config = recipe("karate", "sage")
    check(config.loader, config.features, config.model.num_layers, "node_classification", "karate")


def test_pinned_memory_without_a_gpu_is_refused_before_a_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"features.kind=pinned: expected a CUDA device.*\(got no device\)"):
        bench(tmp_path / "runs", "sage", overrides=(*SAMPLED, "features.kind=pinned"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("model", ["sage", "gcn", "mlp"])
def test_a_killed_sampled_run_continues_to_the_numbers_of_an_unbroken_one(tmp_path: Path, model: str) -> None:
    settings = (*SAMPLED, "train.checkpoint_every=2")
    unbroken = bench(tmp_path / "unbroken", model, overrides=settings)

    def kill(seed: int, row: dict[str, float]) -> None:
        if (seed, row["epoch"]) == (1, 4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path / "killed", model, overrides=settings, progress=Progress(epoch=kill))
    torch.rand(3)
    assert scores(bench(tmp_path / "killed", model, overrides=settings)) == scores(unbroken)


def histories(folder: Path, *settings: str) -> Any:
    record = bench(folder, "sage", seeds=[0], overrides=(*SAMPLED, *settings))
    return [{key: row[key] for key in ("loss", "valid", "test")} for row in record.history(0)], record.results[0]


def test_where_the_features_lie_and_how_many_threads_sample_change_no_number(tmp_path: Path) -> None:
    memory, _ = histories(tmp_path)
    for settings in (
        ("features.kind=memmap",),
        ("features.kind=cached", "features.policy=hybrid", "features.cache_share=0.4"),
        ("features.kind=cached", "features.policy=lru", "loader.num_workers=3"),
        ("loader.num_workers=0", "loader.prefetch=0"),
    ):
        assert histories(tmp_path, *settings)[0] == memory


def test_a_file_of_features_serves_these_features_alone(tmp_path: Path) -> None:
    config = (LoaderConfig("neighbor"), FeaturesConfig(kind="memmap"), 2)
    for factor in (1, 3):  # as if a library underneath had come to make something else of the raw files
        data = load("karate")
        data.x = data.x * factor
        store = SampledInputs(data, *config).store
        assert torch.equal(store.read(torch.arange(34)), torch.eye(34) * factor)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "features").iterdir()}
    again = SampledInputs(load("karate"), *config).data
    assert (again.x, again.num_nodes) == (None, 34)
    assert len(files) == 2
    assert all(path.stat().st_mtime_ns == written for path, written in files.items())


@pytest.mark.parametrize("kind", ["memory", "memmap"])
def test_nodes_without_features_are_refused(kind: Any) -> None:
    data = load("karate")
    data.num_nodes, data.x = 34, None
    with pytest.raises(ValueError, match=r"karate: expected features of nodes to train on \(got NoneType\)"):
        SampledInputs(data, LoaderConfig("neighbor"), FeaturesConfig(kind=kind), 2)


def test_a_result_says_what_a_cache_did(tmp_path: Path) -> None:
    _, row = histories(tmp_path, "features.kind=cached", "features.cache_share=0.5")
    assert row["cache"]["hits"] > 0
    assert row["cache"]["storage_reads"] > 0
    assert "cache" not in histories(tmp_path)[1]
