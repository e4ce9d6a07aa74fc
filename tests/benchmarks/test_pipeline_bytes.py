"""The claim that a pipeline sends what was predicted: what it runs, how it compares and what it judges."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "pipeline_bytes.py"
KINDS = ("activations", "gradients", "boundary", "boundary_gradients", "parameters")


@pytest.fixture(scope="module")
def counted(claim: ModuleType) -> ModuleType:
    """What its ranks run."""
    return sys.modules[claim.rank_main.__module__]


@pytest.fixture(scope="module")
def claim() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_pipeline_bytes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def predicted(*numbers: int, paper: int | None = None) -> dict[str, Any]:
    """What `predict` gives."""
    whole = sum(numbers[:4]) if paper is None else paper
    return {"kinds": dict(zip(KINDS, numbers, strict=True)), "paper": whole, "chunks": 4, "replicas_a_node": 0.5}


def rank(*numbers: int, kernel: int) -> dict[str, int]:
    """What a rank counts."""
    return {**dict(zip(KINDS, numbers, strict=True)), "kernel": kernel}


def test_every_split_is_run_and_the_hybrids_from_four_processes_on(claim: ModuleType) -> None:
    cases = claim.cases_of(["a"], [2, 4])
    found = {(case.model, case.mode, case.stages, case.ways) for case in cases}
    splits = {("pipeline", 2, 1), ("pipeline", 4, 1), ("graph", 1, 2), ("graph", 1, 4), ("hybrid", 2, 2)}
    assert found == {("gcn", *split) for split in splits} | {("gcnii", *s) for s in splits if s[0] != "graph"}
    assert len(cases) == len(found)


@pytest.mark.parametrize(
    ("ranks", "wrong", "exact"),
    [
        ([rank(60, 40, 0, 0, 0, kernel=100), rank(40, 60, 0, 0, 0, kernel=100)], "none", True),
        ([rank(60, 40, 0, 0, 0, kernel=100), rank(40, 61, 0, 0, 0, kernel=100)], "gradients", False),  # a byte
        ([rank(60, 0, 0, 0, 0, kernel=100), rank(140, 0, 0, 0, 0, kernel=100)], "activations, gradients", False),
        ([rank(60, 40, 0, 0, 8, kernel=100), rank(40, 60, 0, 0, 0, kernel=100)], "parameters", False),
    ],
)
def test_bytes_are_compared_kind_by_kind(claim: ModuleType, ranks: Any, wrong: str, exact: bool) -> None:
    row = claim.row_of(claim.Case("a", "gcn", 2, 1), predicted(100, 100, 0, 0, 0), ranks)
    assert row["wrong_kinds"] == wrong
    assert claim.exact(row) is exact
    off = claim.row_of(claim.Case("a", "gcn", 2, 1), predicted(100, 100, 0, 0, 0, paper=199), ranks)
    assert not claim.exact(off)


def test_the_kernel_sees_rows_and_a_ring_of_sums(claim: ModuleType) -> None:
    case, told = claim.Case("a", "gcn", 1, 4), predicted(0, 0, 400, 400, 80)
    ranks = [rank(0, 0, 100, 100, 20, kernel=230) for _ in range(4)]  # 20 bytes as 2 * 3 / 4 of them
    row = claim.row_of(case, told, ranks)
    assert row["kernel_over_counted_percent"] == 0
    assert claim.confirmed(row)
    assert claim.confirmed(claim.row_of(case, told, [{**each, "kernel": 234} for each in ranks]))
    for kernel in (225, 236):
        assert not claim.confirmed(claim.row_of(case, told, [{**each, "kernel": kernel} for each in ranks]))


def test_what_a_socket_sent_is_what_the_kernel_saw_arrive(counted: ModuleType) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as near, server.accept()[0] as far:
            reader = threading.Thread(target=far.recv, args=(100_000, socket.MSG_WAITALL))
            reader.start()
            before = counted.acknowledged_bytes()
            near.sendall(bytes(100_000))
            reader.join()
            end = time.monotonic() + 10
            while counted.acknowledged_bytes() - before < 100_000 and time.monotonic() < end:
                time.sleep(0.01)  # the last acknowledgement may be on its way
            assert counted.acknowledged_bytes() - before == 100_000


def test_transports_of_the_controls_count_wrong_and_send_right(
    counted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("send", "exchange"):
        monkeypatch.setattr(counted.Transport, name, lambda *args: "sent")
    rows = torch.zeros(3, 2)
    miscounting, forgetful = counted.Miscounting(), counted.Forgetful()
    assert miscounting.send(rows, 1, "rows", "gradients") == "sent"
    assert miscounting.send(rows, 1, "rows", "activations") == "sent"
    assert (miscounting.sent_bytes["gradients"], miscounting.sent_bytes["activations"]) == (-24, 24)
    assert forgetful.exchange([(1, rows)], [], "rows", "boundary_gradients") == "sent"
    assert forgetful.exchange([(1, rows)], [], "rows", "boundary") == "sent"
    assert (forgetful.sent_bytes["boundary_gradients"], forgetful.sent_bytes["boundary"]) == (-24, 0)


def judged(claim: ModuleType, **changes: Any) -> Any:
    """Judge a pipeline, its graph mode, and the controls."""
    whole = {"graph": "a", "processes": 2, "wrong_kinds": "none", "counted_bytes": 8, "predicted_bytes": 8}
    whole |= {"paper_bytes": 8, "kernel_over_counted_percent": 0.1, "counts": "right", "mode": "graph"}
    rows = [
        {**whole, "mode": "pipeline", "counted_bytes": 2, "predicted_bytes": 2, "paper_bytes": 2},
        whole,
        {**whole, "counts": "miscounting", "wrong_kinds": "activations, gradients"},
        {**whole, "counts": "forgetful", "wrong_kinds": "boundary_gradients", "kernel_over_counted_percent": 90.0},
        {**whole, "counts": "one node moved", "wrong_kinds": "boundary, boundary_gradients"},
    ]
    for number, key in (change.split("_", 1) for change in changes):
        rows[int(number[1:])][key] = changes[f"{number}_{key}"]
    return claim.judge(rows, claim.DEFAULTS)


def test_a_claim_needs_every_row_and_every_control(claim: ModuleType) -> None:
    good = judged(claim)
    assert good.passed
    assert "2 of 2 to the byte" in good.result
    assert "4.00x" in good.result
    for change in (
        {"r0_wrong_kinds": "gradients"},
        {"r1_kernel_over_counted_percent": -3.0},
        {"r2_wrong_kinds": "none"},
        {"r3_kernel_over_counted_percent": 1.0},
        {"r4_wrong_kinds": "none"},
    ):
        assert not judged(claim, **change).passed, change
