"""The command line: errors of one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shell import BENCH, Shell

from gnnkit import cli
from gnnkit.bench import find_runs


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("bench", "name"),
        ("bench karate", "--model"),
        ("bench karate --model", "--model"),
        ("bench nope --model gcn", "'nope'"),
        ("bench karat --model gcn", "did you mean 'karate'"),
        ("bench karate --model nope", "'nope'"),
        ("bench karate --model gcn --seeds 0", "--seeds"),
        ("bench karate --model gcn --seeds -3", "--seeds"),
        ("bench karate --model gcn --seeds two", "--seeds"),
        ("bench karate --model gcn --device tpu", "'tpu'"),
        ("bench karate --model gcn --device cuda:77", "'cuda:77'"),
        ("bench karate --model gcn --set lr=1", "'lr'"),
        ("bench karate --model gcn --set train.lr", "'train.lr'"),
        ("bench karate --model gcn --set train.lr=fast", "'fast'"),
        ("bench karate --model gcn --set train.lr=-1", "train.lr"),
        ("bench karate --model gcn --set train.max_epoch=1", "did you mean 'max_epochs'"),
        ("bench karate --model gcn --set dataset=cora", "dataset=cora"),
        ("bench karate --model gcn extra", "extra"),
        ("bench karate --model gcn --nope", "--nope"),
        ("nope", "nope"),
        ("--nope", "--nope"),
        ("report", "runs"),
        ("report absent", "absent"),
        ("report .", "run"),
        ("datasets nope", "'nope'"),
        ("datasets --download", "--download"),
        ("datasets karate karate", "karate"),
        ("models nope", "nope"),
        ("doctor nope", "nope"),
    ],
)
def test_a_wrong_command_prints_one_line_that_names_what_is_wrong(
    command: str, named: str, gnnkit_: Shell, folder: Path
) -> None:
    assert named.lower() in gnnkit_.fails(*command.split()).lower()
    assert list(folder.iterdir()) == []  # and it leaves nothing behind


def test_missing_raw_files_are_one_line_with_the_folder_and_the_command(
    gnnkit_: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> bytes:
        raise OSError("no network\nin this test")

    monkeypatch.setattr("gnnkit.datasets._files.read_url", refuse)
    root = tmp_path / "raw"
    for words in (("bench", "cora", "--model", "gcn"), ("datasets", "cora", "--download")):
        message = gnnkit_.fails(*words, "--root", str(root))
        assert str(root / "Planetoid/Cora/raw") in message
        assert f"gnnkit datasets cora --download --root {root}" in message


def test_an_out_folder_that_is_a_file_is_one_line(gnnkit_: Shell, folder: Path) -> None:
    (folder / "file").write_text("a file")
    assert "file" in gnnkit_.fails(*BENCH, "--out", "file")
    assert (folder / "file").read_text() == "a file"


def test_a_json_file_that_is_a_folder_is_one_line_and_the_run_is_kept(gnnkit_: Shell, folder: Path) -> None:
    (folder / "result.json").mkdir()
    assert "result.json" in gnnkit_.fails(*BENCH, "--seeds", "1", "--json", "result.json")
    assert len(find_runs([folder / "runs"])[0].results) == 1


def test_a_damaged_run_is_one_line_that_names_the_file(gnnkit_: Shell, folder: Path) -> None:
    gnnkit_(*BENCH, "--seeds", "1")
    (record,) = find_runs([folder / "runs"])
    (record.folder / "run.json").write_text("{")
    assert "run.json" in gnnkit_.fails("report", "runs")
    assert "run.json" in gnnkit_.fails(*BENCH, "--seeds", "2")


def test_runs_without_a_finished_seed_are_one_line(gnnkit_: Shell, folder: Path) -> None:
    gnnkit_(*BENCH, "--seeds", "1")
    (record,) = find_runs([folder / "runs"])
    (record.folder / "results.jsonl").unlink()
    assert "finished seed" in gnnkit_.fails("report", "runs")


def test_divergence_is_one_line_that_says_what_to_change(gnnkit_: Shell) -> None:
    assert "lower train.lr" in gnnkit_.fails(*BENCH, "--set", "train.lr=1e25", "--set", "train.max_epochs=50")


def test_more_memory_than_there_is_is_one_line(gnnkit_: Shell) -> None:
    gnnkit_.fails(*BENCH, "--set", "model.hidden_channels=1000000000000000000")


def test_an_error_that_nobody_foresaw_is_one_line_that_says_so(gnnkit_: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("gnnkit.bench.run_benchmark", fail)
    message = gnnkit_.fails(*BENCH)
    assert "KeyError" in message
    assert "--debug" in message


def test_control_c_says_that_the_same_command_continues(gnnkit_: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gnnkit.bench.run_benchmark", interrupt)
    code, _, err = gnnkit_.run(BENCH)
    assert code == 130
    assert err == "gnnkit: interrupted; the same command continues\n"


def test_debug_raises_the_error_itself(folder: Path) -> None:
    with pytest.raises(ValueError, match="'nope'"):
        cli.main(["--debug", "datasets", "nope"])
    with pytest.raises(SystemExit):  # and the next command is without it
        cli.main(["datasets", "nope"])
