"""Memory of a rank, against what a trainer holds."""

from __future__ import annotations

import pytest
import torch
from small_plans import hops, random_graph, random_plan

from gnnkit.pipeline import (
    Neighbourhood,
    Network,
    NetworkSaved,
    OneHop,
    PipelineTrainer,
    Saved,
    Workload,
    adapters,
    inspect,
    measure_saved,
    memory_of,
)
from gnnkit.pipeline._edges import read_edges

NODES, WIDTH = 400, 16
EDGES = random_graph(NODES, 2400).to_edge_index()


def trained(name: str, recompute: bool, chunks: int, ways: int = 1) -> tuple[PipelineTrainer, Workload, Network]:
    """Make a trainer of one process, for one stage, and the counts of what it executes."""
    network = adapters.MODELS[name](12, WIDTH, 3, 6)
    cut = random_plan(NODES, [6], ways, chunks)
    adj, _ = read_edges(EDGES, NODES, network.edges)
    work = Workload.of(cut, adj, inspect(network, 12), first_channels=WIDTH, shares=network.shares)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(NODES, 12, generator=draw), torch.randint(3, (NODES,), generator=draw)
    trainer = PipelineTrainer(
        network,
        cut,
        EDGES,
        x,
        y,
        torch.arange(0, NODES, 2),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        recompute=recompute,
    )
    return trainer, work, network


class Peak:
    """The most bytes that autograd keeps at a time, by storages, without what is there anyway."""

    def __init__(self, trainer: PipelineTrainer) -> None:
        there = [*trainer.parameters().values(), *tensors_of(trainer)]
        self.there = {tensor.untyped_storage().data_ptr() for tensor in there}
        self.kept: dict[int, int] = {}
        self.bytes = self.peak = 0

    def pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Token]:
        return tensor, Token(self, tensor.untyped_storage())


class Token:
    """Lives as long as what autograd keeps."""

    def __init__(self, peak: Peak, storage: torch.UntypedStorage) -> None:
        self.peak, self.key, self.size = peak, storage.data_ptr(), storage.nbytes()
        if self.key in peak.there:
            return
        peak.kept[self.key] = peak.kept.get(self.key, 0) + 1
        if peak.kept[self.key] == 1:
            peak.bytes += self.size
            peak.peak = max(peak.peak, peak.bytes)

    def __del__(self) -> None:
        if self.key in self.peak.there:
            return
        self.peak.kept[self.key] -= 1
        if self.peak.kept[self.key] == 0:
            self.peak.bytes -= self.size


def tensors_of(trainer: PipelineTrainer) -> list[torch.Tensor]:
    """List the tensors of a part's graph."""
    found = [trainer.part.nodes, trainer.part.chunk_of_row]
    for piece in (piece for pieces in trainer.part.pieces for piece in pieces):
        adj = piece.graph.adj
        found += [piece.sources, adj.indptr, adj.indices, adj.edge_ids, *adj.transpose]
        found += [] if piece.graph.edge_weight is None else [piece.graph.edge_weight]
    return found


@pytest.mark.parametrize("name", ["gcn", "sage", "resgcn", "gcnii", "gat"])
@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_those_that_autograd_keeps(name: str, recompute: bool) -> None:
    trainer, work, network = trained(name, recompute, chunks=4)
    (memory,) = memory_of(work, measure_saved(network, 12), recompute=recompute, in_channels=12)
    trainer.train_epoch()
    peak = Peak(trainer)
    with torch.autograd.graph.saved_tensors_hooks(peak.pack, lambda packed: packed[0]):
        trainer.train_epoch()
    assert memory.activations == pytest.approx(peak.peak, rel=0.15)


