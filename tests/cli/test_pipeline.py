"""``gnnkit pipeline``: one process executes the plan; what it refuses, stores and continues."""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from shell import Shell

from gnnkit.bench import _pipeline_part, find_runs
from gnnkit.bench._pipeline_part import OwnRows
from gnnkit.pipeline import PipelineTrainer, _launch
from gnnkit.pipeline._launch import launched

SMALL = ("pipeline", "--dataset", "karate", "--model", "gcnii", "--layers", "4", "--hidden", "8", "--device", "cpu")
STAGES = (*SMALL, "--stages", "2", "--chunks", "3", "--set", "plan.partitioner=builtin")


def result(folder: Path) -> dict[str, Any]:
    (record,) = find_runs([folder])
    (row,) = record.results
    return row


def test_it_prints_a_table_stores_the_run_and_writes_the_json_file(gnnkit_: Shell, folder: Path) -> None:
    words = (*STAGES, "--epochs", "6", "--seeds", "2", "--checkpoint-every", "2", "--json", "deep/result.json")
    out = gnnkit_(*words, "--set", "train.eval_every=4", "--recompute", "--refresh", "2")
    (record,) = find_runs([folder / "runs"])
    facts = json.loads((folder / "deep/result.json").read_text())
    assert facts["seeds"] == [0, 1]
    assert (facts["mode"], facts["stages"], facts["ways"], facts["chunks"]) == ("pipeline", 2, 1, 3)
    assert facts["layers_by_stage"] == [2, 2]
    assert facts["epochs_run"] == 12
    assert facts["epoch_seconds"] > 0
    assert set(facts["bytes_by_kind"].values()) == {0}  # one process
    assert facts["peak_memory_bytes_by_rank"] == [facts["peak_memory_bytes"]]
    assert facts["test_mean"] == sum(row["test"] for row in record.results) / 2
    evaluated = [row["epoch"] for row in record.history(0) if "valid" in row]
    assert evaluated == [4, 6]
    assert record.results[0]["best_epoch"] in evaluated
    assert record.spec["config"]["train"]["refresh"] == 2
    assert record.spec["config"]["train"]["recompute"] is True
    assert f"stored in runs/{record.folder.name}" in out
    assert {path.name for path in record.folder.iterdir()} == {
        *("run.json", "results.jsonl", "lock", "seed-0.epochs.jsonl", "seed-1.epochs.jsonl")
    }


def test_a_report_shows_modes_beside_each_other(gnnkit_: Shell, folder: Path) -> None:
    gnnkit_(*STAGES, "--epochs", "2")
    gnnkit_(*SMALL, "--epochs", "2", "--mode", "graph", "--ways", "2")
    gnnkit_(*SMALL, "--epochs", "2", "--mode", "hybrid", "--stages", "2", "--ways", "2")
    rows = [record.results[0] for record in find_runs([folder / "runs"])]
    shapes = {row["mode"]: (row["stages"], row["ways"], row["chunks"]) for row in rows}
    assert shapes == {"pipeline": (2, 1, 3), "graph": (1, 2, 1), "hybrid": (2, 2, 8)}
    out = gnnkit_("report", "runs")
    assert all(f"plan.mode={mode}" in out for mode in shapes)
    table = list(csv.DictReader((folder / "report/results.csv").read_text().splitlines()))
    assert [row["mode"] for row in table] == ["graph 2", "hybrid 2 x 2", "pipeline 2"]
    assert all(float(row["epoch_seconds"]) > 0 and row["epoch_bytes"] == "0" for row in table)  # one process
    page = (folder / "report/report.html").read_text()
    assert all(f'<td class="">{row["mode"]}</td>' in page for row in table)
    command = "gnnkit pipeline --dataset karate --model gcnii --seeds 1 --set plan.mode=graph --set model.num_layers=4"
    assert f"{command} --set model.hidden_channels=8 --set plan.ways=2 --set train.epochs=2</code>" in page


