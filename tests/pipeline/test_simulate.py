"""The simulated epoch's laws."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from small_plans import hops, random_graph, random_plan

from gnnkit import Adjacency
from gnnkit.pipeline import (
    HARDWARE,
    Costs,
    Hardware,
    NetworkSaved,
    PassSeconds,
    Plan,
    Saved,
    Timeline,
    Workload,
    crossover_link_speed,
    memory_of,
    schedule,
    simulate,
)

cuts = st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 4))


def make(cut: tuple[list[int], int, int], seed: int, layers_grad: bool = True) -> Workload:
    """Count a random graph under a random plan."""
    stages, ways, chunks = cut
    shapes = hops(sum(stages))
    shapes[0] = replace(shapes[0], message_grad=layers_grad)
    return Workload.of(
        random_plan(30, stages, ways, chunks, seed), random_graph(seed=seed), shapes, first_channels=8, shares=True
    )


def random_costs(work: Workload, seed: int) -> Costs:
    """Draw seconds, of about 1 a pass."""
    draw = torch.Generator().manual_seed(seed)
    sides = torch.rand(2, work.world_size, work.num_chunks, generator=draw) + 0.5
    return Costs.measured(work, *sides.tolist(), update=0.25, aggregate=0.7)


def links(seed: int) -> Hardware:
    """Draw a link on which a message takes about as long as a pass."""
    draw = torch.Generator().manual_seed(seed)
    return Hardware(link_bytes_per_second=10 ** float(torch.rand((), generator=draw) * 3 + 1), latency_seconds=0.01)


@settings(max_examples=20)
@given(cuts, st.integers(0, 10**6))
def test_no_epoch_is_shorter_than_its_busiest_rank_or_a_chunks_whole_way(
    cut: tuple[list[int], int, int], seed: int
) -> None:
    work = make(cut, seed)
    costs, hardware = random_costs(work, seed), links(seed)
    found = simulate(work, hardware, costs)
    ranks = range(work.world_size)
    assert found.epoch_seconds >= max(map(costs.busy, ranks)) - 1e-9
    for rank in ranks:
        assert found.timeline.busy_seconds(rank) == pytest.approx(costs.busy(rank))
    for way in range(work.ways):
        for chunk in range(work.num_chunks):
            path = costs.update
            for stage in range(work.num_stages):
                rank = stage * work.ways + way
                path += costs.forward[rank][chunk].total + costs.backward[rank][chunk].total
                if stage < work.num_stages - 1:
                    size = work.boundary_bytes(stage, way, chunk)
                    path += 2 * (hardware.transfer(size) + hardware.latency_seconds)
            assert found.epoch_seconds >= path - 1e-9
    assert 0 <= found.bubble_fraction < 1


@settings(max_examples=20)
@given(cuts, st.integers(0, 10**6), st.booleans())
def test_bytes_on_the_timeline_are_those_counted(cut: tuple[list[int], int, int], seed: int, grad: bool) -> None:
    work = make(cut, seed, grad)
    found = simulate(work, links(seed), random_costs(work, seed))
    assert sum(found.timeline.sent_bytes(rank) for rank in range(work.world_size)) == found.volume.total
    kinds: Counter[str] = Counter()
    for event in found.timeline.events:
        kinds[event.kind] += event.num_bytes
    assert kinds["send"] == found.volume.activations + found.volume.gradients
    assert kinds["boundary"] == found.volume.boundary + found.volume.boundary_gradients


@settings(max_examples=20)
@given(cuts, st.integers(0, 10**6))
def test_a_faster_link_and_less_latency_never_cost_time(cut: tuple[list[int], int, int], seed: int) -> None:
    work = make(cut, seed)
    costs = random_costs(work, seed)
    speeds = [1.0, 30.0, 100.0, 1e3, 1e5, math.inf]
    times = [
        simulate(work, Hardware(link_bytes_per_second=s, latency_seconds=0.1), costs).epoch_seconds for s in speeds
    ]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(times))
    assert simulate(work, Hardware(), costs).epoch_seconds <= times[-1] + 1e-9


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.permutations(range(4)), st.integers(0, 10**6))
def test_equal_passes_on_infinite_links_take_what_the_schedule_says(
    stages: int, ways: int, order: list[int], seed: int
) -> None:
    work = make(([2] * stages, ways, 4), seed)
    shape = [[1.0] * 4] * work.world_size
    costs = Costs.measured(work, shape, [[2.0] * 4] * work.world_size, aggregate=0.0)
    found = simulate(work, Hardware(), costs, order)
    assert found.epoch_seconds == pytest.approx((4 + stages - 1) * 3.0)
    planned = schedule(stages, order)
    assert found.bubble_fraction == pytest.approx(planned.bubble_fraction)
    for rank in range(work.world_size):
        done = [(e.kind, e.chunk) for e in found.timeline.of(rank, "forward", "backward")]
        assert done == [(task.kind, task.chunk) for task in planned.tasks[rank // work.ways]]


@settings(max_examples=20)
@given(cuts, st.integers(0, 10**6))
def test_events_of_a_rank_and_of_its_link_follow_each_other(cut: tuple[list[int], int, int], seed: int) -> None:
    work = make(cut, seed)
    line = simulate(work, links(seed), random_costs(work, seed)).timeline
    for rank in line.ranks:
        for kinds in (("forward", "backward", "update"), ("wait",), ("send", "boundary")):
            events = line.of(rank, *kinds)  # type: ignore[arg-type]
            late = 0.01 if kinds[0] == "send" else 0.0  # a message is there a latency after its link is free
            for earlier, later in pairwise(events):
                assert later.start_seconds >= earlier.end_seconds - late - 1e-9


def two_ways(interior_edges: int) -> Workload:
    """Two ways of two nodes each: node 0 and 2 read each other, 1 and 3 so many edges inside."""
    edges = [(0, 2), (2, 0)] + [(0, 1), (2, 3)] * interior_edges
    adj = Adjacency.from_edge_index(torch.tensor(edges).t(), 4)
    cut = Plan(((0, 1),), torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.int64))
    return Workload.of(cut, adj, hops(1, parameters=0), first_channels=8)


@pytest.mark.parametrize(("transfer", "epoch"), [(0.0, 12.0), (2.0, 12.0), (4.0, 12.0), (5.0, 14.0)])
def test_a_hop_hides_its_transfer_behind_the_rows_that_need_none(transfer: float, epoch: float) -> None:
    work = two_ways(interior_edges=2)
    assert work.waiting.tolist() == [[1], [1]]
    costs = Costs.measured(work, [[6.0]] * 2, [[6.0]] * 2, aggregate=1.0)  # 4 s of it inside, forward and backward
    speed = math.inf if transfer == 0 else 8 * 4 / transfer
    assert simulate(work, Hardware(link_bytes_per_second=speed), costs).epoch_seconds == pytest.approx(epoch)


def test_ways_add_up_their_gradients_over_trees() -> None:
    work = make(([1], 5, 1), 0)
    costs = Costs.measured(work, [[1.0]] * 5, [[1.0]] * 5, update=0.5)
    slow = simulate(work, Hardware(latency_seconds=2.0), costs)
    found = [(event.start_seconds, event.end_seconds) for event in slow.timeline.of(1, "update")]
    before = max(event.end_seconds for event in slow.timeline.of(1, "backward"))
    assert found == [pytest.approx((before + 6 * 2.0, before + 6 * 2.0 + 0.5))]  # 2 ceil(log2 5)
    link = Hardware(link_bytes_per_second=10.0, latency_seconds=2.0)
    assert [link.all_reduce(80, ways) for ways in (1, 2, 1024)] == pytest.approx([0.0, 8 + 4, 2 * 1023 / 1024 * 8 + 40])


def test_the_networks_ends_count_in_memory_in_what_is_summed_and_in_time() -> None:
    work = make(([1, 1], 2, 4), 0)
    ends = {"in_channels": 40, "end_parameters": (300, 50)}
    plain, whole = simulate(work, Hardware()), simulate(work, Hardware(), **ends)  # type: ignore[arg-type]
    assert whole.memory == memory_of(work, **ends)  # type: ignore[arg-type]
    assert whole.memory[0].parameters - plain.memory[0].parameters == 300 * 4 * 4
    assert whole.memory[0].inputs == 5 * plain.memory[0].inputs
    assert whole.volume.parameters - plain.volume.parameters == 2 * 350 * 4
    kept = NetworkSaved(4.0, (Saved(64.0, 0.0, 4.0),) * 2, 8.0)
    again = simulate(work, HARDWARE["a100"], saved=kept, recompute=True)
    assert again.memory == memory_of(work, kept, recompute=True)
    assert again.epoch_seconds > simulate(work, HARDWARE["a100"]).epoch_seconds
    link, costs = Hardware(link_bytes_per_second=100.0), random_costs(work, 0)
    apart = [simulate(work, link, costs, end_parameters=ends) for ends in ((0, 0), (300, 50))]
    starts = [[found.timeline.of(rank, "update")[0].start_seconds for rank in range(4)] for found in apart]
    later = [second - first for first, second in zip(*starts, strict=True)]
    assert later == pytest.approx([12.0, 12.0, 2.0, 2.0])  # 2 (W - 1) / W of 1200 and of 200 bytes


def test_rows_that_need_no_gradient_send_none_back() -> None:
    work = make(([1], 3, 2), 0, layers_grad=False)
    found = simulate(work, Hardware(), random_costs(work, 0))
    assert sum(found.timeline.sent_bytes(rank) for rank in range(3)) == int(work.given.sum()) * 8 * 4
    assert found.volume.boundary_gradients == 0


def test_a_stage_waits_while_two_chunks_are_leaving() -> None:
    cut = Plan(((0, 1), (1, 2)), torch.zeros(8, dtype=torch.int64), torch.arange(8) // 2)
    work = Workload.of(cut, random_graph(8), hops(2), first_channels=8)
    costs = Costs.measured(work, *[[[1.0] * 4] * 2] * 2)
    line = simulate(work, Hardware(link_bytes_per_second=2 * 8 * 4 / 3), costs).timeline  # 3 s a chunk
    waits = [(event.chunk, event.start_seconds, event.end_seconds) for event in line.of(0, "wait")]
    assert waits[:2] == [(2, pytest.approx(3.0), pytest.approx(4.0)), (3, pytest.approx(5.0), pytest.approx(7.0))]


def test_recomputing_costs_a_forward_pass_more() -> None:
    work = make(([2, 2], 1, 4), 0)
    plain, again = (Costs.estimate(work, HARDWARE["a100"], recompute=flag) for flag in (False, True))
    for rank in range(2):
        for chunk in range(4):
            extra = again.backward[rank][chunk].total - plain.backward[rank][chunk].total
            assert extra == pytest.approx(plain.forward[rank][chunk].total)


def test_estimates_follow_the_hardware() -> None:
    work = make(([2], 1, 1), 0)
    slow = Hardware(flops=1e9, memory_bytes_per_second=1e9)
    pass_of = Costs.estimate(work, slow, ends=(50, 20)).forward[0][0]
    # 30 rows, 120 edges, 8 wide, 10 numbers learned; ends: 2 * 30 * (50, 20) operations
    hop = (120 * (32 + 8) + 30 * 32 + 30 * 64 + 12 * 30 * 32) / 1e9
    assert pass_of.first == pytest.approx(3e-6)
    assert pass_of.last == pytest.approx(1.2e-6)
    assert [sum(each) for each in pass_of.hops] == pytest.approx([hop, hop])
    half = Costs.estimate(work, replace(slow, efficiency=0.5), ends=(50, 20)).forward[0][0]
    assert half.total == pytest.approx(2 * pass_of.total)


def test_measured_passes_keep_their_length() -> None:
    work = make(([2, 1], 2, 3), 0)
    costs = Costs.measured(work, [[3.0] * 3] * 4, [[5.0] * 3] * 4, aggregate=0.4, first=(6.0, 3.0), last=(0.5, 1.0))
    for passes, seconds in ((costs.forward, 3.0), (costs.backward, 5.0)):
        assert all(each.total == pytest.approx(seconds) for row in passes for each in row)
    firsts = [[each.first for each in row] for row in costs.forward]
    assert sum(map(sum, firsts)) == pytest.approx(6.0)
    assert all(map(all, firsts[:2]))
    assert not any(map(any, firsts[2:]))
    assert isinstance(costs.forward[0][0], PassSeconds)


def test_two_modes_cross_where_they_take_equal_time() -> None:
    adj, shapes = random_graph(60, 2000), hops(8)
    ways = Workload.of(random_plan(60, [8], 2, 1), adj, shapes, first_channels=8)
    stages = Workload.of(random_plan(60, [4, 4], 1, 8), adj, shapes, first_channels=8)

    def seconds(work: Workload, speed: float) -> float:
        pieces = 8 / (work.num_stages * work.ways * work.num_chunks)
        costs = Costs.measured(work, *[[[pieces] * work.num_chunks] * 2] * 2)
        return simulate(work, Hardware(link_bytes_per_second=speed), costs).epoch_seconds

    assert seconds(ways, 1e12) < seconds(stages, 1e12)  # no bubble
    assert seconds(ways, 10) > seconds(stages, 10)  # more bytes
    speed = crossover_link_speed(lambda s: seconds(ways, s), lambda s: seconds(stages, s), 10, 1e12)
    assert speed is not None
    assert seconds(ways, speed) == pytest.approx(seconds(stages, speed), rel=1e-4)
    assert crossover_link_speed(lambda s: 1.0, lambda s: 2.0 + 1 / s) is None
    with pytest.raises(ValueError, match="low and high"):
        crossover_link_speed(lambda s: 1.0, lambda s: 2.0, 5.0, 5.0)


def test_wrong_input_is_refused() -> None:
    work, other = make(([1, 1], 1, 2), 0), make(([1, 1], 1, 3), 0)
    with pytest.raises(ValueError, match=r"order: expected each of the 2 chunks once \(got \[0\]\)"):
        simulate(work, Hardware(), order=[0])
    with pytest.raises(ValueError, match=r"costs: expected 2 ranks of 2 chunks"):
        simulate(work, Hardware(), random_costs(other, 0))
    with pytest.raises(ValueError, match=r"backward: expected \[2\]\[2\] seconds \(got lengths \[2\]\)"):
        Costs.measured(work, [[1.0, 1.0]] * 2, [[1.0, 1.0]])
    with pytest.raises(ValueError, match=r"forward: expected at least the .* seconds of the ends \(got 1.0\)"):
        Costs.measured(work, [[1.0, 1.0]] * 2, [[1.0, 1.0]] * 2, first=(60.0, 0.0))
    with pytest.raises(ValueError, match="aggregate"):
        Costs.measured(work, [[1.0, 1.0]] * 2, [[1.0, 1.0]] * 2, aggregate=1.5)
    with pytest.raises(ValueError, match="update"):
        Costs.measured(work, [[1.0, 1.0]] * 2, [[1.0, 1.0]] * 2, -1.0)
    for name, value in (("flops", 0.0), ("latency_seconds", -1.0), ("efficiency", 1.5), ("memory_bytes", math.nan)):
        with pytest.raises(ValueError, match=rf"{name}: expected .* \(got"):
            replace(Hardware(), **{name: value})


def test_a_simulated_timeline_merges_like_a_measured_one() -> None:
    work = make(([1, 1], 1, 2), 0)
    line = simulate(work, Hardware(), random_costs(work, 0)).timeline
    parts = [Timeline(line.of(rank), line.epoch_seconds) for rank in line.ranks]
    assert Timeline.merge(parts) == line
