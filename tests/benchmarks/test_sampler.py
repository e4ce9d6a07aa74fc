"""The claim about sampling, on a small graph: right batches pass its check, and wrong ones are named."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "sampler.py"


@pytest.fixture(scope="module")
def claim() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_sampler", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def problem(claim: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A graph on which batches of eight nodes are sampled."""
    monkeypatch.setitem(claim.GRAPHS, "small", (500, 9_000))
    monkeypatch.setattr(claim, "BATCH", 8)
    return claim.Problem("small")


def test_right_batches_pass_the_check_on_one_thread_and_on_two(claim: ModuleType, problem: Any) -> None:
    found = []

    def sample(thread: int, batch: int) -> None:
        found.append((batch, problem.wrong(batch, samples(thread, batch))))

    samples = problem.ours()
    for threads in (1, 2):
        claim.over(sample, threads)()
    assert sorted(found) == [(batch, "") for batch in range(claim.BATCHES) for _ in range(2)]


def test_wrong_batches_are_named(problem: Any) -> None:
    hops = problem.ours()(0, 0)
    one_less = hops._replace(row=hops.row[1:], col=hops.col[1:], entries=hops.entries[1:])
    moved = hops._replace(entries=(hops.entries + 1) % problem.adj.num_edges)
    twice = hops._replace(nodes=torch.cat([hops.nodes[:-1], hops.nodes[:1]]))
    assert "as many edges as its fan-out says" in problem.wrong(0, one_less)
    assert problem.wrong(0, moved) == "an edge is not the graph's"
    assert "each once" in problem.wrong(0, twice)
    assert problem.wrong(0, problem.ours(replace=True)(0, 0)) == "an edge is drawn twice"


def test_the_thresholds_are_for_both_peers_and_for_two_threads(claim: ModuleType) -> None:
    row = {"torch_sparse_ns_per_edge": 20.0, "dgl_ns_per_edge": 10.0}
    assert claim.holds(row, 10.0)
    assert not claim.holds(row, 10.1)
    assert not claim.holds({**row, "torch_sparse_ns_per_edge": 19.9}, 10.0)
    assert claim.holds({**row, "ours_scaling": 0.86, "memcpy_scaling": 1.0}, 10.0)
    assert not claim.holds({**row, "ours_scaling": 0.84, "memcpy_scaling": 1.0}, 10.0)
    assert not claim.holds({**row, "ours_scaling": 1.0, "memcpy_scaling": 1.0, "locked_scaling": 0.95}, 10.0)
