"""Every convolution of PyG gives the output and the gradients that it gives without us, in evaluation and training."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch_geometric.nn.conv as convs
from torch import Tensor, nn

import gnnkit
from gnnkit._accelerate._layer import FastLayer

N, F, OUT, D, R = 9, 6, 4, 3, 3  # nodes, channels in and out, channels of an edge, relations


def mlp(width: int, out: int = OUT) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, out))


class Graph:
    """The arguments that the layers take, by name."""

    def __init__(self, seed: int, num_edges: int) -> None:
        rng = torch.Generator().manual_seed(seed)

        def leaf(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()

        self.e = torch.randint(N, (2, num_edges), generator=rng)
        self.x, self.x0, self.deep, self.pos = leaf(N, F), leaf(N, F), leaf(N, 4, F), leaf(N, 3)
        self.pair = self.x, self.x0
        self.weight, self.attr = leaf(num_edges), leaf(num_edges, D)
        self.weight = self.weight.detach().sigmoid().requires_grad_()
        self.unit = self.attr.detach().sigmoid().requires_grad_()
        self.normal = nn.functional.normalize(leaf(N, 3).detach())
        self.type = torch.randint(R, (num_edges,), generator=rng)
        self.kind = torch.randint(R, (N,), generator=rng)
        self.label = torch.randint(5, (N,), generator=rng)
        self.batch = torch.arange(N) // 5
        self.other = torch.randint(N, (2, 7), generator=rng)
        self.none = None
        self.x_dict = {"a": self.x, "b": self.x0}
        self.e_dict = {("a", "to", "b"): self.e, ("b", "back", "a"): self.e.flip(0)}

    @property
    def leaves(self) -> list[Tensor]:
        return [value for value in vars(self).values() if isinstance(value, Tensor) and value.requires_grad]


META = (["a", "b"], [("a", "to", "b"), ("b", "back", "a")])
SELF = "multiplicative-self-attention"
DEGREES = torch.tensor([1, 2, 3, 2, 1])
# name of the class, a word for the variant -> (layer, names of its arguments in `Graph`)
CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "AGNNConv": (lambda: convs.AGNNConv(), "x e"),
    "AntiSymmetricConv": (lambda: convs.AntiSymmetricConv(F), "x e"),
    "APPNP": (lambda: convs.APPNP(2, 0.1, dropout=0.5), "x e weight"),
    "ARMAConv": (lambda: convs.ARMAConv(F, OUT, num_stacks=2, num_layers=2, dropout=0.5), "x e weight"),
    "CGConv": (lambda: convs.CGConv(F, dim=D, batch_norm=True), "x e attr"),
    "CGConv max": (lambda: convs.CGConv(F, dim=D, aggr="max"), "pair e attr"),
    "ChebConv": (lambda: convs.ChebConv(F, OUT, K=3), "x e weight"),
    "ClusterGCNConv": (lambda: convs.ClusterGCNConv(F, OUT), "x e"),
    "DirGNNConv": (lambda: convs.DirGNNConv(convs.SAGEConv(F, OUT)), "x e"),
    "DNAConv": (lambda: convs.DNAConv(F, heads=2, dropout=0.3), "deep e weight"),
    "EdgeConv": (lambda: convs.EdgeConv(mlp(2 * F)), "pair e"),
    "EGConv": (lambda: convs.EGConv(F, OUT, aggregators=["symnorm", "max", "std"], num_heads=2), "x e"),
    "FAConv": (lambda: convs.FAConv(F, dropout=0.3), "x x0 e"),
    "FAConv weighted": (lambda: convs.FAConv(F, normalize=False), "x x0 e weight"),
    "FeaStConv": (lambda: convs.FeaStConv(F, OUT, heads=2), "pair e"),
    "FiLMConv": (lambda: convs.FiLMConv(F, OUT, num_relations=R), "x e type"),
    "GATConv": (lambda: convs.GATConv(F, OUT, heads=2, dropout=0.3), "x e"),
    "GATConv pair": (lambda: convs.GATConv((F, F), OUT, heads=2, edge_dim=D, add_self_loops=False), "pair e attr"),
    "GatedGraphConv": (lambda: convs.GatedGraphConv(F, num_layers=2), "x e weight"),
    "GATv2Conv": (lambda: convs.GATv2Conv(F, OUT, heads=2, dropout=0.3), "x e"),
    "GCN2Conv": (lambda: convs.GCN2Conv(F, 0.1, theta=0.5, layer=1, shared_weights=False), "x x0 e weight"),
    "GCNConv": (lambda: convs.GCNConv(F, OUT), "x e weight"),
    "GENConv": (lambda: convs.GENConv(F, OUT, edge_dim=D, learn_t=True), "x e attr"),
    "GENConv add": (lambda: convs.GENConv(F, OUT, edge_dim=D, aggr="add", norm="layer"), "pair e attr"),
    "GeneralConv": (lambda: convs.GeneralConv(F, OUT, D, attention=True, heads=2, l2_normalize=True), "x e attr"),
    "GINConv": (lambda: convs.GINConv(mlp(F)), "x e"),
    "GINEConv": (lambda: convs.GINEConv(mlp(F), edge_dim=D), "pair e attr"),
    "GMMConv": (lambda: convs.GMMConv(F, OUT, dim=D, kernel_size=2), "pair e attr"),
    "GMMConv separate": (lambda: convs.GMMConv(F, OUT, dim=D, kernel_size=2, separate_gaussians=True), "x e attr"),
    "GPSConv": (lambda: convs.GPSConv(F, convs.GINConv(mlp(F, F)), heads=2, dropout=0.2), "x e batch"),
    "GraphConv": (lambda: convs.GraphConv(F, OUT), "pair e weight"),
    "GraphConv max": (lambda: convs.GraphConv(F, OUT, aggr="max"), "x e weight"),
    "HANConv": (lambda: convs.HANConv(F, OUT, META, heads=2, dropout=0.2), "x_dict e_dict"),
    "HEATConv": (lambda: convs.HEATConv(F, OUT, R, R, 3, D, 2, heads=2, dropout=0.2), "x e kind type attr"),
    "HeteroConv": (lambda: convs.HeteroConv({k: convs.SAGEConv((F, F), OUT) for k in META[1]}), "x_dict e_dict"),
    "HGTConv": (lambda: convs.HGTConv(F, OUT, META, heads=2), "x_dict e_dict"),
    "HypergraphConv": (lambda: convs.HypergraphConv(F, OUT), "x e"),
    "HypergraphConv attention": (
        lambda: convs.HypergraphConv(F, OUT, use_attention=True, heads=2, dropout=0.2),
        "x e none x0",
    ),
    "LEConv": (lambda: convs.LEConv(F, OUT), "pair e weight"),
    "LGConv": (lambda: convs.LGConv(), "x e weight"),
    "MFConv": (lambda: convs.MFConv(F, OUT, max_degree=5), "pair e"),
    "MixHopConv": (lambda: convs.MixHopConv(F, OUT, powers=[0, 1, 2]), "x e weight"),
    "NNConv": (lambda: convs.NNConv(F, OUT, mlp(D, F * OUT), aggr="mean"), "pair e attr"),
    "PDNConv": (lambda: convs.PDNConv(F, OUT, D, 5), "x e attr"),
    "PNAConv": (
        lambda: convs.PNAConv(F, OUT, ["mean", "max", "std"], ["identity", "attenuation"], DEGREES, edge_dim=D),
        "x e attr",
    ),
    "PointGNNConv": (lambda: convs.PointGNNConv(mlp(F, 3), mlp(3 + F, F), mlp(F, F)), "x pos e"),
    "PointNetConv": (lambda: convs.PointNetConv(mlp(F + 3), mlp(OUT)), "x pos e"),
    "PointTransformerConv": (lambda: convs.PointTransformerConv(F, OUT), "pair pos e"),
    "PPFConv": (lambda: convs.PPFConv(mlp(F + 4), mlp(OUT)), "x pos normal e"),
    "ResGatedGraphConv": (lambda: convs.ResGatedGraphConv(F, OUT, edge_dim=D), "pair e attr"),
    "RGATConv": (lambda: convs.RGATConv(F, OUT, R, num_bases=2, heads=2, edge_dim=D, dropout=0.2), "x e type attr"),
    "RGATConv f-scaled": (
        lambda: convs.RGATConv(F, OUT, R, num_blocks=2, heads=2, mod="f-scaled", attention_mode=SELF),
        "x e type",
    ),
    "RGCNConv": (lambda: convs.RGCNConv(F, OUT, R, num_bases=2), "x e type"),
    "RGCNConv blocks": (lambda: convs.RGCNConv(F, OUT, R, num_blocks=2), "pair e type"),
    "RGCNConv ids": (lambda: convs.RGCNConv(N, OUT, R), "none e type"),
    "FastRGCNConv": (lambda: convs.FastRGCNConv(F, OUT, R, num_bases=2), "pair e type"),
    "SAGEConv": (lambda: convs.SAGEConv(F, OUT, project=True, normalize=True), "pair e"),
    "SAGEConv max": (lambda: convs.SAGEConv(F, OUT, aggr="max"), "x e"),
    "SGConv": (lambda: convs.SGConv(F, OUT, K=2, cached=True), "x e weight"),
    "SignedConv": (lambda: convs.SignedConv(F, OUT, first_aggr=True), "x e other"),
    "SimpleConv": (lambda: convs.SimpleConv(aggr="mean", combine_root="self_loop"), "x e weight"),
    "SimpleConv max": (lambda: convs.SimpleConv(aggr="max", combine_root="cat"), "pair e weight"),
    "SSGConv": (lambda: convs.SSGConv(F, OUT, 0.1, K=2), "x e weight"),
    "SuperGATConv": (lambda: convs.SuperGATConv(F, OUT, heads=2, dropout=0.2), "x e"),
    "TAGConv": (lambda: convs.TAGConv(F, OUT, K=2), "x e weight"),
    "TransformerConv": (lambda: convs.TransformerConv(F, OUT, heads=2, edge_dim=D, dropout=0.2), "pair e attr"),
    "WLConv": (lambda: convs.WLConv(), "label e"),
    "WLConvContinuous": (lambda: convs.WLConvContinuous(), "x e weight"),
}
# they need torch-cluster, torch-spline-conv, torch-sparse, CUDA, or a mesh's five edges a node
ABSENT = {"DynamicEdgeConv", "GravNetConv", "XConv", "SplineConv", "PANConv", "MeshCNNConv", "FusedGATConv"}
# a hash of neighbours' labels: no message passing in it
LEFT = {"WLConv"}


def outcome(layer: nn.Module, names: str, seed: int, num_edges: int) -> list[Tensor]:
    """The outputs, the gradients and what the random generator gives next."""
    graph = Graph(seed, num_edges)
    torch.manual_seed(seed)
    out = layer(*(getattr(graph, name) for name in names.split()))
    outs = list(out.values()) if isinstance(out, dict) else list(out) if isinstance(out, tuple) else [out]
    outs = [one for one in outs if isinstance(one, Tensor)]
    wrt = [*graph.leaves, *(p for p in layer.parameters() if p.requires_grad)]
    grads: tuple[Tensor | None, ...] = ()
    loss = sum((one * torch.linspace(-1, 1, one.numel()).view_as(one)).sum() for one in outs if one.requires_grad)
    if isinstance(loss, Tensor):
        grads = torch.autograd.grad(loss, wrt, allow_unused=True)
    filled = [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wrt, strict=bool(grads))]
    return [*(one.detach() for one in outs), *filled, *layer.buffers(), torch.rand(2)]


@pytest.mark.parametrize("name", CASES)
def test_equal(name: str) -> None:
    make, names = CASES[name]
    torch.manual_seed(0)
    plain = make().double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    assert any(isinstance(layer, FastLayer) for layer in fast.modules()) == (name not in LEFT)
    for seed, num_edges, training in ((0, 30, True), (1, 12, True), (0, 30, False), (2, 60, True)):
        results = []
        for layer in (plain, fast):
            layer.train(training)
            if hasattr(layer, "_cached_x"):
                layer._cached_x = None
            results.append(outcome(layer, names, seed, num_edges))
        torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-10, equal_nan=True)
    assert all(type(layer).keeps_rows_pending for layer in fast.modules() if isinstance(layer, FastLayer))


def test_no_convolution_is_forgotten() -> None:
    known = {name.split()[0] for name in CASES} | ABSENT | {"MessagePassing"}
    assert {name for name in convs.__all__ if not name.startswith("CuGraph")} == known
