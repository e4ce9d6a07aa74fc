"""What the processes of the claim `pipeline` do: epochs on command, with links as slow as they are told."""

from __future__ import annotations

import itertools
import statistics
import time
import traceback
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from gnnkit import Adjacency
from gnnkit.datasets import load
from gnnkit.pipeline import (
    HopShape,
    Network,
    PipelineTrainer,
    Plan,
    Transport,
    Volume,
    Workload,
    adapters,
    communication_volume,
    inspect,
    partition,
    plan,
)  # fmt: skip
from gnnkit.pipeline._edges import read_edges
from gnnkit.pipeline._link import Link
from gnnkit.pipeline._network import call

DATASET, LAYERS, HIDDEN, CHUNKS = "computers", 32, 384, 8
SHAPES = {"pipeline": (2, 1, CHUNKS), "graph": (1, 2, 1), "pipeline of 4": (4, 1, 8), "graph of 4": (1, 4, 1),
          "hybrid of 4": (2, 2, 8)}  # fmt: skip  # stages, ways, chunks
PING_BYTES = 4_000_000  # about what ways trade at a hop


class Problem:
    """The graph, its features and a network on it.

    Args:
        row_edges: How many edges take as long to aggregate as what is done row by row of one node: parts are cut to
            even work.
    """

    def __init__(self, row_edges: float = 100.0) -> None:
        data = load(DATASET)
        self.row_edges = row_edges
        self.edge_index, self.x, self.y = data.edge_index, data.x, data.y
        self.num_nodes, self.classes = int(data.num_nodes), int(data.y.max()) + 1
        self.train = torch.arange(0, self.num_nodes, 2)

    def network(self) -> Network:
        """A deep GCNII, the same in every process."""
        torch.manual_seed(0)
        return adapters.gcnii(self.x.shape[1], HIDDEN, self.classes, LAYERS)

    @cache  # noqa: B019 - lives as long as its process
    def plan(self, mode: str) -> Plan:
        """How a mode cuts it, with METIS parts."""
        stages, ways, chunks = SHAPES[mode]
        work = (100 * (self.adj().indptr.diff() + self.row_edges)).long()  # [N]
        cells = partition(self.adj(), ways * chunks, "metis", work=work)
        return plan(self.adj(), LAYERS, stages=stages, ways=ways, chunks=chunks, partitioner=cells)

    @cache  # noqa: B019
    def adj(self) -> Adjacency:
        """The graph as the layers read it."""
        return read_edges(self.edge_index, self.num_nodes, self.network().edges)[0]

    @cache  # noqa: B019
    def shapes(self) -> tuple[HopShape, ...]:
        """What its hops read and give."""
        return inspect(self.network(), self.x.shape[1])

    def work(self, mode: str) -> Workload:
        """What `simulate` reads."""
        return Workload.of(self.plan(mode), self.adj(), self.shapes(), first_channels=HIDDEN, shares=True)

    def volume(self, mode: str) -> Volume:
        """What it sends, counted from the plan."""
        network = self.network()
        ends = sum(each.numel() for name, each in network.named_parameters() if not name.startswith("layers."))
        return communication_volume(
            self.plan(mode), self.adj(), self.shapes(), first_channels=HIDDEN, shares=True, end_parameters=ends
        )

    def trainer(self, cut: Plan, transport: Any = None, rate: float = 0.01) -> PipelineTrainer:
        """A trainer that keeps a timeline."""
        return PipelineTrainer(
            self.network(), cut, self.edge_index, self.x, self.y, self.train, trace=True, transport=transport,
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=rate),
        )  # fmt: skip

    def sorted_edges(self) -> tuple[Adjacency, Tensor]:
        """The edges with their weights by destination, which no kernel has to look up."""
        adj, weight = read_edges(self.edge_index, self.num_nodes, "gcn")
        assert weight is not None
        return Adjacency.from_csr(adj.indptr, adj.indices, self.num_nodes), weight[adj.edge_ids]

    def plain(self) -> Callable[[], object]:
        """An epoch of full-graph training without the engine; edges are normalised once."""
        network = self.network()
        adj, weight = self.sorted_edges()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        assert network.first is not None
        assert network.last is not None
        first, last = network.first, network.last

        def epoch() -> float:
            optimizer.zero_grad()
            x = shared = first(self.x)
            for layer in network.layers:
                x, _ = call(layer, x, adj, weight, None, shared)
            loss = F.cross_entropy(last(x)[self.train], self.y[self.train])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return float(loss.detach())

        return epoch


class Done:
    """A message that was never sent; `wait` writes down when it was waited for."""

    def __init__(self, moments: list[float], out: Tensor | None = None) -> None:
        self.moments, self.out = moments, out

    def wait(self) -> Tensor | None:
        self.moments.append(time.monotonic())
        return self.out


