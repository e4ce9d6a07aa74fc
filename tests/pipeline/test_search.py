"""Predictions for sizes alone, against the simulator, against arithmetic by hand, and in words."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from gnnkit import Adjacency
from gnnkit.pipeline import (
    HARDWARE,
    Costs,
    Hardware,
    Job,
    Workload,
    adapters,
    inspect,
    measure_saved,
    memory_of,
    plan,
    predict,
    replication_model,
    search,
    simulate,
    volume_ratio,
)
from gnnkit.pipeline._verdict import GAIN, preferred, verdict

PRODUCTS = Job(64, 256, 2_449_029, 123_718_280, features=100, classes=47)
PAPERS = Job(64, 256, 111_059_956, 1_615_685_872, features=128, classes=172)
A100 = HARDWARE["a100"]


def ring(nodes: int) -> Adjacency:
    """Every node reads the four after it."""
    ids = torch.arange(nodes)
    return Adjacency.from_edge_index(torch.cat([torch.stack([ids.roll(-k), ids]) for k in range(1, 5)], 1), nodes)


@pytest.mark.parametrize("link", [math.inf, 1e6, 1e5])
@pytest.mark.parametrize(("stages", "layers"), [(1, 4), (2, 4), (4, 8), (3, 7)])
def test_a_pipelines_prediction_is_what_is_simulated(stages: int, layers: int, link: float) -> None:
    hardware = Hardware(flops=1e9, memory_bytes_per_second=1e9, link_bytes_per_second=link, overhead_seconds=1e-5)
    job = Job(layers, 16, 960, 4 * 960, features=16, classes=16)
    chunks = 1 if stages == 1 else 4 * stages
    split = predict(job, replace(hardware, latency_seconds=1e-4), stages, 1, chunks, lambda ways: 0.0)
    cut = plan(ring(960), layers, stages=stages, chunks=chunks, partitioner=torch.arange(960) * chunks // 960)
    work = Workload.of(cut, ring(960), [job.shape] * layers, first_channels=16)
    ends = Costs.estimate(work, hardware, ends=(256, 256))
    found = simulate(work, replace(hardware, latency_seconds=1e-4), ends).epoch_seconds
    assert split.epoch_seconds == pytest.approx(found, rel=0.1)  # ends differ by their dropouts
    assert split.sent_bytes == simulate(work, hardware, ends).volume.total


@pytest.mark.parametrize("link", [math.inf, 1e6, 1e5])
def test_graph_modes_prediction_is_near_what_is_simulated(link: float) -> None:
    hardware = Hardware(flops=1e9, memory_bytes_per_second=1e9, link_bytes_per_second=link, overhead_seconds=1e-5)
    job = Job(4, 16, 960, 4 * 960, features=16, classes=16)
    cut = plan(ring(960), 4, ways=4, partitioner=torch.arange(960) % 4)  # every row is read by all other ways
    work = Workload.of(cut, ring(960), [job.shape] * 4, first_channels=16)
    split = predict(job, hardware, 1, 4, 1, lambda ways: 3.0)
    found = simulate(work, hardware, end_parameters=job.end_parameters)
    assert split.epoch_seconds == pytest.approx(found.epoch_seconds, rel=0.1)
    assert split.sent_bytes == found.volume.total


def test_products_on_eight_a100_by_hand() -> None:
    split = predict(PRODUCTS, A100, 8, 1, 64, replication_model(50.5))
    # 123.7e6 edges read 1,032 bytes at each of 64 hops, forward and back: 16.3 TB
    gather = (123_718_280 * (1024 + 8) + 2_449_029 * 1024) * 2 * 64 / (0.5 * 2039e9 * 8)
    # 2 operations for each row and weight, three times (forward, and twice backward): 6.2e13
    dense = 3 * 2 * 2_449_029 * (256 * 257) * 64 / (0.5 * 19.5e12 * 8)
    touches = 3 * 12 * 2_449_029 * 1024 * 64 / (0.5 * 2039e9 * 8)
    assert 2.0 < gather < 2.1
    assert 0.7 < dense < 0.9
    bubbles = (64 + 7) / 64
    assert split.epoch_seconds == pytest.approx((gather + dense + touches) * bubbles, rel=0.1)
    assert split.sent_bytes == 2 * 7 * 2_449_029 * 256 * 4
    assert split.memory.tables == 2_449_029 * 8 * 256 * 12


def test_bytes_of_the_modes_stand_in_the_papers_ratio() -> None:
    guess = replication_model(PAPERS.edges / PAPERS.nodes)
    ways, stages = predict(PAPERS, A100, 1, 8, 1, guess), predict(PAPERS, A100, 8, 1, 32, guess)
    ratio = volume_ratio(PAPERS.nodes, round(guess(8) * PAPERS.nodes), PAPERS.layers, 8)
    assert ways.sent_bytes / stages.sent_bytes == pytest.approx(ratio)


@pytest.mark.parametrize("name", ["gcn", "sage", "resgcn", "gcnii", "gat"])
def test_models_are_as_wide_as_the_adapters_and_keep_as_much(name: str) -> None:
    network, job = adapters.MODELS[name](24, 64, 8, 4), Job(4, 64, 100, 400, features=24, classes=8, model=name)
    assert inspect(network, 24)[1] == job.shape
    assert network.shares == job.shares
    hop, guess = measure_saved(network, 24).hops[1], job.saved.hops[1]
    assert guess.row + guess.source == pytest.approx(hop.row + hop.source, rel=0.1)
    assert guess.edge >= hop.edge


def test_memory_is_that_of_an_even_plan() -> None:
    job = Job(6, 16, 960, 4 * 960, features=24, classes=8)
    cut = plan(ring(960), 6, stages=2, chunks=4, partitioner=torch.arange(960) // 240)
    work = Workload.of(cut, ring(960), [job.shape] * 6, first_channels=16)
    assert job.end_parameters == (24 * 16 + 16, 16 * 8 + 8)
    exact = memory_of(work, job.saved, in_channels=24, end_parameters=job.end_parameters)
    guess = predict(job, A100, 2, 1, 4, lambda ways: 0.0 if ways == 1 else 16 / 960).memory
    assert guess == max(exact, key=lambda memory: memory.total)


@settings(max_examples=20)
@given(st.integers(2, 2000), st.floats(0.5, 200.0), st.floats(0.05, 1.0))
def test_replicas_are_those_of_a_random_cut_times_the_quality(ways: int, degree: float, quality: float) -> None:
    guess = replication_model(degree, quality=quality)
    assert guess(1) == 0
    assert guess(ways) == pytest.approx(quality * (ways - 1) * (1 - (1 - 1 / ways) ** degree))
    assert guess(ways) <= guess(2 * ways) <= degree
    fixed = replication_model(degree, {ways: 0.5 * min(1.0, degree)})
    assert fixed(ways) == pytest.approx(0.5 * min(1.0, degree)) or fixed(ways) == ways - 1
    assert fixed(1) == 0


def test_a_random_cut_replicates_as_the_model_says() -> None:
    draw = torch.Generator().manual_seed(0)
    src = torch.arange(3000).repeat_interleave(12)
    adj = Adjacency.from_edge_index(torch.stack([src, torch.randint(3000, (36000,), generator=draw)]), 3000)
    for ways in (2, 7, 30):
        cut = plan(adj, 1, ways=ways, partitioner=torch.randint(ways, (3000,), generator=draw))
        work = Workload.of(cut, adj, [PRODUCTS.shape], first_channels=256)
        assert int(work.given.sum()) / 3000 == pytest.approx(replication_model(12.0, quality=1.0)(ways), rel=0.02)


def test_between_measured_figures_their_share_is_interpolated() -> None:
    random_cut = replication_model(20.0, quality=1.0)
    guess = replication_model(20.0, {2: 0.2 * random_cut(2), 32: 0.4 * random_cut(32)})
    shares = [guess(ways) / random_cut(ways) for ways in (2, 8, 32, 512)]
    assert shares == pytest.approx([0.2, 0.3, 0.4, 0.4])


def test_every_split_that_divides_the_gpus_is_tried_and_the_best_fits() -> None:
    found = search(PRODUCTS, 64, A100)
    assert sorted((split.stages, split.ways) for split in found.splits) == [(2**k, 2 ** (6 - k)) for k in range(7)]
    assert found.best.fits
    fitting = [split.epoch_seconds for split in found.splits if split.fits]
    assert found.best.epoch_seconds == min(fitting)
    assert fitting == sorted(fitting)
    assert {split.mode for split in found.splits} == {"graph", "hybrid", "pipeline"}
    few = search(replace(PRODUCTS, layers=3), 64, A100)
    assert sorted(split.stages for split in few.splits) == [1, 2]


def test_a_latency_costs_a_hop_one_and_the_sum_of_gradients_those_of_a_tree() -> None:
    job = Job(3, 16, 4096, 0, features=16, classes=16)  # no edge: nothing hides a transfer
    free = Hardware(flops=1e30, memory_bytes_per_second=1e30)
    late = predict(job, replace(free, latency_seconds=1.0), 1, 1024, 1, lambda ways: 0.0).epoch_seconds
    assert late == pytest.approx(2 * 3 + 2 * 10)


def test_where_memory_is_short_activations_are_computed_twice() -> None:
    split = next(each for each in search(PRODUCTS, 8, A100).splits if each.stages == 8)
    assert (split.recompute, split.fits) == (True, True)
    roomy = next(each for each in search(PRODUCTS, 8, replace(A100, memory_bytes=1e15)).splits if each.stages == 8)
    assert not roomy.recompute
    assert roomy.memory.activations > 5 * split.memory.activations
    assert roomy.memory.tables == split.memory.tables
    assert roomy.epoch_seconds < split.epoch_seconds


@pytest.mark.parametrize(
    ("job", "gpus", "hardware", "words"),
    [
        (PRODUCTS, 1, A100, "nothing to split"),
        (replace(PRODUCTS, layers=1), 8, A100, "not predicted to help: one layer"),
        (replace(PRODUCTS, model="sage"), 8, A100, "does not fit into memory"),
        (PRODUCTS, 64, replace(A100, memory_bytes=1e15), "times faster than graph mode"),
        (PAPERS, 8, A100, "No split is predicted to fit"),
        (replace(PAPERS, layers=4), 1024, A100, "not predicted to help: 4 layers are too few"),
        (PRODUCTS, 2, replace(A100, link_bytes_per_second=1e15, memory_bytes=1e15), "the cut is cheap"),
    ],
)
def test_it_says_plainly_whether_pipelining_helps(job: Job, gpus: int, hardware: Hardware, words: str) -> None:
    assert words in search(job, gpus, hardware).verdict


def test_where_few_numbers_of_stages_divide_the_gpus_that_is_the_reason() -> None:
    for gpus, why in ((257, "no number of stages from 2 to 64 divides 257"), (254, "of 2 to 64 stages only 2 can")):
        found = search(PRODUCTS, gpus, A100)
        assert f"not predicted to help: {why}" in found.verdict
        named = next(
            g for g in range(gpus - 1, 0, -1) if f" {g} GPUs are predicted to take less time: " in found.verdict
        )
        better = search(PRODUCTS, named, A100).best
        assert better.stages > 1
        assert better.epoch_seconds * GAIN < found.best.epoch_seconds
        assert f"{better.stages} stages x {better.ways} ways" in found.verdict
        assert any(line.startswith("stages divide the number of GPUs") for line in found.assumptions)
    assert "GPUs are" not in search(PRODUCTS, 256, A100).verdict
    found = search(replace(PRODUCTS, model="gat"), 67, replace(A100, memory_bytes=30e9))
    assert not found.best.fits
    assert " GPUs are predicted to fit: " in found.verdict


def test_graph_mode_is_the_best_unless_stages_are_faster_by_what_counts() -> None:
    found = search(PRODUCTS, 64, A100)
    alone = next(split for split in found.splits if split.stages == 1)
    staged = next(split for split in found.splits if split.stages == 16)
    for seconds, better in ((1.04, alone), (1.06, staged)):
        one, other = replace(alone, epoch_seconds=seconds), replace(staged, epoch_seconds=1.0)
        assert preferred([other, one]).stages == better.stages
        said = verdict(PRODUCTS, 64, [other, one], 2, better is staged, None)
        assert ("Pipelining is predicted to help: 1.06 times" in said) == (better is staged)
        assert ("not predicted to help: 4.0% faster than graph mode is less than counts, 5%" in said) == (
            better is alone
        )
        assert preferred([other, replace(one, fits=False)]).stages == 16
    near = replace(alone, epoch_seconds=staged.epoch_seconds * 1.02)
    assert "do not fit into memory" in verdict(PRODUCTS, 64, [staged, near], 2, True, None)
    none = [replace(split, fits=False) for split in (alone, staged)]
    assert preferred(none).memory.total == min(split.memory.total for split in none)


def test_below_the_crossover_graph_mode_wins_and_at_it_stages_do() -> None:
    roomy = replace(A100, memory_bytes=1e18)
    depth = search(PAPERS, 1024, roomy).crossover_layers
    assert depth is not None
    assert 2 < depth < 64
    for layers, stages in ((depth - 1, False), (depth, True)):
        splits = search(replace(PAPERS, layers=layers), 1024, roomy).splits
        alone = next(split for split in splits if split.stages == 1)
        assert (splits[0].epoch_seconds * GAIN < alone.epoch_seconds) == stages
    assert search(PRODUCTS, 2, replace(roomy, link_bytes_per_second=1e15)).crossover_layers is None


def test_assumptions_name_speeds_their_source_the_cut_and_memory() -> None:
    text = "\n".join(search(PRODUCTS, 8, A100, measured={8: 0.9}).assumptions)
    for words in (
        "one latency",
        "2 ceil(log2 W) latencies",
        "19.5 TFLOP/s",
        "NVIDIA's data sheets",
        "latency, overhead and efficiency are guesses",
        "25 GB/s",
        "measured 8=0.9",
        "50%",
        "90%",
    ):
        assert words in text
    assert "0.25 of a random cut's" in "\n".join(search(PRODUCTS, 8, A100).assumptions)


def test_a_thousand_gpus_take_less_than_two_seconds() -> None:
    start = time.process_time()
    search(PAPERS, 1024, A100)
    assert time.process_time() - start < 2


def test_wrong_sizes_are_refused() -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("layers", {"layers": 0}),
        ("hidden", {"hidden": 2.5}),
        ("edges", {"edges": -1}),
        ("classes", {"classes": True}),
        ("model", {"model": "mlp"}),
    ]
    for name, change in wrong:
        with pytest.raises(ValueError, match=rf"{name}: expected .* \(got .*\)$"):
            replace(PRODUCTS, **change)
    with pytest.raises(ValueError, match=r"gpus: expected a number from 1 to the 2449029 nodes \(got 0\)"):
        search(PRODUCTS, 0, A100)
    with pytest.raises(ValueError, match=r"stages: expected 1 to 64, the number of layers \(got 65\)"):
        predict(PRODUCTS, A100, 65, 1, 1, replication_model(1.0))
    with pytest.raises(ValueError, match=r"ways and chunks: expected 1 to 2449029 cells \(got 4 ways of 1000000"):
        predict(PRODUCTS, A100, 1, 4, 1_000_000, replication_model(1.0))
    for measured in ({1: 0.5}, {4: 3.5}, {4: -0.1}, {4: math.nan}):
        with pytest.raises(ValueError, match=r"replication: expected W >= 2"):
            replication_model(10.0, measured)
    with pytest.raises(ValueError, match=r"degree: expected"):
        replication_model(math.inf)
    with pytest.raises(ValueError, match=r"quality: expected"):
        replication_model(1.0, quality=0.0)