@pytest.mark.parametrize("ways", [1, 3])
def test_tables_topology_and_optimiser_are_those_that_a_trainer_holds(ways: int) -> None:
    trainer, work, _ = trained("gcn", False, 4, ways)
    trainer.train_epoch()
    learned = sum(p.numel() for p in trainer.parameters().values())
    ends = learned - sum(shape.parameters for shape in work.shapes)
    memory = memory_of(work, in_channels=12, end_parameters=(ends, 0))
    assert trainer.optimizer is not None
    states = [t for state in trainer.optimizer.state.values() for t in state.values() if t.numel() > 1]
    grads = [p.grad for p in trainer.parameters().values() if p.grad is not None]
    held = sum(t.nbytes for t in [*trainer.parameters().values(), *grads, *states])
    assert memory[0].parameters == held
    tables = sum(h._rows.nbytes + h._gradients.nbytes for h in trainer._stage.histories.values())
    own = sum(each.tables for each in memory)  # one process holds every row once, ways hold replicas too
    replicated = int(work.given.sum()) * 6 * WIDTH * 12
    assert own - replicated == tables
    if ways == 1:
        topology = sum(tensor.untyped_storage().nbytes() for tensor in tensors_of(trainer))
        assert memory[0].topology == pytest.approx(topology, rel=0.05)


@pytest.mark.parametrize("recompute", [False, True])
def test_one_chunk_has_the_tables_that_a_trainer_holds(recompute: bool) -> None:
    trainer, work, _ = trained("gcn", recompute, chunks=1)
    histories = trainer._stage.histories.values()
    held = {t.data_ptr(): t.nbytes for history in histories for t in (history._rows, history._gradients)}
    assert memory_of(work, recompute=recompute)[0].tables == sum(held.values())


def test_stages_share_the_tables_and_recomputing_keeps_inputs_and_one_chunk() -> None:
    shapes = hops(6)
    work = Workload.of(random_plan(90, [2, 4], 1, 3), random_graph(90), shapes, first_channels=8)
    saved = NetworkSaved(0.0, (Saved(100.0, 10.0, 1.0),) * 6, 7.0)
    first, second = memory_of(work, saved, in_channels=20)
    assert (first.tables, second.tables) == (90 * 2 * 8 * 12, 90 * 4 * 8 * 12)
    assert (first.inputs, second.inputs) == (90 * 20 * 4, 90 * 8 * 4)
    edges, sources = int(work.edges.sum()), int(work.sources.sum())
    assert second.activations == 4 * (100 * 90 + 10 * sources + edges) + 7 * 90
    assert first.activations == 2 * (100 * 90 + 10 * sources + edges) + 90 * 8 * 4  # and the rows that go on
    again = memory_of(work, saved, in_channels=20, recompute=True)[1]
    most = [int(counts.max()) for counts in (work.rows, work.sources, work.edges)]
    assert again.activations == 4 * (100 * most[0] + 10 * most[1] + most[2]) + 7 * most[0]
    assert again.inputs == second.inputs
    assert second.total == sum(vars(second).values())


def test_saved_bytes_count_each_tensor_once() -> None:
    class Squares(OneHop):
        def before(self, x: torch.Tensor, shared: torch.Tensor | None = None) -> torch.Tensor:
            return x.exp()  # keeps its result

        def aggregate(self, z: torch.Tensor, graph: Neighbourhood) -> torch.Tensor:
            return z.cos()[: graph.adj.num_dst]

        def after(self, a: torch.Tensor, x: torch.Tensor, shared: torch.Tensor | None = None) -> torch.Tensor:
            return a.exp()  # its result is the next hop's input, which keeps it too

    found = measure_saved(Network(None, [Squares(), Squares()], None), 4)
    # a row: exp of before, but of the features, which need no gradient, and of after; a source: what cos was given
    assert found == NetworkSaved(0.0, (Saved(16.0, 16.0, 0.0), Saved(32.0, 16.0, 0.0)), 0.0)


def test_another_networks_bytes_are_refused() -> None:
    work = Workload.of(random_plan(30, [2], 1, 1), random_graph(), hops(2), first_channels=8)
    with pytest.raises(ValueError, match=r"saved: expected that of 2 hops \(got 1\)"):
        memory_of(work, NetworkSaved(0.0, (Saved(1.0),), 0.0))
