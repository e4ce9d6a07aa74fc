"""PipelineTrainer on one process: what it equals, what it keeps, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import CLASSES, FEATURES, N, Plain, cells, graph, network
from torch import Tensor, nn
from trainer_ranks import make

from gnnkit import Adjacency
from gnnkit.data import InMemory, MemoryMapped, write_features
from gnnkit.pipeline import Checkpoints, ChunkedGraph, Network, PipelineTrainer, adapters, plan
from gnnkit.pipeline._edges import read_edges


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


def trainer(net: Network, chunks: int = 1, **options: Any) -> PipelineTrainer:
    """Make a trainer of a network on the small graph."""
    given = graph("plain")
    adj = Adjacency.from_edge_index(given["edge_index"], N)
    cut = plan(adj, len(net.layers), chunks=chunks, partitioner=cells(1, chunks))
    options = {"optimizer": adam, **options}
    x = options.pop("x", given["x"])
    return PipelineTrainer(net, cut, given["edge_index"], x, given["y"], given["train"], **options)


def deep(kind: str, dropout: float = 0.0, layers: int = 6) -> Network:
    torch.manual_seed(1)
    return adapters.MODELS[kind](FEATURES, 8, CLASSES, layers, dropout=dropout).double()


@pytest.mark.parametrize("kind", sorted(adapters.MODELS))
def test_one_chunk_is_plain_training(kind: str) -> None:
    plain, given = deep(kind), graph("plain")
    optimizer = adam(list(plain.parameters()))
    for _ in range(20):
        optimizer.zero_grad()
        outputs = plain(given["x"], given["edge_index"])
        nn.functional.cross_entropy(outputs[given["train"]], given["y"][given["train"]]).backward()
        optimizer.step()
    net = deep(kind)
    chunked = trainer(net)
    for _ in range(20):
        chunked.train_epoch()
    for (name, got), expected in zip(net.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12, msg=name)
    outputs = chunked.infer()
    assert outputs is not None
    torch.testing.assert_close(outputs, plain.eval()(given["x"], given["edge_index"]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["plain", "edges", "bare"])
def test_exact_inference_is_the_plain_network(kind: str) -> None:
    one, given = make(kind, 1, 2, 3), graph(kind)
    one.train_epoch()
    net = network(kind).eval()
    net.load_state_dict(one.network_state() or {})
    expected = net(given["x"], given["edge_index"], given["edge_attr"])
    torch.testing.assert_close(one.infer(), expected, rtol=1e-9, atol=1e-12)


def losses(one: PipelineTrainer, epochs: int = 4) -> list[float]:
    return [one.train_epoch() for _ in range(epochs)]


def test_recomputation_changes_nothing() -> None:
    kept, again = (trainer(deep("gcnii", 0.3), 5, recompute=flag) for flag in (False, True))
    assert losses(kept) == losses(again)


def test_features_from_stores(tmp_path: Path) -> None:
    x = graph("plain")["x"]
    assert x is not None
    write_features(tmp_path / "x.rows", x)
    expected = losses(trainer(deep("sage", 0.3), 4))
    assert losses(trainer(deep("sage", 0.3), 4, x=InMemory(x))) == expected
    assert losses(trainer(deep("sage", 0.3), 4, x=MemoryMapped(tmp_path / "x.rows"))) == expected


def test_a_part_made_elsewhere() -> None:
    net, given = deep("gcn", 0.3), graph("plain")
    adj, weight = read_edges(given["edge_index"], N, "gcn", torch.float64)
    cut = plan(adj, 6, chunks=4, partitioner=cells(1, 4))
    part = ChunkedGraph(adj, cut, edge_weight=weight, edges="gcn").part()
    one = PipelineTrainer(net, cut, part, given["x"], given["y"], given["train"], optimizer=adam)
    assert losses(one) == losses(trainer(deep("gcn", 0.3), 4))
    other = plan(adj, 6, chunks=3, partitioner=cells(1, 3))
    with pytest.raises(ValueError, match=r"graph: expected the plan's part .*\(got 48 nodes, 4 chunks"):
        PipelineTrainer(net, other, part, given["x"], given["y"], given["train"], optimizer=adam)


def test_going_on_from_a_state() -> None:
    whole = trainer(deep("gcnii", 0.3), 4, refresh=3)
    expected = losses(whole, 9)
    half = trainer(deep("gcnii", 0.3), 4, refresh=3)
    losses(half, 5)
    state = half.state()
    rest = trainer(deep("gcnii", 0.3), 4, refresh=3)
    rest.load_state(state)
    assert losses(rest, 4) == expected[5:]
    with pytest.raises(ValueError, match=r"history: expected .*\(got"):
        trainer(deep("gcnii", 0.3, layers=5), 4).load_state(state)
    with pytest.raises(ValueError, match=r"model: expected this stage's weights \(got others at"):
        trainer(deep("gcn", 0.3), 4).load_state(state)


def test_users_random_numbers_and_modes_go_on_undisturbed() -> None:
    net = deep("gcnii", 0.3)
    one = trainer(net, 4)
    net.layers[0].eval()
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    one.infer()
    assert not net.layers[0].training
    one.train_epoch()
    assert torch.equal(torch.rand(3), expected)


def test_bfloat16_learns() -> None:
    torch.manual_seed(1)
    net = adapters.gcnii(FEATURES, 8, CLASSES, 6, dropout=0.0)
    one = trainer(net, 4, x=graph("plain")["x"].float(), precision="bf16")
    found = losses(one, 40)
    assert found[-1] < 0.8 * found[0]
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    outputs = one.infer()
    assert outputs is not None
    assert outputs.dtype == torch.float32


def test_a_loss_that_is_not_finite_takes_no_step() -> None:
    net = deep("gcn")
    one = trainer(net, 3, loss=lambda outputs, y, reduction: outputs.sum() * float("nan"))
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(FloatingPointError, match=r"epoch 1: expected a finite loss and gradients \(got nan and"):
        one.train_epoch()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_timeline() -> None:
    one = trainer(deep("gcn"), 3, trace=True)
    one.train_epoch()
    order = one.plan.order(0)
    kinds = [(event.kind, event.chunk) for event in one.timeline.events]
    assert kinds == [*(("forward", c) for c in order), *(("backward", c) for c in order[::-1]), ("update", -1)]


def test_targets_of_several_columns() -> None:
    """A multi-label loss, whose mean is over nodes."""
    y = torch.rand(N, CLASSES, dtype=torch.float64).round()
    given, net = graph("plain"), deep("gcn")

    def loss(outputs: torch.Tensor, target: torch.Tensor, reduction: str) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs, target, reduction=reduction) / CLASSES

    adj = Adjacency.from_edge_index(given["edge_index"], N)
    cut = plan(adj, 6, chunks=4, partitioner=cells(1, 4))
    one = PipelineTrainer(net, cut, given["edge_index"], given["x"], y, given["train"], optimizer=adam, loss=loss)
    train = given["train"]
    expected = nn.functional.binary_cross_entropy_with_logits(net(given["x"], given["edge_index"])[train], y[train])
    assert one.train_epoch() == pytest.approx(float(expected.detach()), rel=0.2)  # chunks read historical rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(N - 1, FEATURES, dtype=torch.float64)}, r"x: expected floating features of shape \[48, F\]"),
        ({"x": torch.full((N, FEATURES), torch.nan)}, r"x: expected finite features \(got 240 NaN or infinite\)"),
        ({"x": torch.zeros(N, FEATURES, dtype=torch.int64)}, r"x: expected floating features"),
        ({"refresh": 0}, r"refresh: expected a number of epochs >= 1, or None for never \(got 0\)"),
        ({"precision": "fp8"}, r"precision: expected full or bf16 \(got 'fp8'\)"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(deep("gcn"), 2, **change)


def test_refused_training_nodes_and_plans() -> None:
    net, given = deep("gcn"), graph("plain")
    adj = Adjacency.from_edge_index(given["edge_index"], N)
    cut = plan(adj, 6, chunks=2, partitioner=cells(1, 2))
    rest = (given["edge_index"], given["x"], given["y"])
    for train, message in [
        (torch.tensor([0, N]), r"train: expected distinct ids below 48 \(got 0 to 48"),
        (torch.tensor([1, 1]), r"train: expected distinct ids .*\(got 1 to 1, 2 of which 1 are distinct\)"),
        (torch.tensor([]), r"train: expected int64 ids of at least one node"),
    ]:
        with pytest.raises(ValueError, match=message):
            PipelineTrainer(net, cut, *rest, train, optimizer=adam)
    with pytest.raises(ValueError, match=r"y: expected a target for each of 48 nodes \(got \[3\]\)"):
        PipelineTrainer(net, cut, *rest[:2], torch.zeros(3), given["train"], optimizer=adam)
    shallow = plan(adj, 5, chunks=2, partitioner=cells(1, 2))
    with pytest.raises(ValueError, match=r"plan: expected one of the network's 6 layers \(got 5\)"):
        PipelineTrainer(net, shallow, *rest, given["train"], optimizer=adam)
    normed = Network(nn.BatchNorm1d(FEATURES), list(net.layers), net.last, edges="gcn").double()
    with pytest.raises(ValueError, match="BatchNorm1d"):
        PipelineTrainer(normed, cut, *rest, given["train"], optimizer=adam)


def test_one_chunk_keeps_nothing_historical() -> None:
    """Hops of one width share one table of rows and one of gradients."""
    one = trainer(deep("gcnii", 0.3), 1)
    assert len({id(history) for history in one._stage.histories.values()}) == 1
    assert all(rows.numel() == 0 for rows in one.state()["history"].values())
    apart = trainer(deep("gcnii", 0.3), 1, recompute=True)
    assert losses(one) == losses(apart)


def test_networks_of_layers_that_read_other_edges() -> None:
    net = deep("gcn")
    with pytest.raises(ValueError, match=r"edges: expected 'gcn', which layer 0 \(GCNHop\) reads \(got 'mean'\)"):
        Network(net.first, list(net.layers), net.last, edges="mean")
    with pytest.raises(ValueError, match=r"edge_attr: expected None, for self-loops have no state \(got edges='gcn'\)"):
        net(torch.rand(3, FEATURES).double(), torch.tensor([[0], [1]]), torch.rand(1, 2))


class Root(Plain):
    """A finite loss whose gradient is not: the root of zero."""

    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return (self.lin(a) * 0).abs().sqrt() + x


def test_gradients_that_are_not_finite_take_no_step() -> None:
    torch.manual_seed(0)
    net = Network(nn.Linear(FEATURES, 8), [Root(8)], nn.Linear(8, CLASSES), edges="gcn").double()
    one = trainer(net, 2)
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(FloatingPointError, match=r"a finite loss and gradients \(got [\d.]+ and [\d]+ NaN or infinite"):
        one.train_epoch()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_state_is_a_copy() -> None:
    one = trainer(deep("gcnii", 0.3), 4)
    losses(one, 2)
    state = one.state()
    expected = losses(one, 3)
    for _ in range(2):
        one.load_state(state)
        assert losses(one, 3) == expected


def test_parameters_that_nothing_uses_stay_as_they_are() -> None:
    net = deep("gcn")
    net.layers[0].register_parameter("unused", nn.Parameter(torch.ones(1, dtype=torch.float64)))
    one = trainer(net, 3, optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1))
    losses(one, 2)
    assert float(net.layers[0].unused.detach()) == 1


class Gated(Network):
    """A network that is called in another way than its parts say."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        return 2 * super().forward(x, edge_index)


