"""PyG's layers as hops: the same numbers and gradients as plain PyG, or a refusal by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from same_numbers import edges_of_a_graph, rows, same_with_gradients, stirred
from torch import Tensor, nn
from torch_geometric.nn import DeepGCNLayer, GATConv, GATv2Conv, GCN2Conv, GCNConv, Linear, SAGEConv

from gnnkit import accelerate
from gnnkit.pipeline import Network, OneHop
from gnnkit.pipeline.adapters import adapt


@pytest.fixture
def edge_index() -> Tensor:
    return edges_of_a_graph()


# ------------------------------------------------------------------ one layer

CONVS: dict[str, tuple[Callable[[], Any], str]] = {
    "gcn": (lambda: GCNConv(8, 8), "gcn"),
    "gcn widens": (lambda: GCNConv(8, 12), "gcn"),
    "gcn narrows": (lambda: GCNConv(8, 3), "gcn"),
    "gcn without bias": (lambda: GCNConv(8, 8, bias=False), "gcn"),
    "gcn narrows without bias": (lambda: GCNConv(8, 3, bias=False), "gcn"),
    "gcn unnormalised": (lambda: GCNConv(8, 8, normalize=False), "plain"),
    "gcn cached": (lambda: GCNConv(8, 8, cached=True), "gcn"),
    "sage": (lambda: SAGEConv(8, 8), "mean"),
    "sage narrows": (lambda: SAGEConv(8, 3), "mean"),
    "sage narrows without bias": (lambda: SAGEConv(8, 3, bias=False), "mean"),
    "sage without root": (lambda: SAGEConv(8, 8, root_weight=False), "mean"),
    "sage on the sphere": (lambda: SAGEConv(8, 8, normalize=True), "mean"),
    "sage projects": (lambda: SAGEConv(8, 3, project=True), "mean"),
    "sage sum": (lambda: SAGEConv(8, 3, aggr="sum"), "plain"),
    "sage add": (lambda: SAGEConv(8, 8, aggr="add"), "plain"),
    "sage max": (lambda: SAGEConv(8, 3, aggr="max"), "plain"),
    "gat": (lambda: GATConv(8, 4), "loops"),
    "gat heads": (lambda: GATConv(8, 3, heads=4), "loops"),
    "gat averages": (lambda: GATConv(8, 3, heads=4, concat=False), "loops"),
    "gat without loops": (lambda: GATConv(8, 3, heads=2, add_self_loops=False), "plain"),
    "gat residual": (lambda: GATConv(8, 3, heads=2, residual=True), "loops"),
    "gat residual without bias": (lambda: GATConv(8, 3, heads=2, residual=True, bias=False), "loops"),
    "gat steep": (lambda: GATConv(8, 3, heads=2, negative_slope=0.5, bias=False), "loops"),
    "gat drops": (lambda: GATConv(8, 3, heads=2, dropout=0.5), "loops"),
}


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_layer_computes_what_pyg_computes(name: str, training: bool, edge_index: Tensor) -> None:
    make, edges = CONVS[name]
    conv = stirred(make().double().train(training))
    network = Network(None, [adapt(conv)], None, edges=edges).train(training)  # type: ignore[arg-type]
    assert {id(p) for p in network.parameters()} == {id(p) for p in conv.parameters()}
    same_with_gradients(lambda x: network(x, edge_index), lambda x: conv(x, edge_index), conv)


@pytest.mark.parametrize("shared_weights", [True, False])
@pytest.mark.parametrize("edges", ["gcn", "plain"])
def test_gcnii_reads_what_the_first_part_gave(shared_weights: bool, edges: Any, edge_index: Tensor) -> None:
    first = nn.Linear(8, 6).double()
    options = {"shared_weights": shared_weights, "normalize": edges == "gcn"}
    convs = [GCN2Conv(6, 0.2, 0.7, layer=n, **options).double() for n in (1, 2)]
    network = stirred(Network(first, [adapt(conv) for conv in convs], None, shares=True, edges=edges))

    def plain(x: Tensor) -> Tensor:
        start = x = first(x)
        for conv in convs:
            x = conv(x, start, edge_index)
        return x

    same_with_gradients(lambda x: network(x, edge_index), plain, network)


def test_gat_reads_edge_states_where_it_adds_no_loops(edge_index: Tensor) -> None:
    conv = stirred(GATConv(8, 3, heads=2, edge_dim=5, add_self_loops=False).double())
    states = rows(5, edge_index.shape[1]).detach()
    network = Network(None, [adapt(conv)], None)
    same_with_gradients(lambda x: network(x, edge_index, states), lambda x: conv(x, edge_index, states), conv)
    same_with_gradients(lambda x: network(x, edge_index), lambda x: conv(x, edge_index), conv)


@pytest.mark.parametrize("name", [name for name in CONVS if not name.startswith(("sage projects", "gat residual"))])
def test_what_stands_around_a_layer_draws_once(name: str, edge_index: Tensor) -> None:
    """Neighbours and the root see one mask of a dropout, as in a plain model."""
    make, edges = CONVS[name]
    conv, norm = make().double(), nn.LayerNorm(8).double()
    enter = nn.Sequential(norm, nn.Dropout(0.5))
    network = stirred(Network(None, [adapt(conv, enter=enter, leave=nn.Tanh())], None, edges=edges))  # type: ignore[arg-type]
    same_with_gradients(
        lambda x: network(x, edge_index), lambda x: conv(F.dropout(norm(x), 0.5), edge_index).tanh(), network
    )


@pytest.mark.parametrize("block", ["res+", "plain"])
@pytest.mark.parametrize("make", [lambda: GCNConv(8, 8), lambda: SAGEConv(8, 8)], ids=["gcn", "sage"])
def test_a_deep_gcn_layer_is_a_hop(block: str, make: Callable[[], Any], edge_index: Tensor) -> None:
    layer = DeepGCNLayer(make(), nn.LayerNorm(8), nn.ReLU(), block=block, dropout=0.5).double()
    hop: Any = adapt(layer)
    network = stirred(Network(None, [hop], None, edges=hop.edges))
    assert {id(p) for p in network.parameters()} == {id(p) for p in layer.parameters()}
    same_with_gradients(lambda x: network(x, edge_index), lambda x: layer(x, edge_index), layer)


def test_rows_go_to_neighbours_as_narrow_as_they_can() -> None:
    for make, width in (
        (lambda: GCNConv(8, 3), 3),
        (lambda: GCNConv(8, 12), 8),
        (lambda: SAGEConv(8, 3), 3),
        (lambda: GATConv(8, 2, heads=3), 6),
    ):
        conv = make()
        assert adapt(conv).before(torch.zeros(4, 8)).shape == (4, width)


# ------------------------------------------------------------------ refusals


class MyGCN(GCNConv):
    """A layer that says other messages."""

    def message(self, x_j: Tensor, edge_weight: Any) -> Tensor:
        return 2 * x_j


def hooked() -> GCNConv:
    conv = GCNConv(8, 8)
    conv.lin.register_forward_hook(lambda *_: None)
    return conv


def listening() -> GCNConv:
    conv = GCNConv(8, 8)
    conv.register_message_forward_hook(lambda *_: None)
    return conv


def wrapped() -> GCNConv:
    conv = GCNConv(8, 8)
    conv.lin = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    return conv


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(8, 8), r"^conv: expected PyG's own GCNConv, .* or DeepGCNLayer \(got Linear\)$"),
        (lambda: GATv2Conv(8, 8), r"^conv: expected PyG's own .* \(got GATv2Conv\)$"),
        (lambda: MyGCN(8, 8), r"\(got a subclass of GCNConv: MyGCN\)$"),
        (lambda: accelerate(GCNConv(8, 8)), r"\(got a subclass of GCNConv: GCNConv\)$"),
        (lambda: GCNConv(8, 8, improved=True), r"^GCNConv: expected improved=False \(got True\)$"),
        (lambda: GCNConv(8, 8, add_self_loops=False), r"^GCNConv: expected add_self_loops=True \(got False\)$"),
        (lambda: GCNConv(8, 8, flow="target_to_source"), r"^GCNConv: expected flow='source_to_target' \(got 'target"),
        (lambda: GCNConv(8, 8, aggr="max"), r"^GCNConv: expected aggr='add' or 'sum' \(got 'max'\)$"),
        (lambda: GCNConv(-1, 8), r"^GCNConv: expected parameters of known shapes \(got lin.weight without one\)$"),
        (hooked, r"^GCNConv: expected no hooks, which a hop would not run \(got one on Linear\)$"),
        (listening, r"^GCNConv: expected no hooks, which a hop would not run \(got one on GCNConv\)$"),
        (wrapped, r"^GCNConv: expected lin to be PyG's Linear \(got Sequential\)$"),
        (lambda: SAGEConv(8, 8, aggr="lstm"), r"^SAGEConv: expected aggr='mean' or .* \(got 'lstm'\)$"),
        (lambda: SAGEConv(8, 8, aggr=["mean", "max"]), r"^SAGEConv: expected aggr='mean' or .* \(got \["),
        (lambda: GCN2Conv(8, 0.1, add_self_loops=False), r"^GCN2Conv: expected add_self_loops=True \(got False\)$"),
        (lambda: GATConv((8, 8), 8), r"^GATConv: expected one in_channels for both ends \(got \(8, 8\)\)$"),
        (lambda: GATConv(8, 8, edge_dim=3), r"^GATConv with self-loops: expected edge_dim=None \(got 3\)$"),
        (
            lambda: DeepGCNLayer(GCNConv(8, 8), block="dense"),
            r"^DeepGCNLayer: expected block res\+ or plain \(got 'dense",
        ),
        (lambda: DeepGCNLayer(GCNConv(8, 8, improved=True)), r"^GCNConv: expected improved=False \(got True\)$"),
    ],
)
def test_what_a_hop_cannot_honour_is_refused_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapt(make())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAGEConv(8, 8, project=True), r"^SAGEConv behind enter: expected project=False \(got True\)$"),
        (lambda: GATConv(8, 8, residual=True), r"^GATConv behind enter: expected residual=False \(got True\)$"),
        (lambda: DeepGCNLayer(GCNConv(8, 8)), r"^DeepGCNLayer: expected it without enter, leave and residual"),
    ],
)
def test_what_cannot_stand_behind_a_dropout_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapt(make(), enter=nn.Dropout(0.5))


def test_a_hop_in_a_network_with_other_edges_is_refused(edge_index: Tensor) -> None:
    hop, gat = adapt(GCNConv(8, 8)), adapt(GATConv(8, 8))
    with pytest.raises(
        ValueError, match=r"^GCNConv: expected a network with edges='gcn' \(got edges without weights\)$"
    ):
        hop(rows(8).float(), edge_index)
    with pytest.raises(
        ValueError, match=r"^GATConv: expected a network with edges='loops' \(got edges with weights\)$"
    ):
        gat(rows(8).float(), edge_index, edge_weight=torch.ones(edge_index.shape[1]))
    with pytest.raises(ValueError, match=r"^edges: expected 'loops', which layer 1 \(GATHop\) reads \(got 'gcn'\)$"):
        Network(None, [hop, gat], None, edges="gcn")
    with pytest.raises(ValueError, match=r"GCN2Conv: expected a network with shares=True, .* \(got none\)"):
        Network(None, [adapt(GCN2Conv(8, 0.1))], None, edges="gcn")(rows(8).float(), edge_index)


def test_hops_are_one_hop_layers_that_share_the_layer_given() -> None:
    conv = GCNConv(8, 8)
    hop: Any = adapt(conv)
    assert isinstance(hop, OneHop)
    assert hop.conv is conv
    assert isinstance(conv.lin, Linear)
