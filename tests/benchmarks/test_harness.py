"""The harness, the result rows and the README's table; nothing here asserts how long something takes."""

import gc
import importlib
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

# A spawned child imports its target by name, so the targets live in a module that is on the path.
TARGETS = """
import os

def allocate(num_bytes):
    block = bytearray(b"x") * num_bytes
    return len(block)

def fail():
    raise KeyError("on purpose")

def die():
    os._exit(3)
"""


def _load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # On the path and not only loaded from its file: a spawned child gets this sys.path and imports from it.
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _load("_harness", monkeypatch)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _load("_rows", monkeypatch)


@pytest.fixture
def run_claims(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _load("run_claims", monkeypatch)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    (tmp_path / "_memory_targets.py").write_text(TARGETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("_memory_targets")
    del sys.modules["_memory_targets"]  # the next test's lies in another folder


def test_interleave_counts_and_rotates(harness: ModuleType) -> None:
    calls: list[str] = []
    timings = harness.interleave({name: lambda name=name: calls.append(name) for name in "abc"}, 6, warmup=2)
    assert {name: len(timing.samples) for name, timing in timings.items()} == {"a": 6, "b": 6, "c": 6}
    rounds = ["".join(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(rounds) == 8
    assert len(set(rounds[2:])) == 6  # every permutation: nobody has a fixed neighbour or place
    for timing in timings.values():
        assert timing.q1_seconds <= timing.median_seconds <= timing.q3_seconds


def test_interleave_of_two_takes_turns_in_coming_first(harness: ModuleType) -> None:
    calls: list[str] = []
    harness.interleave({name: lambda name=name: calls.append(name) for name in "ab"}, 4, warmup=0)
    assert sorted(calls[::2]) == ["a", "a", "b", "b"]


def test_interleave_leads_each_repetition_with_the_same_case(harness: ModuleType) -> None:
    calls: list[str] = []
    timings = harness.interleave({name: lambda name=name: calls.append(name) for name in "ab"}, 2, warmup=1, lead=2)
    assert "".join(calls) == "aaabbb" + "aaabbb" + "bbbaaa"
    assert [len(timing.samples) for timing in timings.values()] == [2, 2]


def test_interleave_keeps_the_collector_out_and_restores_it(harness: ModuleType) -> None:
    seen: list[bool] = []
    assert gc.isenabled()
    harness.interleave({"case": lambda: seen.append(gc.isenabled())}, repeats=2, warmup=1)
    assert seen == [False] * 3
    assert gc.isenabled()

    def fail() -> None:
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        harness.interleave({"case": fail})
    assert gc.isenabled()


def test_timing_quartiles(harness: ModuleType) -> None:
    timing = harness.Timing.of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (timing.q1_seconds, timing.median_seconds, timing.q3_seconds) == (2.0, 3.0, 4.0)
    assert timing.samples == (5.0, 1.0, 3.0, 2.0, 4.0)
    assert harness.Timing.of([7.0]) == harness.Timing(7.0, 7.0, 7.0, (7.0,))


@pytest.mark.parametrize(
    ("cases", "repeats", "warmup", "lead"),
    [({}, 1, 0, 0), ({"a": int}, 0, 0, 0), ({"a": int}, 1, -1, 0), ({"a": int}, 1, 0, -1)],
)
def test_interleave_refuses(harness: ModuleType, cases: dict[str, Any], repeats: int, warmup: int, lead: int) -> None:
    with pytest.raises(ValueError, match=r"\(got .*\)$"):
        harness.interleave(cases, repeats, warmup, lead)


def test_floor_and_bandwidth(harness: ModuleType) -> None:
    assert harness.floor_seconds(6, 4, 25, 1000.0) == 1.0
    assert harness.copy_bandwidth(num_bytes=1 << 16, repeats=3) > 0
    with pytest.raises(ValueError, match=r"bandwidth > 0 .*\(got 0\)$"):
        harness.floor_seconds(1, 1, 1, 0)
    with pytest.raises(ValueError, match=r"num_bytes >= 1 \(got 0\)$"):
        harness.copy_bandwidth(num_bytes=0)


def test_row_error_is_relative_to_the_row(harness: ModuleType) -> None:
    expected = torch.tensor([[100.0, 1.0], [0.0, 0.01], [0.0, 0.0]])
    actual = expected.clone()
    actual[0, 1] += 1
    assert harness.row_error(actual, expected) == pytest.approx(0.01)
    assert harness.row_error(expected, expected) == 0
    actual = expected.clone()
    actual[2, 0] = 1e-20
    assert harness.row_error(actual, expected) > 1  # a row of zeros is met exactly or not at all
    actual[0, 0] = float("nan")
    assert not harness.row_error(actual, expected) <= 1
    assert harness.row_error(torch.tensor([3.0, 4.1]), torch.tensor([3.0, 4.0])) == pytest.approx(
        0.1 / 12.5**0.5, rel=1e-4
    )


@pytest.mark.slow
def test_peak_memory_sees_an_allocation(harness: ModuleType, targets: ModuleType) -> None:
    num_bytes = 200_000_000
    assert harness.peak_rss_anon_bytes(targets.allocate, num_bytes) == pytest.approx(num_bytes, rel=0.2)


@pytest.mark.slow
def test_peak_memory_reports_the_childs_failure(harness: ModuleType, targets: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"Traceback(?s:.*)KeyError: 'on purpose'"):
        harness.peak_rss_anon_bytes(targets.fail)
    with pytest.raises(RuntimeError, match=r"\(got exit code 3\)"):
        harness.peak_rss_anon_bytes(targets.die)


def test_peak_memory_wants_an_importable_function(harness: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"top level of a module \(got <function"):
        harness.peak_rss_anon_bytes(lambda: None)


def _claim(rows: ModuleType, name: str = "copy", passed: bool = True, result: str = "2.0× peer") -> Any:
    table = [
        {"case": "a", "ours_ms": 1.25, "peer_ms": None},
        {"case": "b", "ours_ms": float("nan"), "note": "x|y"},
    ]
    return rows.Claim(name, "what | it\nmeasured", "python x.py", result, table, passed, "caught")


@pytest.mark.parametrize("passed", [True, False])
def test_write_leaves_valid_json_and_says_the_outcome_last(
    rows: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], passed: bool
) -> None:
    path = rows.write(_claim(rows, passed=passed), tmp_path / "results")
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["copy.json"]
    document = json.loads(path.read_text())
    assert document["passed"] is passed
    assert document["rows"][0] == {"case": "a", "ours_ms": 1.25, "peer_ms": None}
    assert document["rows"][1]["ours_ms"] == "nan"  # JSON has no NaN
    assert set(document["versions"]) == {"python", "torch", "torch-geometric", "numba", "numpy", "gnnkit"}
    assert document["threads"] == torch.get_num_threads()
    assert document["hardware"]["cores"] >= 1
    assert document["hardware"]["memory_bytes"] > 2**20
    assert {"cpu", "transparent_hugepage", "THP_MEM_ALLOC_ENABLE"} <= set(document["hardware"])
    assert document["date"].endswith("+00:00")
    assert str(BENCHMARKS.parent) not in path.read_text()
    assert not platform.node() or platform.node() not in path.read_text()
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == f"{'PASS' if passed else 'FAIL'} copy"
    assert "1.25" in output


def test_commit_tells_clean_from_dirty_and_from_no_repository(rows: ModuleType, tmp_path: Path) -> None:
    assert rows.commit(tmp_path) == "none"
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    (tmp_path / "code.py").write_text("1")
    for arguments in (["init"], ["add", "."], [*identity, "commit", "-m", "first", "--no-gpg-sign"]):
        assert rows._git(tmp_path, *arguments) is not None
    clean = rows.commit(tmp_path)
    assert len(clean) == 12
    (tmp_path / "README.md").write_text("a claim's own output")
    assert rows.commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert rows.commit(tmp_path) == f"{clean}-dirty"


@pytest.fixture
def project(run_claims: ModuleType, rows: ModuleType, tmp_path: Path) -> dict[str, Path]:
    """A README with markers, a folder of results and a folder of claims that pass, fail and crash."""
    (tmp_path / "README.md").write_text(f"head\n{run_claims.BEGIN}\n{run_claims.END}\ntail\n")
    results, claims = tmp_path / "results", tmp_path / "claims"
    rows.write(_claim(rows, "copy"), results)
    rows.write(_claim(rows, "wrong", passed=False), results)
    claims.mkdir()
    (claims / "good.py").write_text("print('PASS good')")
    (claims / "bad.py").write_text("raise SystemExit(1)")
    return {"readme": tmp_path / "README.md", "results": results, "claims": claims}


def test_table_is_rebuilt_idempotently_and_checked(
    run_claims: ModuleType, project: dict[str, Path], rows: ModuleType
) -> None:
    readme = project["readme"]
    assert run_claims.main(["--check"], **project) == 1
    assert run_claims.main(["good"], **project) == 0
    text = readme.read_text()
    assert text.startswith("head\n")
    assert text.endswith("\ntail\n")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert "what \\| it measured" in lines[2]
    assert "| 2.0× peer |" in lines[2]
    assert "| **FAIL** 2.0× peer |" in lines[3]
    assert run_claims.main(["--check"], **project) == 0
    assert run_claims.main(["good"], **project) == 0
    assert readme.read_text() == text
    rows.write(_claim(rows, "copy", result="2.1× peer"), project["results"])
    assert run_claims.main(["--check"], **project) == 1
    assert readme.read_text() == text  # a check writes nothing


def test_a_failing_claim_fails_the_run(
    run_claims: ModuleType, project: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_claims.main([], **project) == 1
    assert "FAIL bad" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"bad, good \(got nosuch\)$"):
        run_claims.main(["nosuch"], **project)


@pytest.mark.parametrize("text", ["", "{end}{begin}", "{begin}", "{begin}{begin}{end}"])
def test_readme_without_its_markers_is_refused(run_claims: ModuleType, project: dict[str, Path], text: str) -> None:
    project["readme"].write_text(text.format(begin=run_claims.BEGIN, end=run_claims.END))
    with pytest.raises(ValueError, match=r"once each \(got \d and \d of them\)$"):
        run_claims.main(["good"], **project)