def test_networks_that_cannot_be_cut() -> None:
    net = deep("gcn")
    gated = Gated(net.first, list(net.layers), net.last, edges="gcn")
    with pytest.raises(ValueError, match=r"network: expected a Network that is called as one \(got Gated.forward\)"):
        trainer(gated)
    tied = Network(net.first, [net.layers[0]] * 3, net.last, edges="gcn")
    with pytest.raises(ValueError, match=r"expected parameters of one part each \(got layers.1\S+, which is layers.0"):
        trainer(tied)
    extra = Network(net.first, list(net.layers), net.last, edges="gcn")
    extra.register_parameter("gate", nn.Parameter(torch.zeros(1)))
    with pytest.raises(ValueError, match=r"expected parameters in first, layers and last \(got gate\)"):
        trainer(extra)
    with pytest.raises(ValueError, match=r"of the features' torch.float64 \(got first\S+, torch.float32\)"):
        trainer(deep("gcn").float())


def test_refused_edges_and_seeds() -> None:
    given, net = graph("plain"), deep("gcn")
    adj, weight = read_edges(given["edge_index"], N, "gcn", torch.float64)
    cut = plan(adj, 6, chunks=4, partitioner=cells(1, 4))
    rest = (given["x"], given["y"], given["train"])
    part = ChunkedGraph(adj, cut, edge_weight=weight, edges="gcn").part()
    with pytest.raises(ValueError, match=r"edge_attr: expected None beside a part"):
        PipelineTrainer(net, cut, part, *rest, optimizer=adam, edge_attr=torch.rand(3, 2))
    plain = ChunkedGraph(adj, cut, edge_weight=weight).part()
    with pytest.raises(ValueError, match=r"graph: expected a part with edges='gcn', the network's \(got 'plain'\)"):
        PipelineTrainer(net, cut, plain, *rest, optimizer=adam)
    for attr in (torch.rand(170), torch.ones(170, 2, dtype=torch.int64), torch.full((170, 2), torch.nan)):
        with pytest.raises(ValueError, match=r"edge_attr: expected finite floating states of shape \[E, De\] \(got"):
            PipelineTrainer(network("edges"), cut, given["edge_index"], *rest, optimizer=adam, edge_attr=attr)
    with pytest.raises(ValueError, match=r"seed: expected a whole number from 0 \(got 1.5\)"):
        trainer(net, seed=1.5)
    with pytest.raises(ValueError, match=r"x: expected float32, float64 or bfloat16.* \(got torch.float16\)"):
        trainer(deep("gcn").half(), x=graph("plain")["x"].half())
    with pytest.raises(ValueError, match=r"train: expected int64 ids of nodes \(got a list\)"):
        PipelineTrainer(net, cut, given["edge_index"], given["x"], given["y"], [0, 1], optimizer=adam)


