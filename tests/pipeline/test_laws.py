"""Layers that break the contract are found by what they do, and named with what they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from least_hops import Sum, TwoHops, with_layer
from torch import Tensor, nn
from torch_geometric import nn as pyg

from gnnkit.pipeline import Neighbourhood, Network, OneHop, inspect


class Bare(nn.Module):
    """A layer by the contract alone."""

    def __init__(self, function: Callable[..., Any], returns_edges: bool = False) -> None:
        super().__init__()
        self.function, self.returns_edges = function, returns_edges

    def forward(self, x: Tensor, edge_index: Tensor, **options: Any) -> Any:
        return self.function(self, x, edge_index, **options)


def gathered(x: Tensor, edge_index: Tensor) -> Tensor:
    """Add up the neighbours' rows."""
    return torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])


class HiddenGate(nn.Module):
    """Two hops behind a gate that begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return gathered(x, edge_index) + self.gate * gathered(gathered(x, edge_index), edge_index)


BARE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "two hops": (
        lambda: Bare(lambda _, x, e: gathered(gathered(x, e), e)),
        r"expected one hop, a node's row .* changed with a node two hops away, in evaluation mode\)$",
    ),
    "two hops behind a gate": (HiddenGate, r"expected one hop, .* changed with a node two hops away"),
    "two hops in training": (
        lambda: Bare(lambda me, x, e: gathered(gathered(x, e), e) if me.training else gathered(x, e)),
        r"expected one hop, .* changed with a node two hops away, in training mode\)$",
    ),
    "a mean of all": (
        lambda: Bare(lambda _, x, e: gathered(x, e) - x.mean(0)),
        r"expected one hop, .* changed with an unconnected node, in evaluation mode\)$",
    ),
    "statistics in training": (
        lambda: Bare(lambda me, x, e: (x + gathered(x, e)) / (x.std() if me.training else 1)),
        r"expected one hop, .* changed with an unconnected node, in training mode\)$",
    ),
    "against the edges": (
        lambda: Bare(lambda _, x, e: gathered(x, e.flip(0))),
        r"expected one hop, .* changed with a node that it sends to, against the edge, in evaluation mode\)$",
    ),
    "degrees of its own": (
        lambda: pyg.GCNConv(6, 6),
        r"expected a piece of the graph to give the rows of the whole \(got others; a layer that normalises by itself",
    ),
    "out-degrees": (
        lambda: Bare(lambda _, x, e: gathered(x / e[0].bincount(minlength=len(x)).clamp(min=1)[:, None], e)),
        r"expected a piece of the graph to give the rows of the whole",
    ),
    "edges remembered": (lambda: pyg.GCNConv(6, 6, cached=True), r"expected it to run on rows of width 6|a piece"),
    "the number of nodes": (
        lambda: Bare(lambda _, x, e: gathered(x, e) / len(x)),
        r"expected a piece of the graph to give the rows of the whole",
    ),
    "fewer rows": (
        lambda: Bare(lambda _, x, e: gathered(x, e)[1:]),
        r"\(got ValueError: Bare: expected one row for each of 9 nodes \(got \[8, 6\]\)\)$",
    ),
    "no graph layer": (lambda: nn.Linear(6, 6), r"expected it to run on rows of width 6 \(got TypeError: "),
    "another width": (lambda: pyg.SAGEConv(5, 6), r"expected it to run on rows of width 6 \(got RuntimeError: "),
    "lazy": (lambda: pyg.SAGEConv(-1, 6), r"expected parameters of known shapes \(got lin_l.weight without one\)$"),
    "writes its input": (
        lambda: Bare(lambda _, x, e: gathered(x.mul_(2) if not x.requires_grad else x, e)),
        r"expected its input to be left as it is \(got one written in place\)$",
    ),
}


@pytest.mark.parametrize("name", BARE)
def test_a_layer_that_breaks_the_contract_is_named(name: str) -> None:
    make, message = BARE[name]
    layer = make()
    with pytest.raises(ValueError, match=rf"^layer 1 \({type(layer).__name__}\): .*{message.removeprefix('^')}"):
        inspect(Network(None, [Sum(), layer], None), 6)


class BeforeMixes(Sum):
    def before(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return x - x.mean(0)


class BeforeMixesInTraining(Sum):
    def before(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return x / x.norm() if self.training else x


class BeforeKnowsPlaces(Sum):
    def before(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return x + torch.arange(len(x))[:, None]


class DropsRows(Sum):
    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        return super().aggregate(z, graph)[: graph.adj.num_dst - 1]


class GivesSources(Sum):
    """Right on a whole graph, where every source is a destination."""

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        out = super().aggregate(z, graph)
        return torch.cat([out, z[len(out) :]])


class AfterMixes(Sum):
    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        return a + x.sum(0)


class OtherForward(Sum):
    def forward(self, x: Tensor, edge_index: Any, **options: Any) -> Tensor:
        return 2 * super().forward(x, edge_index, **options)


@pytest.mark.parametrize(
    ("hop", "message"),
    [
        (BeforeMixes, r"\.before: expected a row to depend on that node's row alone .*, in evaluation mode\)$"),
        (BeforeMixesInTraining, r"\.before: expected a row to depend on that node's row alone .*, in training mode\)$"),
        (BeforeKnowsPlaces, r"\.before: expected a row to depend .* \(got others where fewer nodes came"),
        (TwoHops, r"\.aggregate: expected one hop, .* changed with a node two hops away"),
        (DropsRows, r"\.aggregate: expected 9 rows \(got \[8, 6\]\)$"),
        (GivesSources, r"\.aggregate: expected 3 rows \(got \[6, 6\]\)$"),
        (AfterMixes, r"\.after: expected a row to depend on that node's row alone"),
        (OtherForward, r": expected after\(aggregate\(before\(x\)\), x\) \(got a forward that gives other rows\)$"),
        (
            OneHop,
            r"\.aggregate: expected it to run .* \(got NotImplementedError: OneHop.aggregate: expected a subclass",
        ),
    ],
)
def test_a_hop_that_breaks_the_contract_is_named_with_its_part(hop: type[OneHop], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^layer 1 \({hop.__name__}\){message}"):
        inspect(with_layer(hop()), 4)


class Mixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0)


def test_ends_are_row_by_row() -> None:
    for first, last, name in ((Mixing(), None, "first"), (None, Mixing(), "last")):
        with pytest.raises(ValueError, match=rf"^{name}: expected a row to depend on that node's row alone \(got one"):
            inspect(Network(first, [Sum()], last), 4)
    with pytest.raises(ValueError, match=r"^last: expected it to run on rows of width 6 \(got RuntimeError: "):
        inspect(Network(nn.Linear(4, 6), [Sum()], nn.Linear(5, 3)), 4)
    with pytest.raises(ValueError, match=r"^first: expected it to run on rows of width 3 \(got RuntimeError: "):
        inspect(Network(nn.Linear(4, 6), [Sum()], None), 3)
    with pytest.raises(ValueError, match=r"^first: expected its input to be left as it is \(got one written"):
        inspect(Network(nn.ReLU(inplace=True), [Sum()], None), 3)
    with pytest.raises(ValueError, match=r"^first: expected 9 rows \(got \[4\]\)$"):
        inspect(Network(Flat(), [Sum()], None), 4)


def test_what_travels_along_is_read_by_its_own_node() -> None:
    layer = Bare(lambda _, x, e, shared: gathered(x + shared, e))
    with pytest.raises(
        ValueError, match=r"^layer 1 \(Bare\), shared: expected a row to depend on that node's row alone"
    ):
        inspect(with_layer(layer, shares=True), 4)
    allowed = Bare(lambda _, x, e, shared: gathered(x, e) + shared)
    assert len(inspect(Network(nn.Linear(4, 6), [allowed], None, shares=True), 4)) == 1


def test_states_of_edges_stay_with_their_destinations() -> None:
    def elsewhere(_: Any, x: Tensor, e: Tensor, edge_attr: Tensor) -> Tensor:
        return torch.zeros_like(x).index_add(0, e[0], edge_attr)  # at the source

    def mixed(_: Any, x: Tensor, e: Tensor, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        return gathered(x, e), edge_attr - edge_attr.mean(0)

    def far(_: Any, x: Tensor, e: Tensor, edge_attr: Tensor) -> tuple[Tensor, Tensor]:
        return gathered(x, e), edge_attr + gathered(x, e)[e[0]]  # the source's neighbours

    for function, returns, message in (
        (elsewhere, False, r"^layer 0 \(Bare\): expected an edge's state to be read at its destination \(got it elsew"),
        (mixed, True, r"^layer 0 \(Bare\): expected an edge's new state to follow the nodes and edges"),
        (far, True, r"^layer 0 \(Bare\): expected an edge's new state to follow the nodes and edges"),
    ):
        with pytest.raises(ValueError, match=message):
            inspect(Network(None, [Bare(function, returns)], None), 6, edge_channels=6)
    with pytest.raises(
        ValueError, match=r"^edge_channels: expected None, for self-loops have no state \(got edges='gcn'"
    ):
        inspect(Network(None, [Sum()], None, edges="gcn"), 6, edge_channels=2)