class NoTransport:
    """Lets one process do what one rank of several computes, and nothing else: no peer, no message, no wait.

    Stages take noise in, replicas stay as they are. It writes down when boundary rows would leave and be waited for.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.moments: list[float] = []  # of each exchange: when it was posted, when it was waited for
        self.sent_bytes: dict[str, int] = {}

    def exchange(self, sends: Any, receives: Any, *_: Any) -> Done:
        self.moments.append(time.monotonic())
        for _, out in receives:
            out.zero_()
        return Done(self.moments)

    def send(self, *_: Any) -> Done:
        return Done([])

    def receive(self, out: Tensor, *_: Any) -> Done:
        return Done([], out.normal_(std=1e-2))

    def broadcast_object(self, obj: Any, source: int) -> Any:
        return obj

    def groups(self, *_: Any) -> None:
        pass

    all_reduce = barrier = groups


def computes(problem: Problem, mode: str, rank: int) -> Callable[[], dict[str, Any]]:
    """An epoch of one rank alone; it gives seconds of each pass, and between the moments of its exchanges."""
    cut = problem.plan(mode)
    nobody = NoTransport(rank, cut.world_size)
    trainer = problem.trainer(cut, nobody, rate=0.0)

    def epoch() -> dict[str, Any]:
        nobody.moments.clear()
        trainer.train_epoch()
        events = trainer.timeline.events
        start = trainer._trace._origin
        found: dict[str, Any] = {"update": sum(event.seconds for event in events if event.kind == "update")}
        for kind in ("forward", "backward"):
            found[kind] = {}
            for event in (each for each in events if each.kind == kind):
                low, high = event.start_seconds + start, event.end_seconds + start
                inside = [low, *(moment for moment in nobody.moments if low <= moment <= high), high]
                found[kind][event.chunk] = [after - before for before, after in itertools.pairwise(inside)]
        return found

    return epoch


def row_edges(problem: Problem) -> float:
    """How many edges take as long to aggregate as the rest that is done for one node, forward and backward."""
    adj, weight = problem.sorted_edges()
    rows = torch.randn(problem.num_nodes, HIDDEN, requires_grad=True)
    aggregate = middle_seconds(lambda: adj.spmm(rows, weight).backward(rows.detach()), 15)
    rest = middle_seconds(problem.plain(), 2) / LAYERS - aggregate
    return rest / problem.num_nodes / (aggregate / adj.num_edges)


def middle_seconds(run: Callable[[], object], times: int) -> float:
    """Median seconds, after a first run that compiles."""
    run()
    return statistics.median(timed(run) for _ in range(times))


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.monotonic()
    run()
    return time.monotonic() - start


def be_rank(
    pipe: Connection, rank: int, world_size: int, modes: tuple[str, ...], edges_a_row: float, meeting: str
) -> None:
    """One of the processes that train together.

    ``("epoch", mode, bytes a second, overlapped)`` -> seconds, events, bytes and the epoch; ``("computes", mode)`` ->
    see `computes`; ``("plain",)`` -> seconds of an epoch of the whole plain network; ``("ping",)`` -> seconds of a
    message without bytes, bytes a second of a large one, and the processor's seconds for a byte out and one in.
    """
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world_size)
    problem = Problem(edges_a_row)
    trainers = {mode: problem.trainer(problem.plan(mode), Transport(timeout_seconds=300)) for mode in modes}
    transport = trainers[modes[0]].transport
    there = (rank + 1) % world_size

    def epoch(mode: str, speed: float | None, overlapped: bool) -> tuple[float, Any, dict[str, int], int]:
        trainer = trainers[mode]
        transport = trainer.transport
        transport._link = transport._mail._link = None if speed is None else Link(speed)
        if not overlapped:

            def at_once(*message: Any) -> Any:
                handle = Transport.exchange(transport, *message)
                handle.wait()
                return handle

            transport.exchange = at_once  # type: ignore[method-assign]
        before = dict(transport.sent_bytes)
        transport.barrier()
        start = time.monotonic()
        trainer.train_epoch()
        seconds = time.monotonic() - start
        transport.__dict__.pop("exchange", None)
        sent = {kind: count - before[kind] for kind, count in transport.sent_bytes.items()}
        return seconds, trainer.timeline, sent, trainer.epoch - 1

    def exchange(size: int) -> float:
        out, back = torch.zeros(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
        return middle_seconds(lambda: transport.exchange([(there, out)], [(there, back)], "ping", "control").wait(), 20)

    def ping() -> tuple[float, float, float]:
        small, begin = exchange(8), time.process_time()
        large = exchange(PING_BYTES)
        busy = (time.process_time() - begin) / 21
        return small, PING_BYTES / max(large - small, 1e-9), busy / PING_BYTES

    @cache
    def without_peers(mode: str) -> Callable[[], dict[str, Any]]:
        run = computes(problem, mode, rank)
        run()  # fills the historical rows, and compiles
        return run

    plain = cache(problem.plain)
    runs: dict[str, Callable[..., Any]] = {
        "epoch": epoch,
        "computes": lambda mode: without_peers(mode)(),
        "plain": lambda: timed(plain()),
        "ping": ping,
    }
    serve(pipe, lambda what, *arguments: runs[what](*arguments))


def be_alone(pipe: Connection) -> None:
    """The process without peers.

    ``("row edges",)`` -> see `row_edges`; ``("plain" | "trainer", threads)`` -> seconds of an epoch.
    """
    torch.set_num_threads(1)
    problem = Problem()
    whole = problem.trainer(plan(problem.adj(), LAYERS, chunks=1))
    epochs: dict[str, Callable[[], object]] = {"plain": problem.plain(), "trainer": whole.train_epoch}

    def run(what: str, *threads: int) -> float:
        if what == "row edges":
            return row_edges(problem)
        torch.set_num_threads(*threads)
        seconds = timed(epochs[what])
        torch.set_num_threads(1)
        return seconds

    serve(pipe, run)


def serve(pipe: Connection, run: Callable[..., Any]) -> None:
    """Answer commands until there is None; an error is an answer, which the parent raises."""
    pipe.send(None)
    for arguments in iter(pipe.recv, None):
        try:
            pipe.send(run(*arguments))
        except Exception:
            pipe.send(RuntimeError(traceback.format_exc()))
