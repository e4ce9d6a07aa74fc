"""Claim: a pipeline of layers beside graph parallelism, at links of several speeds, as `simulate` says beforehand.

GCNII, 32 hops of 384, on Amazon computers (13,752 nodes, 492k directed edges), cut by METIS into parts of even
measured work. The graph is real and so is its cut (a third of the nodes is read across it): at the crossover graph mode
waits for its link, so that the crossing is steep; where rows are still hidden behind the computing, a few percent of an
epoch move it by a third. A rank computes 50 ms and more at each hop, beside which what Python does is small. Two
processes of one thread train as a pipeline (two stages, eight chunks) or as graph parallelism (two ways), beside one
process that trains the plain network with one and two threads; all take turns, epoch by epoch. The transport slows the
link of both modes alike.

Before anything is trained, each process computes what its rank will, without a message and without a wait, the other
beside it, and `simulate` is given those seconds, the bytes and what a message takes between idle processes. It predicts
each epoch and the link speed at which both modes take equal time; the measured one is interpolated, in seconds a byte,
between speeds around the prediction. Four processes on two cores are held to the order of events and to the bytes.

Controls: graph mode that waits for boundary rows before it aggregates has to be slower; a simulation in which ways send
nothing has to miss the crossover; the order of another epoch has to differ.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from gnnkit.pipeline import Costs, Hardware, Plan, Timeline, Workload, crossover_link_speed, simulate
from gnnkit.pipeline._costs import HopSeconds, PassSeconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _pipeline_ranks import CHUNKS, SHAPES, Problem, be_alone, be_rank
from _rows import Claim, show, write

MODES = ("pipeline", "graph")
OF_FOUR = ("pipeline of 4", "graph of 4", "hybrid of 4")
SPEEDS = (math.inf, 1e9, 3e8, 1e8)
AROUND = (0.6, 0.8, 1.25, 1.7)  # times the predicted crossover
ROUNDS, ALONE = 5, 5  # epochs of each mode and speed; of each rank's work without peers
EFFICIENCY, CROSSOVER, EPOCH = 0.8, 0.25, 0.2
Found = dict[str, Any]  # what one rank computes in an epoch, see `computes`


def main(arguments: Sequence[str] = ()) -> int:
    """Measure what computing takes, predict, run, compare, run the controls, write the row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="fewer: the result is shown and not written")
    rounds = parser.parse_args(arguments).rounds
    # of the processes: idle threads leave the cores to others, and memory that one mode gives back is not paid for
    # again by the next (without it, an epoch after another mode's took up to a quarter longer)
    os.environ |= {
        "OMP_WAIT_POLICY": "passive",
        "MALLOC_MMAP_THRESHOLD_": str(2**25),
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
    }
    torch.set_num_threads(1)
    with processes(be_alone, [()]) as (alone,):
        row_edges = ask([alone], "row edges")[0]
        problem = Problem(row_edges)
        works = {mode: problem.work(mode) for mode in MODES}
        with ranks(MODES, row_edges) as pipes:
            found = compute(pipes)
            latency, loopback, busy = ask(pipes, "ping")[0]
            costs = {mode: costs_of(works[mode], found[mode], busy) for mode in MODES}
            predict = Prediction(works, costs, {mode: problem.plan(mode) for mode in MODES}, latency, loopback)
            predicted = predict.crossover()
            print(
                f"row-wise work of a node: that of {row_edges:.0f} edges; a message: {latency * 1e6:.0f} us, then "
                f"{gigabytes(loopback)}"
            )
            print(f"predicted crossover: {gigabytes(predicted)}", flush=True)
            speeds = [*SPEEDS, *(factor * predicted for factor in AROUND if predicted)]
            took = turns(pipes, alone, sorted(speeds, reverse=True), rounds)
    rows = [row_of(predict, took, speed) for speed in sorted(speeds, reverse=True)]
    order = four(Problem(row_edges))
    claim = judge(rows, took, predicted, predict.without_boundary().crossover(), order)
    (write if rounds == ROUNDS else show)(claim)
    return 0 if claim.passed else 1


# ---------------------------------------------------------------------- processes


@contextmanager
def processes(target: Any, arguments: Sequence[tuple[Any, ...]]) -> Iterator[list[Connection]]:
    """Processes that answer commands, see `serve`; ended at the end."""
    context = multiprocessing.get_context("spawn")
    started, pipes = [], []
    try:
        for each in arguments:
            ours, theirs = context.Pipe()
            process = context.Process(target=target, args=(theirs, *each), daemon=True)
            process.start()
            theirs.close()
            started.append(process)
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        yield pipes
    finally:
        for process in started:
            process.kill()
            process.join()


