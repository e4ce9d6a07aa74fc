"""What the ranks of test_trainer_ranks.py do."""

from __future__ import annotations

from typing import Any

import torch
from networks import cells, graph, network

from gnnkit import Adjacency
from gnnkit.pipeline import PipelineTrainer, plan


def make(kind: str, stages: int, ways: int, chunks: int, **options: Any) -> PipelineTrainer:
    """Make the trainer of a small network; in a group of processes, this rank's."""
    given = graph(kind)
    adj = Adjacency.from_edge_index(given["edge_index"], len(given["x"]))
    cut = plan(adj, 4, stages=stages, ways=ways, chunks=chunks, partitioner=cells(ways, chunks), seed=5)
    edge_index, x, y, train = (given[name] for name in ("edge_index", "x", "y", "train"))
    options.setdefault("optimizer", lambda parameters: torch.optim.Adam(parameters, lr=0.01))
    return PipelineTrainer(network(kind), cut, edge_index, x, y, train, edge_attr=given["edge_attr"], seed=7, **options)


Case = tuple[str, tuple[int, int, int], dict[str, Any]]


def train(case: Case) -> Any:
    """Train five epochs; give losses, the network's state, exact outputs, and bytes by kind."""
    kind, shape, options = case
    trainer = make(kind, *shape, **options)
    losses = [trainer.train_epoch() for _ in range(5)]
    sent = dict(trainer.transport.sent_bytes)
    return losses, trainer.network_state(), trainer.infer(), sent


def train_all(rank: int, world_size: int, cases: dict[str, Case]) -> dict[str, Any]:
    """Train one case after the other, for a process takes longer to start than to train."""
    return {name: train(case) for name, case in cases.items()}


def disagree(rank: int, world_size: int) -> list[str]:
    """Make trainers with other weights, training nodes and settings on rank 1; give what each says."""
    said = []
    for change in ("weights", "train", "prime"):
        given, net = graph("plain"), network("plain")
        adj = Adjacency.from_edge_index(given["edge_index"], len(given["x"]))
        cut = plan(adj, 4, ways=2, chunks=2, partitioner=cells(2, 2))
        train, options = given["train"], {}
        if rank == 1 and change == "weights":
            torch.nn.init.zeros_(net.last.weight)
        elif rank == 1 and change == "train":
            train = train[1:]
        elif rank == 1:
            options = {"prime": False}
        try:
            rest = (given["edge_index"], given["x"], given["y"], train)
            PipelineTrainer(net, cut, *rest, optimizer=torch.optim.SGD, **options)
        except ValueError as error:
            said.append(str(error))
    return said


def interrupt(rank: int, world_size: int) -> str:
    """Interrupt rank 0 in an epoch, then train on; give what that says."""
    trainer = make("plain", 2, 1, 2, prime=False)
    if rank == 1:
        return ""
    run = trainer._walk.run
    trainer._walk.run = _stop  # type: ignore[method-assign]
    try:
        trainer.train_epoch()
    except KeyboardInterrupt:
        trainer._walk.run = run  # type: ignore[method-assign]
    try:
        trainer.infer()
    except RuntimeError as error:
        return str(error)
    return "went on"


def _stop(*_: Any) -> Any:
    raise KeyboardInterrupt