def test_a_run_says_what_has_cut_the_nodes(gnnkit_: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*SMALL, "--epochs", "1")
    gnnkit_(*words, "--out", "uncut")
    gnnkit_(*words, "--chunks", "2", "--stages", "2", "--set", "plan.partitioner=builtin", "--out", "asked")
    with monkeypatch.context() as patch:
        patch.setattr(_pipeline_part, "find_spec", lambda name: None)
        gnnkit_(*words, "--chunks", "2", "--stages", "2", "--out", "without", "--json", "facts.json")
    rows = {name: result(folder / name) for name in ("uncut", "asked", "without")}
    assert [row["partitioner"] for row in rows.values()] == ["none", "builtin", "builtin"]
    assert not any("pymetis" in row["versions"] for row in rows.values())
    assert json.loads((folder / "facts.json").read_text())["partitioner"] == "builtin"
    assert find_runs([folder / "without"])[0].spec["partitioner"] == "builtin"


def test_a_run_cut_by_metis_says_its_version(gnnkit_: Shell, folder: Path) -> None:
    pytest.importorskip("pymetis")
    gnnkit_(*SMALL, "--epochs", "1", "--chunks", "2", "--stages", "2")
    (record,) = find_runs([folder / "runs"])
    assert record.spec["partitioner"] == record.results[0]["partitioner"] == "metis"
    assert record.spec["versions"]["pymetis"] == record.results[0]["versions"]["pymetis"] == version("pymetis")


def test_an_interrupted_run_goes_on_to_the_same_weights(
    gnnkit_: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*STAGES, "--epochs", "20", "--checkpoint-every", "5")
    gnnkit_(*words, "--out", "unbroken")
    real = PipelineTrainer.train_epoch

    def until_13(self: PipelineTrainer) -> float:
        if self.epoch == 12:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(PipelineTrainer, "train_epoch", until_13)
        assert gnnkit_.fails(*words) == "interrupted; the same command continues"
    assert "seed 0: continued after epoch 10" in gnnkit_(*words)
    unbroken, broken = result(folder / "unbroken"), result(folder / "runs")
    same = ("weights_sha256", "test", "valid", "best_epoch", "epochs_run")
    assert [broken[name] for name in same] == [unbroken[name] for name in same]
    assert find_runs([folder / "runs"])[0].epochs_executed() == 12 + 10


def test_features_in_a_file_give_the_same_weights(gnnkit_: Shell, folder: Path) -> None:
    gnnkit_(*STAGES, "--epochs", "3")
    gnnkit_(*STAGES, "--epochs", "3", "--set", "features.kind=memmap", "--out", "mapped")
    assert result(folder / "mapped")["weights_sha256"] == result(folder / "runs")["weights_sha256"]
    assert list((folder.parent / "cache" / "features").glob("karate-*.rows"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "gin"), "model: expected one of gcn, sage, resgcn, gcnii, gat, which are deep (got 'gin')"),
        (("--dataset", "mutag"), "mutag: expected a task of one class a node"),
        (("--dataset", "coral"), "dataset: expected a name that `gnnkit datasets` lists (got 'coral')"),
        (("--mode", "data"), "override plan.mode: expected pipeline or graph or hybrid (got 'data')"),
        (("--stages", "5"), "plan.stages: expected at most the 4 layers (got 5)"),
        (("--stages", "2", "--chunks", "35"), "plan.chunks: expected at most as many cells as the 34 nodes"),
        (("--mode", "graph", "--stages", "2"), "plan.stages: expected 1 in graph mode (got 2)"),
        (("--ways", "2"), "plan.ways: expected 1 in pipeline mode (got 2)"),
        (("--mode", "hybrid"), "plan.stages: expected a number of stages in hybrid mode, --stages (got none)"),
        (("--mode", "hybrid", "--stages", "2"), "plan.ways: expected more than 1 in hybrid mode, --ways 2 (got 1)"),
        (("--set", "model.alpha=3"), "model.alpha: expected a number in [0, 1] (got 3.0)"),
        (("--model", "gat", "--hidden", "9"), "model.heads: expected a divisor of hidden_channels=9 (got 4)"),
        (("--refresh", "0"), "train.refresh: expected a number >= 1"),
        (("--precision", "half"), "override train.precision: expected full or bf16 (got 'half')"),
        (("--set", "features.kind=pinned"), "features.kind: expected memory or memmap in a pipeline (got 'pinned')"),
        (("--set", "dataset=cora"), "--set: expected settings (got another dataset or model"),
        (("--set", "train.lr=0"), "train.lr: expected a number > 0 (got 0.0)"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_loaded(
    words: tuple[str, ...], said: str, gnnkit_: Shell, folder: Path
) -> None:
    assert said in gnnkit_.fails(*SMALL, *words)
    assert not list(folder.iterdir())


def test_a_number_of_processes_that_does_not_fit_is_refused_once(
    gnnkit_: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "3", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    said = gnnkit_.fails(*SMALL, "--stages", "2")
    expected = "processes: expected 2, for 2 stages of 1 ways, or one that executes all (got 3)"
    assert said == f"rank 0: {expected}; start torchrun with --nproc-per-node 2"
    assert "No such option: --stage" in gnnkit_.fails(*SMALL, "--stage", "2")
    monkeypatch.setenv("RANK", "1")
    waited: list[float] = []
    monkeypatch.setattr(_launch.time, "sleep", waited.append)  # torchrun ends it there once rank 0 has spoken
    assert gnnkit_.fails(*SMALL, "--stages", "2").startswith(f"rank 1: {expected}")
    assert "No such option: --stage" in gnnkit_.fails(*SMALL, "--stage", "2")
    assert waited == [_launch._SECONDS_TO_SPEAK] * 2


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--model", "mixhop"), ("--model", "gcnii", "--mode")])
def test_rank_0_is_heard_however_late_it_comes(words: tuple[str, ...], tmp_path: Path) -> None:
    late = "import os, time\nif os.environ.get('RANK') == '0':\n    time.sleep(8)\n"
    (tmp_path / "sitecustomize.py").write_text(late)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "gnnkit.pipeline"]
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *launcher, "--dataset", "karate", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("gnnkit: ")]
    assert len(told) == 1, done.stderr[-3000:]
    assert told[0].startswith(("gnnkit: rank 0: model: expected", "gnnkit: Option '--mode' requires"))


