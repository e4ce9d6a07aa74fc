"""The claim pipeline_accuracy: its intervals, what it judges, and what it keeps over a kill."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from gnnkit.datasets import load

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "claims"))
import pipeline_accuracy as claim

_stored = sys.modules["_stored"]  # the claim's


def test_intervals_are_students() -> None:
    mean, half = claim.interval([1.0, 2.0, 3.0])
    assert (mean, round(half, 4)) == (2.0, 2.4841)  # t(0.975, 2) = 4.3027, over the root of 3


def rows(drop: float) -> list[dict[str, Any]]:
    """Make results in which 16 chunks lose so many points, and controls ten."""
    lost = {"full graph": 0.0, "4 chunks": 0.0, "16 chunks": drop}
    found = []
    for run in claim.runs(["cora"], ["gcnii"]):
        noise = 0.0 if run.variant == "full graph" else 0.01 * run.seed
        test = 80.0 + 0.1 * run.seed - lost.get(run.variant, 10.0) - noise
        found.append({**asdict(run), "test": test})
    return found


@pytest.mark.parametrize(("drop", "holds"), [(0.0, "yes"), (1.3, "yes"), (1.6, "NO")])
def test_what_is_judged(drop: float, holds: str) -> None:
    lines = {line["variant"]: line for line in claim.judge(rows(drop))}
    assert list(lines) == list(claim.VARIANTS)
    assert lines["16 chunks"]["holds"] == holds
    assert lines["4 chunks"]["holds"] == "yes"
    assert all(lines[control]["holds"] == "" for control in claim.CONTROLS)
    assert all(lines[control]["seeds"] == claim.CONTROL_SEEDS for control in claim.CONTROLS)


def test_controls_are_judged_against_refreshed_chunks_of_their_own_kind() -> None:
    made = rows(0.0)
    for row in made:
        row["test"] += 3.0 if row["variant"] == claim.RANDOM else 0.0
    found = claim.of_controls(made)
    assert set(found) == set(claim.CONTROLS)
    assert all((round(mean, 6), round(half, 6)) == (-3.0, 0.0) for mean, half in found.values())


def test_chunks_of_controls_are_random_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Planned(Exception):  # noqa: N818
        pass

    def plan(*_: object, partitioner: object, **__: object) -> None:
        raise Planned(partitioner)

    def words(linear: nn.Linear, features: Tensor, dropout: float) -> nn.Module:
        return linear

    monkeypatch.setattr(claim, "Words", words)
    monkeypatch.setattr(claim, "plan", plan)
    monkeypatch.setattr(claim, "load", lambda _: load("karate"))
    for variant in claim.VARIANTS:
        with pytest.raises(Planned) as told:
            claim.execute(claim.Run("cora", "resgcn", variant, 1))
        assert isinstance(told.value.args[0], str) == (not variant.startswith(claim.RANDOM))


def test_finished_runs_are_kept_over_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "runs.jsonl"
    wanted = list(claim.runs(["cora"], ["gcnii"]))[:3]
    done: list[claim.Run] = []

    def execute(run: claim.Run) -> dict[str, Any]:
        done.append(run)
        return asdict(run)

    monkeypatch.setattr(_stored, "ProcessPoolExecutor", lambda number, context: ThreadPoolExecutor(number))
    _stored.finish(wanted[:2], execute, lambda run: run.key, store, 1)
    store.write_text(store.read_text() + '{"key": "half a li')
    found = _stored.finish(wanted, execute, lambda run: run.key, store, 1)
    assert done == wanted
    assert [row["variant"] for row in found] == [run.variant for run in wanted]
    assert len(store.read_text().splitlines()) == 3
