"""Training in chunks against a dense oracle that knows nothing of gnnkit, and mutants that it has to catch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from networks import CLASSES, FEATURES, N, cells, graph
from oracle import Oracle, normalised
from torch import Tensor

from gnnkit.pipeline import HistoricalEmbeddings, PipelineTrainer, Plan, Task, adapters
from gnnkit.pipeline._examples import Targets
from gnnkit.pipeline._walk import Walk

LAYERS, WIDTH, RATE, SEED = 5, 6, 0.3, 11


def both(
    kind: str,
    *,
    chunks: int = 8,
    dropout: float = 0.4,
    plan_seed: int = 0,
    refresh: int | None = 1,
    recompute: bool = False,
) -> tuple[Oracle, PipelineTrainer]:
    """Make the oracle and the trainer of one network."""
    given = graph("plain")
    edge_index, x, y, train = (given[name] for name in ("edge_index", "x", "y", "train"))
    torch.manual_seed(0)
    network = adapters.MODELS[kind](FEATURES, WIDTH, CLASSES, LAYERS, dropout=dropout).double()
    cut = Plan(((0, LAYERS),), torch.zeros(N, dtype=torch.int64), cells(1, chunks), seed=plan_seed)
    state = network.state_dict()
    matrix = normalised(edge_index, N)
    oracle = Oracle(kind, dict(state), matrix, x, y, train, cut.chunk, LAYERS, dropout, SEED)
    trainer = PipelineTrainer(
        network,
        cut,
        edge_index,
        x,
        y,
        train,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=RATE),
        seed=SEED,
        refresh=refresh,
        recompute=recompute,
    )
    return oracle, trainer


def distance(oracle: Oracle, trainer: PipelineTrainer, epochs: int = 5, refresh: int | None = 1) -> float:
    """Largest difference of losses, parameters and historical rows after any epoch, relative to the largest value."""
    worst = 0.0
    oracle.prime()
    for epoch in range(epochs):
        due = refresh is not None and (epoch + 1) % refresh == 0
        expected = oracle.step(epoch, trainer.plan.order(epoch), RATE, due)
        got = trainer.train_epoch()
        worst = max(worst, abs(got - expected) / abs(expected))
        one = trainer.plan.num_chunks == 1  # nothing is historical
        rows = {} if one else {f"{layer}.0": value for layer, value in enumerate(oracle.historical)}
        state = trainer.state()
        nodes = trainer.part.nodes
        pairs = [(state["model"][name], value.detach()) for name, value in oracle.parameters.items()]
        pairs += [(state["history"][name], value[nodes]) for name, value in rows.items()]
        worst = max([worst, *(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in pairs)])
    return worst


@pytest.mark.parametrize("kind", ["gcn", "gcnii"])
@pytest.mark.parametrize("plan_seed", range(4))
def test_chunks_in_any_order(kind: str, plan_seed: int) -> None:
    oracle, trainer = both(kind, plan_seed=plan_seed)
    orders = [trainer.plan.order(epoch) for epoch in range(5)]
    assert all(a != b for a, b in pairwise(orders))
    assert distance(oracle, trainer) < 1e-9


@pytest.mark.parametrize("kind", ["gcn", "gcnii"])
@pytest.mark.parametrize(
    ("chunks", "refresh", "recompute"), [(1, 1, False), (N, 1, False), (8, 3, False), (8, None, True)]
)
def test_chunks_of_any_number(kind: str, chunks: int, refresh: int | None, recompute: bool) -> None:
    oracle, trainer = both(kind, chunks=chunks, refresh=refresh, recompute=recompute)
    assert distance(oracle, trainer, refresh=refresh) < 1e-9


@pytest.fixture(params=["zeroed history", "backward in the forward order", "loss averaged by chunk", "stale rows kept"])
def mutant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Break the pipeline in one way."""
    name: str = request.param
    if name == "zeroed history":
        turn = HistoricalEmbeddings.prime

        def zeroed(self: HistoricalEmbeddings) -> None:
            turn(self)
            self.historical.zero_()

        monkeypatch.setattr(HistoricalEmbeddings, "prime", zeroed)
    elif name == "backward in the forward order":
        run = Walk.run

        def straight(self: Walk, tasks: Sequence[Task], epoch: int) -> Tensor:
            forward = [task for task in tasks if task.kind == "forward"]
            return run(self, [*forward, *(replace(task, kind="backward") for task in forward)], epoch)

        monkeypatch.setattr(Walk, "run", straight)
    elif name == "loss averaged by chunk":

        def averaged(self: Targets, outputs: Tensor, chunk: int) -> Tensor:
            rows = self._rows[chunk]
            mean = torch.nn.functional.cross_entropy(outputs[rows], self._y[chunk]) if len(rows) else outputs.sum() * 0
            return mean / len(self._rows)

        monkeypatch.setattr(Targets, "__call__", averaged)
    else:
        monkeypatch.setattr(HistoricalEmbeddings, "end_epoch", lambda self, epoch: None)
    return name


def test_mutants_are_caught(mutant: str) -> None:
    oracle, trainer = both("gcnii")
    assert distance(oracle, trainer) > 1e-6, mutant