def test_edge_states_of_a_part() -> None:
    given = graph("edges")
    adj = Adjacency.from_edge_index(given["edge_index"], N)
    cut = plan(adj, 4, chunks=3, partitioner=cells(1, 3))
    rest = (given["x"], given["y"], given["train"])
    part = ChunkedGraph.of(given["edge_index"], cut, "plain", edge_attr=given["edge_attr"]).part()
    one = PipelineTrainer(network("edges"), cut, part, *rest, optimizer=adam)
    attr = given["edge_attr"]
    other = PipelineTrainer(network("edges"), cut, given["edge_index"], *rest, optimizer=adam, edge_attr=attr)
    assert losses(one) == losses(other)


def test_a_state_that_is_refused_changes_nothing() -> None:
    one = trainer(deep("gcn", 0.3), 4)
    losses(one, 2)
    before = one.state()
    other = trainer(deep("gcn", 0.3), 4, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0)).state()
    wrong = {**before, "history": {name: rows[1:] for name, rows in before["history"].items()}}
    for state, message in (
        (other, "optimizer: expected the state of this optimiser"),
        (wrong, "history: expected rows"),
    ):
        with pytest.raises(ValueError, match=message):
            one.load_state({**state, "epoch": 7})
    assert one.epoch == 2
    for name, weight in one.state()["model"].items():
        assert torch.equal(weight, before["model"][name])


def test_a_checkpoint_belongs_to_the_trainers_options(tmp_path: Path) -> None:
    one = trainer(deep("gcn", 0.3), 4)
    losses(one, 1)
    first = Checkpoints(tmp_path, one)
    first.restore()
    first.save()
    for options, said in (({"seed": 1}, "options.seed 1 .got one with 0"), ({"refresh": 3}, "options.refresh 3")):
        with pytest.raises(ValueError, match=said):
            Checkpoints(tmp_path, trainer(deep("gcn", 0.3), 4, **options)).restore()
    same = trainer(deep("gcn", 0.3), 4)
    Checkpoints(tmp_path, same).restore()
    assert losses(same) == losses(one)