@contextmanager
def ranks(modes: tuple[str, ...], row_edges: float) -> Iterator[list[Connection]]:
    """As many processes as the modes have ranks."""
    stages, ways, _ = SHAPES[modes[0]]
    size = stages * ways
    with tempfile.TemporaryDirectory() as folder:
        each = [(rank, size, modes, row_edges, f"{folder}/meeting") for rank in range(size)]
        with processes(be_rank, each) as pipes:
            yield pipes


def ask(pipes: Sequence[Connection], *command: Any) -> list[Any]:
    """Give all of them a command; return their answers."""
    for pipe in pipes:
        pipe.send(command)
    answers = [pipe.recv() for pipe in pipes]
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def compute(pipes: list[Connection]) -> dict[str, list[Found]]:
    """Median seconds of what each rank of each mode computes, side by side: cores share their memory's speed."""
    epochs = [{mode: ask(pipes, "computes", mode) for mode in MODES} for _ in range(ALONE)]
    return {mode: middle([epoch[mode] for epoch in epochs]) for mode in MODES}


def middle(found: Sequence[Any]) -> Any:
    """The median of each number of equal structures."""
    if isinstance(found[0], dict):
        return {key: middle([each[key] for each in found]) for key in found[0]}
    if isinstance(found[0], list):
        return [middle(each) for each in zip(*found, strict=True)]
    return statistics.median(found)


def turns(pipes: list[Connection], alone: Connection, speeds: list[float], rounds: int) -> dict[Any, list[float]]:
    """Seconds of epochs, all modes and speeds in turn, after one of each mode that does not count."""
    cases: list[tuple[Any, ...]] = [(mode, speed) for speed in speeds for mode in MODES]
    cases += [("waiting", 3e8), ("plain twice", 1), ("plain", 1), ("plain", 2), ("trainer", 1)]
    took: dict[Any, list[float]] = {case: [] for case in cases}
    for count in range(rounds + 1):
        chosen = cases if count else [("pipeline", speeds[0]), ("graph", speeds[0]), *cases[-4:]]
        for case in chosen[:: 1 if count % 2 else -1]:
            what, number = case
            if what in ("plain", "trainer"):
                seconds = ask([alone], what, number)[0]
            elif what == "plain twice":
                seconds = max(ask(pipes, "plain"))
            else:
                mode, speed = ("graph", number) if what == "waiting" else case
                answers = ask(pipes, "epoch", mode, None if speed == math.inf else speed, what != "waiting")
                seconds = max(answer[0] for answer in answers)
            if count:
                took[case].append(seconds)
    return took


# ---------------------------------------------------------------------- prediction


