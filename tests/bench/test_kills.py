"""A killed benchmark continues to the numbers of an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from short_runs import bench, scores

from gnnkit.bench import read_run

pytestmark = pytest.mark.usefixtures("own_cache")

# Imports once; then a child of its own, ended by SIGKILL at a moment given beforehand, for each attempt.
DRIVER = """
import io, json, os, signal, sys
import torch
import torch_geometric.datasets, torch_geometric.nn
import gnnkit.bench
from gnnkit import cli
from gnnkit.bench import _provenance, _store
from gnnkit.bench._store import RunWriter

_provenance.source_digest()

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def in_checkpoint(number):
    real, calls = torch.save, []
    def save(state, file):
        calls.append(1)
        if len(calls) < number:
            return real(state, file)
        buffer = io.BytesIO()
        real(state, buffer)
        file.write(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        file.flush()
        die()
    torch.save = save

def after_epoch(seed, epoch):
    real = RunWriter.add_epoch
    def add_epoch(self, at, row):
        real(self, at, row)
        if (at, row["epoch"]) == (seed, epoch):
            die()
    RunWriter.add_epoch = add_epoch

def in_result(seed, share):
    real = _store._append
    def append(path, row, sync=False):
        if path.name == "results.jsonl" and row["seed"] == seed:
            before = path.stat().st_size if path.exists() else 0
            real(path, row, sync)
            written = path.stat().st_size - before
            os.truncate(path, before + int(share * written))
            die()
        real(path, row, sync)
    _store._append = append

def in_description():
    def write(path, text):
        path.with_name(f".{path.name}.tmp").write_text(text[: len(text) // 2])
        die()
    _store._write_atomically = write

codes = []
for attempt in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        kind, *details = attempt["kill"] or ["never"]
        if kind != "never":
            globals()[kind](*details)
        try:
            cli.main(attempt["arguments"])
        except SystemExit as error:
            sys.stdout.flush()
            os._exit(int(error.code or 0))
        finally:
            os._exit(99)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""
KILLS: dict[str, list[list[Any]]] = {
    "three points": [["in_checkpoint", 2], ["after_epoch", 0, 27], ["after_epoch", 1, 13]],
    "everywhere": [
        ["in_description"],
        ["in_checkpoint", 1],
        ["after_epoch", 0, 1],
        ["in_checkpoint", 4],  # the last of seed 0: all its epochs are done
        ["in_result", 0, 0.5],
        ["in_result", 0, 1],  # the line is whole, the checkpoint still there
        ["after_epoch", 1, 10],  # between an epoch and its checkpoint
        ["after_epoch", 1, 20],
        ["after_epoch", 1, 20],  # the same again: no progress in between
        ["in_result", 2, 0.999],
    ],
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run karate without a kill, and with those of `KILLS` until it is done; give the folders."""
    folder = tmp_path_factory.mktemp("kills")
    settings = ["train.max_epochs=40", "train.checkpoint_every=10", "train.schedule=cosine"]
    words = ["bench", "karate", "--model", "gcn", "--seeds", "3", "--device", "cpu"]
    words += [word for setting in settings for word in ("--set", setting)]
    plan = [
        {"kill": kill, "arguments": [*words, "--out", str(folder / name)]}
        for name, kills in {"unbroken": [], **KILLS}.items()
        for kill in [*kills, None]
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(plan)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GNNKIT_CACHE": str(folder / "cache"), "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    codes = json.loads(done.stdout.splitlines()[-1])
    assert codes == [-signal.SIGKILL if step["kill"] else 0 for step in plan], done.stderr[-2000:]
    runs = {name: list((folder / name).iterdir()) for name in ["unbroken", *KILLS]}
    assert {len(found) for found in runs.values()} == {1}
    return {name: found[0] for name, found in runs.items()}


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_run_continues_to_the_numbers_of_an_unbroken_one(name: str, killed: dict[str, Path]) -> None:
    unbroken, record = read_run(killed["unbroken"]), read_run(killed[name])
    assert scores(record) == scores(unbroken)
    assert [row["seed"] for row in record.results] == [0, 1, 2]
    assert record.folder.name == unbroken.folder.name
    for seed in range(3):
        assert record.history(seed) == unbroken.history(seed)  # every epoch, not only the best


@pytest.mark.parametrize("name", KILLS)
def test_a_kill_costs_at_most_the_epochs_since_the_last_checkpoint(name: str, killed: dict[str, Path]) -> None:
    unbroken, record = read_run(killed["unbroken"]), read_run(killed[name])
    assert unbroken.epochs_executed() == 120
    assert 120 < record.epochs_executed() <= 120 + 10 * len(KILLS[name])


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_run_leaves_nothing_to_clear_away(name: str, killed: dict[str, Path]) -> None:
    files = {path.name for path in killed[name].iterdir()}
    assert files == {path.name for path in killed["unbroken"].iterdir()}
    for path in killed[name].glob("*.jsonl"):
        assert path.read_bytes().endswith(b"\n")


def test_the_unbroken_run_equals_one_in_another_process(killed: dict[str, Path], tmp_path: Path) -> None:
    overrides = ("train.max_epochs=40", "train.checkpoint_every=10", "train.schedule=cosine")
    assert scores(bench(tmp_path, seeds=range(3), overrides=overrides)) == scores(read_run(killed["unbroken"]))
