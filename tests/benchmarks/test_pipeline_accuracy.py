"""The claim pipeline_accuracy: its intervals, what it judges, and what it keeps over a kill."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "claims"))
import pipeline_accuracy as claim


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


def test_finished_runs_are_kept_over_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "runs.jsonl"
    wanted = list(claim.runs(["cora"], ["gcnii"]))[:3]
    done: list[claim.Run] = []

    class Here:
        """A pool that works in this process."""

        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None: ...

        def imap_unordered(self, _: object, missing: list[claim.Run]) -> list[dict[str, Any]]:
            done.extend(missing)
            return [asdict(run) for run in missing]

    monkeypatch.setattr(claim.multiprocessing, "get_context", lambda _: type("C", (), {"Pool": lambda _, n: Here()})())
    claim.finish(wanted[:2], store, 1)
    store.write_text(store.read_text() + '{"key": "half a li')
    found = claim.finish(wanted, store, 1)
    assert done == wanted
    assert [row["variant"] for row in found] == [run.variant for run in wanted]
    assert len(store.read_text().splitlines()) == 3
