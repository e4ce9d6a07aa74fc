"""measure_costs: what each part takes forward and backward, and nothing of the network is changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnnkit import Adjacency
from gnnkit.pipeline import Neighbourhood, Network, OneHop, _measure, measure_costs, plan

RING = torch.stack([torch.arange(12), torch.arange(12).roll(-1)])
X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))


class Clock:
    """A clock that only the parts below advance."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_measure, "perf_counter", clock)
    return clock


class _Wait(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, clock: Clock, there: float, back: float) -> Tensor:
        ctx.clock, ctx.back = clock, back
        clock.seconds += there
        return rows.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.clock.seconds += ctx.back
        return grads[0], None, None, None


class Waits(nn.Module):
    """A row-wise part that takes known times."""

    def __init__(self, clock: Clock, there: float, back: float) -> None:
        super().__init__()
        self.clock, self.there, self.back, self.scale = clock, there, back, nn.Parameter(torch.ones(()))

    def forward(self, rows: Tensor) -> Tensor:
        return _Wait.apply(rows * self.scale, self.clock, self.there, self.back)  # type: ignore[no-untyped-call]


class Hop(OneHop):
    """A hop that takes known times."""

    def __init__(self, clock: Clock, there: float, back: float) -> None:
        super().__init__()
        self.waits = Waits(clock, there, back)

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        return graph.adj.spmm(self.waits(z), graph.edge_weight)

    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return a if shared is None else a + shared


class Edges(nn.Module):
    """A layer of PyG's kind that gives new states of edges, and draws random numbers."""

    returns_edges = True

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4 + 3, 3)

    def forward(self, x: Tensor, edge_index: Tensor, *, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        edge_attr = torch.dropout(self.lin(torch.cat([x[edge_index[0]], edge_attr], 1)), 0.5, True)
        return x.index_add(0, edge_index[1], edge_attr.sum(1, keepdim=True).expand(-1, 4)), edge_attr


@pytest.mark.parametrize("kind", ["plain", "gcn"])
@pytest.mark.parametrize("shares", [False, True])
def test_seconds_are_those_of_each_part_forward_and_backward(clock: Clock, kind: Any, shares: bool) -> None:
    hops = [Hop(clock, 2.0, 3.0), Hop(clock, 4.0, 0.0), Hop(clock, 1.0, 7.0)]
    net = Network(Waits(clock, 8.0, 16.0), hops, Waits(clock, 32.0, 64.0), shares=shares, edges=kind)
    costs = measure_costs(net, X, RING)
    assert costs.layers == (5.0, 4.0, 8.0)
    assert costs.ends == (24.0, 96.0)
    assert plan(Adjacency.from_edge_index(RING), *costs[:1], ends=costs.ends, stages=2).stages == ((0, 2), (2, 3))


def test_the_first_run_does_not_count_and_of_the_others_the_median_does(clock: Clock) -> None:
    hop = Hop(clock, 0.0, 0.0)
    times = iter([100.0, 1.0, 5.0, 2.0])
    hop.register_forward_pre_hook(lambda *_: setattr(hop.waits, "there", next(times)))
    assert measure_costs(Network(None, [hop], None), X, RING, repeats=3).layers == (2.0,)


def test_a_network_without_ends_and_without_parameters_is_timed_too() -> None:
    class Sum(OneHop):
        def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
            return graph.adj.spmm(z)

    costs = measure_costs(Network(None, [Sum(), Sum()], None), X, RING)
    assert costs.ends == (0.0, 0.0)
    assert min(costs.layers) > 0


def test_nothing_of_the_network_or_of_random_states_changes() -> None:
    net = Network(nn.Linear(4, 4), [Edges(), Edges()], nn.Linear(4, 2))
    net.last.bias.grad = torch.ones(2)  # type: ignore[union-attr]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        costs = measure_costs(net, X, RING, torch.randn(12, 3, generator=torch.Generator().manual_seed(1)), repeats=1)
    assert min(*costs.layers, *costs.ends) > 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    grads = {name: each.grad for name, each in net.named_parameters()}
    assert torch.equal(grads.pop("last.bias"), torch.ones(2))  # type: ignore[arg-type]
    assert set(grads.values()) == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": nn.Linear(4, 4)}, r"network: expected a gnnkit.pipeline.Network \(got Linear\)"),
        ({"repeats": 0}, r"repeats: expected a whole number from 1 \(got 0\)"),
        ({"edge_index": RING + 1}, r"expected .*\(got"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    network = Network(None, [Hop(Clock(), 0.0, 0.0)], None)
    with pytest.raises(ValueError, match=message):
        measure_costs(**{"network": network, "x": X, "edge_index": RING, **change})