def test_a_cluster_that_sets_one_of_torchruns_numbers_is_no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "none of ours")
    with launched(torch.device("cpu"), threads=torch.get_num_threads()) as here:
        assert (here.rank, here.processes) == (0, 1)
    monkeypatch.setenv("RANK", "5")
    assert _launch.torchrun_place() == (5, 8)
    monkeypatch.delenv("WORLD_SIZE")
    assert _launch.torchrun_place() == (0, 1)


@pytest.mark.parametrize(
    ("rank", "processes", "said"),
    [
        ("0", "two", "WORLD_SIZE: expected a whole number from 1 to 1000000000, as torchrun sets it (got 'two')"),
        ("2", "2", "RANK: expected a whole number from 0 to 1, as torchrun sets it (got '2')"),
        ("0", "", "WORLD_SIZE: expected a whole number from 1 to 1000000000, as torchrun sets it (got '')"),
    ],
)
def test_numbers_that_are_none_of_torchruns_are_refused(
    rank: str, processes: str, said: str, gnnkit_: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", processes)
    assert gnnkit_.fails(*SMALL) == said


def test_the_module_is_the_command(gnnkit_: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gnnkit.pipeline", *SMALL[1:], "--epochs", "1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("gnnkit.pipeline", run_name="__main__")
    assert ended.value.code == 0
    assert "stored in runs/karate-gcnii-" in gnnkit_.capsys.readouterr().out


def test_threads_are_shared_unless_somebody_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(before))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        with launched(torch.device("cpu")) as here:
            assert torch.get_num_threads() == 1
            assert (here.rank, here.processes, here.backend) == (0, 1, "none")
        with launched(torch.device("cpu"), threads=3):
            assert torch.get_num_threads() == 3
        monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "2")
        with launched(torch.device("cpu")):
            assert torch.get_num_threads() == 3  # torch has read it when it was loaded
    finally:
        torch.set_num_threads(before)


def test_own_rows_are_views_where_they_lie_together() -> None:
    rows, nodes = torch.arange(8.0).view(4, 2), torch.tensor([5, 2, 7, 0])
    store = OwnRows(rows, nodes, 9)
    assert (store.shape, store.dtype) == (torch.Size([9, 2]), torch.float32)
    part = store.read(torch.tensor([2, 7]))
    assert torch.equal(part, rows[1:3])
    assert part.data_ptr() == rows[1:].data_ptr()
    assert torch.equal(store.read(torch.tensor([0, 5])), rows[[3, 0]])
    assert store.read(torch.tensor([], dtype=torch.int64)).shape == (0, 2)
    with pytest.raises(ValueError, match=r"ids: expected nodes of this process's part \(got 1 others\)"):
        store.read(torch.tensor([5, 3]))
