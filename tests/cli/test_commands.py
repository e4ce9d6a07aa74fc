"""The command line: every command on a small graph."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from shell import BENCH, DATA, Shell

import gnnkit
from gnnkit.bench import LINK_MODELS, MODELS, _doctor, find_runs
from gnnkit.bench._progress import watch
from gnnkit.datasets import card, names
from gnnkit.pipeline import adapters

# ------------------------------------------------------------------ what works


def test_a_result_on_standard_output_stands_there_alone(gnnkit_: Shell, folder: Path) -> None:
    code, out, err = gnnkit_.run([*BENCH, "--seeds", "2", "--json", "-"])
    assert code == 0
    assert json.loads(out)["seeds"] == [0, 1]
    assert "±" in err
    assert not (folder / "-").exists()


def test_bench_prints_a_table_and_writes_the_json_file(gnnkit_: Shell, folder: Path) -> None:
    out = gnnkit_(*BENCH, "--seeds", "2", "--out", "runs", "--json", "deep/down/result.json")
    (record,) = find_runs([folder / "runs"])
    facts = json.loads((folder / "deep/down/result.json").read_text())
    assert facts["seeds"] == [0, 1]
    assert facts["test_mean"] == pytest.approx(sum(row["test"] for row in record.results) / 2)
    assert facts["epochs_run"] == 6
    table = [line for line in out.splitlines() if line.lstrip().startswith("karate")]
    assert len(table) == 1
    assert f"{100 * facts['test_mean']:.2f} ± {100 * facts['test_std']:.2f}" in table[0]
    assert "set for karate gcn: train.max_epochs=3" in out
    assert f"stored in runs/{record.folder.name}" in out


def test_bench_stores_in_runs_and_ten_seeds_when_nothing_is_said(gnnkit_: Shell, folder: Path) -> None:
    gnnkit_("bench", "karate", "--model", "mlp", "--set", "train.max_epochs=1")
    (record,) = find_runs([folder / "runs"])
    assert [row["seed"] for row in record.results] == list(range(10))
    assert record.results[0]["device"].split(":")[0] in ("cpu", "cuda")


def test_bench_says_a_line_a_seed_where_nobody_watches(gnnkit_: Shell) -> None:
    out = gnnkit_(*BENCH, "--seeds", "2")
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("seed")] == ["seed 0", "seed 1"]
    assert "\x1b" not in out
    assert "\r" not in out
    assert "━" not in out  # no bar


def test_bench_again_trains_nothing_and_prints_the_same(gnnkit_: Shell, folder: Path) -> None:
    first = gnnkit_(*BENCH, "--seeds", "2")
    (record,) = find_runs([folder / "runs"])
    assert gnnkit_(*BENCH, "--seeds", "2") == first
    assert find_runs([folder / "runs"]) == [record]
    assert record.epochs_executed() == 6


def test_bench_takes_several_settings(gnnkit_: Shell, folder: Path) -> None:
    gnnkit_(*BENCH, "--seeds", "1", "--set", "model.hidden_channels=5", "--set", "train.lr=0.1")
    (record,) = find_runs([folder / "runs"])
    assert record.spec["config"]["model"]["hidden_channels"] == 5
    assert record.spec["config"]["train"]["lr"] == 0.1
    assert record.spec["overrides"] == ["train.max_epochs=3", "model.hidden_channels=5", "train.lr=0.1"]


def test_report_prints_the_table_and_writes_four_files(gnnkit_: Shell, folder: Path) -> None:
    for model in ("gcn", "mlp"):
        gnnkit_("bench", "karate", "--model", model, "--seeds", "2", "--set", "train.max_epochs=3")
    out = gnnkit_("report", "runs", "--out", "pages")
    files = {"results.csv", "results.tex", "curves.png", "report.html"}
    assert {path.name for path in (folder / "pages").iterdir()} == files
    assert all((folder / "pages" / name).stat().st_size > 100 for name in files)
    assert all(f"wrote pages/{name}" in out for name in files)
    rows = [line.split()[:2] for line in out.splitlines() if line.lstrip().startswith("karate")]
    assert rows == [["karate", "gcn"], ["karate", "mlp"]]


def test_report_takes_single_runs(gnnkit_: Shell, folder: Path) -> None:
    for seeds in ("1", "2"):
        gnnkit_(*BENCH, "--seeds", seeds)
    (record,) = find_runs([folder / "runs"])
    gnnkit_("report", str(record.folder))
    assert (folder / "report" / "report.html").exists()


def test_datasets_lists_every_dataset(gnnkit_: Shell) -> None:
    lines = gnnkit_("datasets").splitlines()
    assert [line.split()[0] for line in lines[1:]] == names()


@pytest.mark.parametrize("name", names())
def test_datasets_shows_a_card_without_any_file(name: str, gnnkit_: Shell, tmp_path: Path) -> None:
    out = gnnkit_("datasets", name, "--root", str(tmp_path / "absent"))
    facts = card(name)
    for word in ("title", "task", facts.task, "metric", facts.metric, "splits", "source", "licence"):
        assert word in out
    place = "none needed" if facts.folder is None else str(tmp_path / "absent" / facts.folder)
    assert place in out
    assert not (tmp_path / "absent").exists()


def test_datasets_download_loads_an_embedded_set(gnnkit_: Shell) -> None:
    assert "34 nodes" in gnnkit_("datasets", "karate", "--download")


@pytest.mark.skipif(
    not (DATA and (Path(DATA) / "Planetoid").is_dir()),
    reason="needs the Planetoid raw files: set GNNKIT_DATA to the folder that holds Planetoid/",
)
def test_datasets_download_processes_raw_files(gnnkit_: Shell, tmp_path: Path) -> None:
    gnnkit_("datasets", "cora", "--download", "--root", str(DATA))
    assert list((tmp_path / "cache").rglob("*.pt"))


def test_models_lists_every_model(gnnkit_: Shell) -> None:
    listed, deep = gnnkit_("models").split("\n\n")
    assert [line.split()[0] for line in listed.splitlines()] == [*MODELS, *LINK_MODELS]
    assert deep == f"gnnkit pipeline, deep: {', '.join(adapters.MODELS)}\n"


def test_doctor_finds_this_installation_healthy(gnnkit_: Shell) -> None:
    out = gnnkit_("doctor")
    assert gnnkit.__version__ in out
    assert "spmm is right" in out
    assert "BROKEN" not in out


@pytest.mark.parametrize("check", ["_kernels", "_root", "_cache"])
def test_doctor_names_what_is_broken_and_exits_with_1(
    check: str, gnnkit_: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("it hurts")

    monkeypatch.setattr(_doctor, check, fail)
    code, out, err = gnnkit_.run(["doctor"])
    assert code == 1
    assert out.count("BROKEN: RuntimeError: it hurts") == 1
    assert "Traceback" not in out + err


def test_doctor_finds_a_cache_that_cannot_be_written(gnnkit_: Shell, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    code, out, _ = gnnkit_.run(["doctor"])
    assert code == 1
    assert "BROKEN" in out


@pytest.mark.parametrize("command", [(), ("bench",), ("report",), ("datasets",), ("models",), ("doctor",)], ids=str)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_no_error(command: tuple[str, ...], option: str, gnnkit_: Shell) -> None:
    assert "Usage: gnnkit" in gnnkit_(*command, option)


def test_no_command_shows_the_help_and_no_empty_error(gnnkit_: Shell) -> None:
    _, out, err = gnnkit_.run([])
    assert "Usage: gnnkit" in out + err
    assert err.strip() != "gnnkit:"


# ------------------------------------------------------------------ as a process of its own


def process(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `gnnkit` as a user does."""
    return subprocess.run([sys.executable, "-m", "gnnkit.cli", *words], capture_output=True, text=True, check=False)