def costs_of(work: Workload, found: Sequence[Found], busy: float = 0.0) -> Costs:
    """What `simulate` takes, of what each rank computed without peers, and ``busy`` seconds a byte that ways trade."""
    sides: list[tuple[tuple[PassSeconds, ...], ...]] = []
    for kind in ("forward", "backward"):
        passes = []
        for rank, each in enumerate(found):
            low, high = work.stages[rank // work.ways]
            chunks = [[*each[kind][chunk]] for chunk in range(work.num_chunks)]
            way = rank % work.ways
            for chunk, seconds in enumerate(chunks):
                traded = int(work.given[way, :, chunk].sum() + work.given[:, way, chunk].sum()) / 2 * work.itemsize
                shapes = work.shapes[low:high] if kind == "forward" else work.shapes[low:high][::-1]
                for place, shape in enumerate(shapes[: len(seconds) // 2]):
                    seconds[2 * place] += busy * traded * shape.message_channels
            passes.append(tuple(_pass(seconds, high - low, kind == "backward") for seconds in chunks))
        sides.append(tuple(passes))
    return Costs(sides[0], sides[1], max(each["update"] for each in found))


def _pass(seconds: Sequence[float], hops: int, backward: bool) -> PassSeconds:
    """One pass: a single figure, or those between the moments at which rows left and were waited for."""
    if len(seconds) == 1:
        return PassSeconds(0.0, (HopSeconds(0.0, 0.0, 0.0, seconds[0] / hops),) * hops, 0.0)
    if len(seconds) != 2 * hops + 1:
        raise ValueError(f"expected {2 * hops + 1} figures of {hops} hops (got {len(seconds)})")
    outer, interior = seconds[0::2], seconds[1::2]
    if backward:  # hops from the last to the first; rows leave after `after`
        parts = [HopSeconds(0.0, inner, 0.0, outside) for outside, inner in zip(outer, interior, strict=False)]
        return PassSeconds(outer[-1], tuple(reversed(parts)), 0.0)
    parts = [HopSeconds(outside, inner, 0.0, 0.0) for outside, inner in zip(outer, interior, strict=False)]
    return PassSeconds(0.0, tuple(parts), outer[-1])


class Prediction:
    """Seconds of epochs, by `simulate`.

    Args:
        works: Of each mode.
        costs: Of each mode.
        plans: Of each mode.
        latency: Seconds of a message without bytes, between idle processes.
        loopback: Bytes a second of a large one.
    """

    def __init__(
        self,
        works: dict[str, Workload],
        costs: dict[str, Costs],
        plans: dict[str, Plan],
        latency: float = 0.0,
        loopback: float = math.inf,
    ) -> None:
        self.works, self.costs, self.plans = works, costs, plans
        self.latency, self.loopback = latency, loopback

    def seconds(self, mode: str, speed: float) -> float:
        """Median over the orders of the epochs."""
        link = Hardware(link_bytes_per_second=min(speed, self.loopback), latency_seconds=self.latency)
        orders = [self.plans[mode].order(epoch) for epoch in range(5 if self.works[mode].num_chunks > 1 else 1)]
        work, costs = self.works[mode], self.costs[mode]
        return statistics.median(simulate(work, link, costs, order).epoch_seconds for order in orders)

    def crossover(self, low: float = 1e6, high: float = 1e11) -> float | None:
        """Bytes a second, between two speeds, at which both modes take equal time; None where one always wins."""
        return crossover_link_speed(
            lambda speed: self.seconds("pipeline", speed), lambda speed: self.seconds("graph", speed), low, high
        )

    def without_boundary(self) -> Prediction:
        """The same where ways send each other nothing."""
        graph = self.works["graph"]
        works = {**self.works, "graph": replace(graph, given=torch.zeros_like(graph.given))}
        return Prediction(works, self.costs, self.plans, self.latency, self.loopback)


# ---------------------------------------------------------------------- comparison


def crossing(rows: Sequence[dict[str, Any]]) -> float | None:
    """The link speed at which both modes took equal time: seconds grow with seconds a byte, so between two of those.

    Of several, which only noise makes, the geometric mean.
    """
    points = sorted((1 / row["bytes_per_second"], row["graph_s"] - row["pipeline_s"]) for row in rows)
    found = [
        1 / (a + (b - a) * before / (before - after))
        for (a, before), (b, after) in itertools.pairwise(points)
        if (before < 0) != (after < 0)
    ]
    return statistics.geometric_mean(found) if found else None


def row_of(predict: Prediction, took: dict[Any, list[float]], speed: float) -> dict[str, Any]:
    """One speed: measured medians and predictions of both modes."""
    row: dict[str, Any] = {"bytes_per_second": speed}
    for mode in MODES:
        row[f"{mode}_s"] = statistics.median(took[mode, speed])
        row[f"{mode}_predicted_s"] = predict.seconds(mode, speed)
    return row


def miss(predicted: float | None, measured: float | None) -> float:
    """How far a prediction is off, of what was measured; infinitely where one is missing."""
    return abs(predicted - measured) / measured if predicted and measured else math.inf


def tasks(timeline: Timeline, rank: int) -> list[tuple[str, int]]:
    """What a rank did, in order."""
    return [(event.kind, event.chunk) for event in timeline.of(rank, "forward", "backward", "update")]


def four(problem: Problem) -> list[dict[str, Any]]:
    """Four processes: whether every rank does what `simulate` says in that order, and sends as many bytes."""
    rows = []
    with ranks(OF_FOUR, problem.row_edges) as pipes:
        for mode in OF_FOUR:
            answers = [ask(pipes, "epoch", mode, None, True) for _ in range(2)][-1]  # the first one primes
            epoch, work = answers[0][3], problem.work(mode)
            flat = Costs.measured(work, *[[[1.0] * work.num_chunks] * 4] * 2)
            said, other = (
                simulate(work, Hardware(), flat, problem.plan(mode).order(each)).timeline for each in (epoch, epoch + 1)
            )
            did = [tasks(answer[1], rank) for rank, answer in enumerate(answers)]
            sent = {kind: sum(answer[2][kind] for answer in answers) for kind in answers[0][2]}
            volume = problem.volume(mode)
            kinds = ("activations", "gradients", "boundary", "boundary_gradients", "parameters")
            simulated = sum(said.sent_bytes(rank) for rank in range(4))
            rows.append(
                {
                    "mode": mode,
                    "order": did == [tasks(said, rank) for rank in range(4)],
                    "other_order": did == [tasks(other, rank) for rank in range(4)] and work.num_chunks > 1,
                    "bytes": sum(sent[kind] for kind in kinds),
                    "equal": simulated == volume.total and all(sent[kind] == getattr(volume, kind) for kind in kinds),
                }
            )
    return rows


def judge(
    rows: list[dict[str, Any]],
    took: dict[Any, list[float]],
    predicted: float | None,
    without: float | None,
    order: list[dict[str, Any]],
) -> Claim:
    """Compare with the thresholds and the controls.

    Args:
        rows: See `row_of`; the first is of the fastest link.
        took: Seconds of each case.
        predicted: The crossover, bytes a second.
        without: The same where ways send nothing.
        order: See `four`.
    """
    middles = {case: statistics.median(seconds) for case, seconds in took.items()}
    plain, fastest = middles["plain", 1], rows[0]
    efficiency = plain / (2 * fastest["graph_s"])
    measured = crossing(rows)
    worst = max(miss(row[f"{mode}_predicted_s"], row[f"{mode}_s"]) for row in rows for mode in MODES)
    overlapped = next(row["graph_s"] for row in rows if row["bytes_per_second"] == 3e8)
    passed = [
        efficiency >= EFFICIENCY,
        miss(predicted, measured) <= CROSSOVER,
        worst <= EPOCH,
        all(row["order"] and row["equal"] for row in order),
    ]
    controls = {
        f"at 0.3 GB/s graph mode that waits first takes {middles['waiting', 3e8] / overlapped:.2f} times as long": (
            middles["waiting", 3e8] > overlapped
        ),
        f"a simulation without boundary rows puts the crossover at {gigabytes(without)}": (
            miss(without, measured) > CROSSOVER
        ),
        "another epoch's order differs": not any(row["other_order"] for row in order),
    }
    table = [{"case": gigabytes(row["bytes_per_second"]), **row} for row in rows]
    table += [{"case": f"{what}, {number} threads", "seconds": middles[what, number]} for what, number in middles
              if what.startswith(("plain", "trainer"))]  # fmt: skip
    table.append({"case": "graph, waits first, 0.3 GB/s", "graph_s": middles["waiting", 3e8]})
    pipeline = plain / (2 * fastest["pipeline_s"])
    return Claim(
        name="pipeline",
        statement="GCNII of 32 hops on computers, hidden 384, METIS: seconds an epoch of two processes as a pipeline "
        f"(K = {CHUNKS}) and as graph parallelism, links of infinite speed, 1, 0.3 and 0.1 GB/s and around the "
        f"predicted crossover; thresholds: graph mode's efficiency {EFFICIENCY:.0%} of two threads of plain training, "
        f"the crossover within {CROSSOVER:.0%}, epochs within {EPOCH:.0%} of `simulate`; order and bytes of 4 "
        "processes",
        command="python benchmarks/claims/pipeline.py",
        result=f"efficiency at no limit: graph {efficiency:.0%}, pipeline {pipeline:.0%} (two threads of one process: "
        f"{plain / (2 * middles['plain', 2]):.0%}; two such processes that share nothing but the memory: "
        f"{plain / middles['plain twice', 1]:.0%}); crossover predicted at {gigabytes(predicted)}, measured at "
        f"{gigabytes(measured)}; epochs at most {worst:.0%} from the prediction; 4 processes: order and bytes "
        f"{'as simulated' if passed[3] else 'NOT AS SIMULATED'}",
        rows=[*table, *({"case": row["mode"], **row} for row in order)],
        passed=all(passed) and all(controls.values()),
        control="; ".join(f"{what}: {'yes' if held else 'NO'}" for what, held in controls.items()),
    )


def gigabytes(speed: float | None) -> str:
    """A link's speed in words."""
    if speed is None:
        return "no speed"
    return "no limit" if speed == math.inf else f"{speed / 1e9:.3g} GB/s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
