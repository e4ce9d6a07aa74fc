"""The store: nothing half-written is read, damage is named, one process writes at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gnnkit.bench import find_runs, read_run
from gnnkit.bench._store import RunWriter, run_key

SPEC: dict[str, Any] = {
    "dataset": "karate",
    "model": "gcn",
    "key": "0123abcd",
    "config": {"train": {"lr": 0.01}},
    "created": "2026-01-01T00:00:00+00:00",
}


def result(seed: int) -> dict[str, Any]:
    """A row as the benchmark writes it: the nested versions stand before the end."""
    return {
        "seed": seed,
        "test": 0.1 + 0.2 + seed / 7,
        "overrides": ["train.lr=0.02"],
        "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
        "device": "cpu",
    }


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[RunWriter]:
    """A run being written."""
    writer = RunWriter(tmp_path / "runs", SPEC)
    yield writer
    writer.close()


# ------------------------------------------------------------------ what is written is read


def test_a_run_lies_in_a_folder_named_after_it(writer: RunWriter, tmp_path: Path) -> None:
    assert writer.folder == tmp_path / "runs" / "karate-gcn-0123abcd"
    record = writer.record()
    assert (record.folder, record.spec, record.results) == (writer.folder, SPEC, [])
    assert record.epochs_executed() == 0
    assert record.history(0) == []


def test_results_are_read_to_the_bit_in_the_order_of_seeds(writer: RunWriter) -> None:
    for seed in (2, 0, 1):
        writer.add_result(result(seed))
    assert writer.record().results == [result(0), result(1), result(2)]


def test_a_finished_seed_drops_its_checkpoint_and_no_other(writer: RunWriter) -> None:
    for seed in (0, 1):
        writer.checkpoint(seed).write_bytes(b"state")
    writer.add_result(result(0))
    assert not writer.checkpoint(0).exists()
    assert writer.checkpoint(1).exists()
    writer.add_result(result(2))  # a seed without a checkpoint


def test_history_keeps_the_last_execution_of_an_epoch_and_the_count_keeps_all(writer: RunWriter) -> None:
    for epoch in (1, 2, 3, 4):
        writer.add_epoch(0, {"epoch": epoch, "attempt": 1})
    for epoch in (3, 4, 5):
        writer.add_epoch(0, {"epoch": epoch, "attempt": 2})
    writer.add_epoch(1, {"epoch": 1, "attempt": 1})
    record = writer.record()
    assert [(row["epoch"], row["attempt"]) for row in record.history(0)] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]
    assert len(record.history(1)) == 1
    assert record.epochs_executed() == 8


def test_a_second_writer_continues_what_a_first_one_began(writer: RunWriter, tmp_path: Path) -> None:
    writer.add_result(result(0))
    writer.close()
    later = RunWriter(tmp_path / "runs", {**SPEC, "created": "2030-01-01T00:00:00+00:00"})
    later.add_result(result(1))
    assert later.record().results == [result(0), result(1)]
    assert later.record().spec == SPEC  # what the run is was said at its beginning
    later.close()


def test_runs_of_other_keys_do_not_meet(writer: RunWriter, tmp_path: Path) -> None:
    other = RunWriter(tmp_path / "runs", {**SPEC, "key": "ffffffff"})
    other.add_result(result(0))
    assert writer.record().results == []
    other.close()


def test_the_key_depends_on_every_part_of_the_identity_and_on_no_order() -> None:
    identity = {"config": {"lr": 0.01, "epochs": 5}, "source": "abc"}
    assert run_key(identity) == run_key({"source": "abc", "config": {"epochs": 5, "lr": 0.01}})
    assert len(run_key(identity)) == 8
    others = [{**identity, "source": "abd"}, {**identity, "config": {"lr": 0.01, "epochs": 6}}, {}]
    assert len({run_key(identity), *map(run_key, others)}) == 4


# ------------------------------------------------------------------ half lines and damage


def test_a_last_line_cut_anywhere_is_as_if_never_written_and_the_next_line_is_whole(writer: RunWriter) -> None:
    writer.add_result(result(0))
    path = writer.folder / "results.jsonl"
    first = path.read_bytes()
    line = (json.dumps(result(1)) + "\n").encode()
    for length in range(len(line) - 1):
        path.write_bytes(first + line[:length])
        assert writer.record().results == [result(0)], f"{length} of {len(line)} bytes"
        writer.add_result(result(2))
        assert writer.record().results == [result(0), result(2)], f"{length} of {len(line)} bytes"


def test_a_last_line_that_lacks_only_its_end_of_line_counts(writer: RunWriter) -> None:
    path = writer.folder / "results.jsonl"
    path.write_text(json.dumps(result(0)))
    assert writer.record().results == [result(0)]
    writer.add_result(result(1))
    assert writer.record().results == [result(0), result(1)]


@pytest.mark.parametrize("name", ["results.jsonl", "seed-0.epochs.jsonl"])
def test_a_damaged_middle_line_is_a_value_error_that_names_file_and_line(writer: RunWriter, name: str) -> None:
    for seed in range(3):
        writer.add_result(result(seed))
        writer.add_epoch(0, {"epoch": seed + 1})
    path = writer.folder / name
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'":', b'";', 1) + lines[2])
    with pytest.raises(ValueError, match=rf"{name}: expected JSON in line 2 \(got ") as error:
        writer.record().history(0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "spec", '{"dataset": '])
def test_a_damaged_description_is_a_value_error_that_names_the_file(writer: RunWriter, content: str) -> None:
    (writer.folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json: expected JSON \(got "):
        read_run(writer.folder)


@pytest.mark.parametrize("content", ["[]", "5", "null", "{}", '{"dataset": "karate"}'])
def test_a_description_of_something_else_is_a_value_error(writer: RunWriter, content: str) -> None:
    (writer.folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"\(got "):
        find_runs([writer.folder.parent])


@pytest.mark.parametrize("row", ["{}", "[]", "5"])
def test_a_result_without_a_seed_is_a_value_error(writer: RunWriter, row: str) -> None:
    (writer.folder / "results.jsonl").write_text(row + "\n")
    with pytest.raises(ValueError, match=r"results\.jsonl: .*\(got "):
        read_run(writer.folder)


def test_a_folder_without_a_run_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a run with a run\.json \(got none\)"):
        read_run(tmp_path)


# ------------------------------------------------------------------ one writer at a time


def test_two_writers_of_one_run_are_a_value_error_until_the_first_is_done(writer: RunWriter, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"karate-gcn-0123abcd: expected no other gnnkit process .*\(got one\)"):
        RunWriter(tmp_path / "runs", SPEC)
    writer.add_result(result(0))  # the first goes on undisturbed
    writer.close()
    RunWriter(tmp_path / "runs", SPEC).close()


def test_reading_does_not_wait_for_the_writer(writer: RunWriter) -> None:
    writer.add_result(result(0))
    assert read_run(writer.folder).results == [result(0)]


HOLDER = """
import json, sys, time
from pathlib import Path
from gnnkit.bench._store import RunWriter
writer = RunWriter(Path(sys.argv[1]), json.loads(sys.argv[2]))
print("holding", flush=True)
time.sleep(600)
"""


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), json.dumps(SPEC)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "holding\n"
            with pytest.raises(ValueError, match="expected no other gnnkit process"):
                RunWriter(tmp_path, SPEC)
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
    RunWriter(tmp_path, SPEC).close()


# ------------------------------------------------------------------ finding runs


def stored(out: Path, key: str, lr: float, created: str) -> Path:
    """Write a run with a result and give its folder."""
    writer = RunWriter(out, {**SPEC, "key": key, "config": {"train": {"lr": lr}}, "created": created})
    writer.add_result(result(0))
    writer.close()
    return writer.folder


def test_a_folder_of_runs_gives_the_newest_of_each_setting(tmp_path: Path) -> None:
    old = stored(tmp_path, "aaaaaaaa", 0.01, "2026-01-01T00:00:00+00:00")
    new = stored(tmp_path, "00000000", 0.01, "2026-03-01T00:00:00+00:00")
    other = stored(tmp_path, "bbbbbbbb", 0.02, "2025-01-01T00:00:00+00:00")
    assert {record.folder for record in find_runs([tmp_path])} == {new, other}
    assert [record.folder for record in find_runs([old])] == [old]
    assert {record.folder for record in find_runs([tmp_path, old])} == {old, new, other}


def test_a_run_named_twice_is_read_once(tmp_path: Path) -> None:
    run = stored(tmp_path, "aaaaaaaa", 0.01, "2026-01-01T00:00:00+00:00")
    assert len(find_runs([run, tmp_path, run])) == 1


def test_a_folder_without_runs_is_a_value_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match=r"expected a run or a folder of runs \(got none\)"):
            find_runs([folder])
