"""The claim about pipelines, without its processes: what is predicted of given seconds, and what makes it fail."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import gnnkit
from gnnkit.pipeline import Hardware, HopShape, Workload, plan, simulate

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "pipeline.py"
HOPS = 4


@pytest.fixture(scope="module")
def claim() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_pipeline", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pairs(stages: int, ways: int, chunks: int) -> tuple[Any, Workload]:
    """64 nodes in even cells, 100 numbers a row, each read by the one 32 places on: two ways read all of each other."""
    adj = gnnkit.Adjacency.from_edge_index(torch.stack([torch.arange(64), torch.arange(64).roll(-32)]))
    cells = torch.arange(64) * ways * chunks // 64
    cut = plan(adj, HOPS, stages=stages, ways=ways, chunks=chunks, partitioner=cells, shuffle=False)
    return cut, Workload.of(cut, adj, [HopShape(100, 100, 100, 0, True, 1)] * HOPS, first_channels=100)


# as a rank without peers writes them down: outside, interior, outside, … of each hop, and what comes after the last
PIPELINE = {"update": 0.5, "forward": {0: [1.0], 1: [1.0]}, "backward": {0: [2.0], 1: [2.0]}}
GRAPH = {
    "update": 0.5,
    "forward": {0: [0.2, 0.1] * HOPS + [0.3]},
    "backward": {0: [0.3, 0.1] * HOPS + [0.2]},
}


def prediction(claim: ModuleType, **options: Any) -> Any:
    """Two stages of two chunks beside two ways."""
    cuts = {"pipeline": pairs(2, 1, 2), "graph": pairs(1, 2, 1)}
    plans, works = ({mode: each[place] for mode, each in cuts.items()} for place in (0, 1))
    costs = {mode: claim.costs_of(works[mode], [found] * 2) for mode, found in
             (("pipeline", PIPELINE), ("graph", GRAPH))}  # fmt: skip
    return claim.Prediction(works, costs, plans, **options)


def test_an_epoch_is_what_was_computed_and_waited_for(claim: ModuleType) -> None:
    predict = prediction(claim)
    assert predict.seconds("pipeline", math.inf) == pytest.approx(3 * (1 + 2) + 0.5)  # K + S - 1 = 3 passes
    whole = sum(GRAPH["forward"][0]) + sum(GRAPH["backward"][0]) + 0.5
    assert predict.seconds("graph", math.inf) == pytest.approx(whole)
    # 32 rows of 400 bytes at each hop, forward and back, each message behind 0.1 s; 2 (W - 1) / W of 4 parameters
    assert predict.seconds("graph", 32_000.0) == pytest.approx(whole + 2 * HOPS * (0.4 - 0.1) + 16 / 32_000)


def test_what_is_sent_keeps_the_processor_busy(claim: ModuleType) -> None:
    _, work = pairs(1, 2, 1)
    free, busy = (claim.costs_of(work, [GRAPH] * 2, seconds) for seconds in (0.0, 1e-6))
    assert busy.busy(0) - free.busy(0) == pytest.approx(2 * HOPS * 32 * 400 * 1e-6)


def test_a_slow_loopback_bounds_every_link(claim: ModuleType) -> None:
    bounded = prediction(claim, loopback=32_000.0)
    assert bounded.seconds("graph", math.inf) == pytest.approx(prediction(claim).seconds("graph", 32_000.0))


def test_where_ways_send_nothing_the_crossover_is_gone(claim: ModuleType) -> None:
    predict = prediction(claim)
    found = predict.crossover(low=1e3)
    assert found is not None
    assert predict.seconds("graph", found) == pytest.approx(predict.seconds("pipeline", found), rel=1e-4)
    assert claim.miss(predict.without_boundary().crossover(low=1e3), found) > claim.CROSSOVER


def test_figures_that_fit_no_stage_are_refused(claim: ModuleType) -> None:
    _, work = pairs(1, 2, 1)
    found = {**GRAPH, "forward": {0: [1.0, 1.0, 1.0]}}
    with pytest.raises(ValueError, match=r"9 figures of 4 hops \(got 3\)"):
        claim.costs_of(work, [found] * 2)


def rows_of(pipeline: float, graph: float, slope: float) -> list[dict[str, Any]]:
    return [
        {
            "bytes_per_second": speed,
            "pipeline_s": pipeline,
            "graph_s": graph + slope / speed,
            "pipeline_predicted_s": pipeline,
            "graph_predicted_s": graph + slope / speed,
        }
        for speed in (math.inf, 1e9, 3e8, 1e8)
    ]


def test_the_crossing_of_lines_in_seconds_a_byte_is_exact(claim: ModuleType) -> None:
    assert claim.crossing(rows_of(1.2, 1.0, 4e7)) == pytest.approx(2e8)
    assert claim.crossing(rows_of(0.9, 1.0, 4e7)) is None
    assert claim.crossing(rows_of(1.2, 1.0, 1e6)) is None


def test_medians_of_structures_are_taken_number_by_number(claim: ModuleType) -> None:
    assert claim.middle([{"a": {0: [1, 9]}}, {"a": {0: [5, 2]}}, {"a": {0: [3, 4]}}]) == {"a": {0: [3, 4]}}


def test_orders_differ_between_epochs_and_are_compared_by_rank(claim: ModuleType) -> None:
    _, work = pairs(2, 1, 2)
    costs = claim.costs_of(work, [PIPELINE] * 2)
    said = simulate(work, Hardware(), costs, [1, 0]).timeline
    for rank in (0, 1):
        assert claim.tasks(said, rank) == [
            *(("forward", 1), ("forward", 0), ("backward", 0), ("backward", 1)),
            ("update", -1),
        ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"plain": 1.59},  # efficiency 79.5 %
        {"predicted": 2.51e8},
        {"predicted": None},
        {"graph_predicted_s": 1.21},
        {"waiting": 1.1},  # waits first and is faster
        {"without": 2e8},
        {"order": False},
        {"equal": False},
        {"other_order": True},
    ],
)
def test_each_threshold_and_control_can_fail(claim: ModuleType, wrong: dict[str, Any]) -> None:
    def judged(**given: Any) -> Any:
        rows = rows_of(1.2, 1.0, 4e7)
        rows[0]["graph_predicted_s"] = given.get("graph_predicted_s", 1.0)
        took = {("plain", 1): [given.get("plain", 1.7)], ("plain", 2): [1.0], ("trainer", 1): [1.8]}
        took["plain twice", 1] = [1.9]
        took["waiting", 3e8] = [given.get("waiting", 1.4)]
        said = {"mode": "hybrid of 4", "order": True, "equal": True, "other_order": False}
        said |= {key: value for key, value in given.items() if key in said}
        return claim.judge(rows, took, given.get("predicted", 2.4e8), given.get("without"), [said])

    assert judged().passed
    assert not judged(**wrong).passed