def test_a_process_trains_prints_plain_lines_and_exits_with_0(folder: Path) -> None:
    done = process(*BENCH, "--seeds", "2", "--json", "result.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("seed 0: test ")
    assert json.loads((folder / "result.json").read_text())["seeds"] == [0, 1]


def test_a_process_with_an_error_exits_with_1_and_one_line() -> None:
    done = process("bench", "nope", "--model", "gcn")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gnnkit: dataset: expected a name ")


def test_a_process_with_debug_shows_where_the_error_arose() -> None:
    done = process("--debug", "datasets", "nope")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.rstrip().endswith("(got 'nope')")
    assert "_load.py" in done.stderr


# ------------------------------------------------------------------ where somebody watches


def test_a_terminal_sees_a_bar_that_goes_and_the_lines_that_stay() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    row = {"seed": 0, "test": 0.5, "valid": 0.25, "epochs_run": 4, "wall_seconds": 1.0}
    with watch(console, "karate gcn", 1, "accuracy") as progress:
        progress.begin(0, 2, 4)
        for epoch in (3, 4):
            progress.epoch(0, {"epoch": epoch, "loss": 0.125, "valid": 0.25})
        progress.end(row)
    shown = file.getvalue()
    assert "\x1b" in shown
    assert "karate gcn" in shown
    assert "seed 0: continued after epoch 2" in shown
    assert "seed 0: test 50.00  valid 25.00  epochs 4  1.0 s" in shown


def test_a_pipe_sees_the_lines_alone() -> None:
    file = io.StringIO()
    with watch(Console(file=file, width=100), "karate gcn", 1, "accuracy") as progress:
        progress.begin(0, 0, 4)
        progress.epoch(0, {"epoch": 1, "loss": 0.125, "valid": 0.25})
        progress.end({"seed": 0, "test": 0.5, "valid": 0.25, "epochs_run": 4, "wall_seconds": 1.0})
    assert file.getvalue() == "seed 0: test 50.00  valid 25.00  epochs 4  1.0 s\n"
