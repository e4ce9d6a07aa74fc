"""Every convolution of PyG with arguments that are not its defaults, and random graphs to call it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch_geometric.nn.conv as convs
from torch import Tensor, nn

R = 3  # kinds of edges and of nodes


@dataclass(frozen=True)
class Sizes:
    """How large the graphs are: nodes, channels in and out, channels of an edge."""

    n: int = 9
    c: int = 6
    o: int = 4
    d: int = 3
    dtype: torch.dtype = torch.float64

    def mlp(self, width: int, out: int | None = None) -> nn.Sequential:
        """Two dense layers; to the channels out where ``out`` is None."""
        return nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, self.o if out is None else out))


class Graph:
    """The arguments that the layers take, by name."""

    def __init__(self, sizes: Sizes, num_edges: int, seed: int) -> None:
        rng, n = torch.Generator().manual_seed(seed), sizes.n

        def leaf(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=sizes.dtype).requires_grad_()

        self.e = torch.randint(n, (2, num_edges), generator=rng)
        self.sorted = self.e[:, self.e[1].argsort(stable=True)]
        self.x, self.x0, self.deep, self.pos = leaf(n, sizes.c), leaf(n, sizes.c), leaf(n, 4, sizes.c), leaf(n, 3)
        self.pair = self.x, self.x0
        self.weight, self.attr = leaf(num_edges), leaf(num_edges, sizes.d)
        self.weight = self.weight.detach().sigmoid().requires_grad_()
        self.normal = nn.functional.normalize(leaf(n, 3).detach())
        self.type = torch.randint(R, (num_edges,), generator=rng)
        self.kind = torch.randint(R, (n,), generator=rng)
        self.label = torch.randint(5, (n,), generator=rng)
        self.batch = torch.arange(n) // 5
        self.other = torch.randint(n, (2, 7), generator=rng)
        self.none = None
        self.x_dict = {"a": self.x, "b": self.x0}
        self.e_dict = {("a", "to", "b"): self.e, ("b", "back", "a"): self.e.flip(0)}

    @property
    def leaves(self) -> list[Tensor]:
        """What gradients are asked for."""
        return [value for value in vars(self).values() if isinstance(value, Tensor) and value.requires_grad]

    def call(self, layer: nn.Module, names: str) -> list[Tensor]:
        """Give the tensors that a layer returns for the arguments ``names``."""
        out = layer(*(getattr(self, name) for name in names.split()))
        outs = list(out.values()) if isinstance(out, dict) else list(out) if isinstance(out, tuple) else [out]
        return [one for one in outs if isinstance(one, Tensor)]


META = (["a", "b"], [("a", "to", "b"), ("b", "back", "a")])
SELF = "multiplicative-self-attention"
DEGREES = torch.tensor([1, 2, 3, 2, 1])
# name of the class, a word for the variant -> (layer, names of its arguments in `Graph`)
CASES: dict[str, tuple[Callable[[Sizes], nn.Module], str]] = {
    "AGNNConv": (lambda s: convs.AGNNConv(), "x e"),
    "AntiSymmetricConv": (lambda s: convs.AntiSymmetricConv(s.c), "x e"),
    "APPNP": (lambda s: convs.APPNP(2, 0.1, dropout=0.5), "x e weight"),
    "ARMAConv": (lambda s: convs.ARMAConv(s.c, s.o, num_stacks=2, num_layers=2, dropout=0.5), "x e weight"),
    "CGConv": (lambda s: convs.CGConv(s.c, dim=s.d, batch_norm=True), "x e attr"),
    "CGConv max": (lambda s: convs.CGConv(s.c, dim=s.d, aggr="max"), "pair e attr"),
    "ChebConv": (lambda s: convs.ChebConv(s.c, s.o, K=3), "x e weight"),
    "ClusterGCNConv": (lambda s: convs.ClusterGCNConv(s.c, s.o), "x e"),
    "DirGNNConv": (lambda s: convs.DirGNNConv(convs.SAGEConv(s.c, s.o)), "x e"),
    "DNAConv": (lambda s: convs.DNAConv(s.c, heads=2, dropout=0.3), "deep e weight"),
    "EdgeConv": (lambda s: convs.EdgeConv(s.mlp(2 * s.c)), "pair e"),
    "EGConv": (lambda s: convs.EGConv(s.c, s.o, aggregators=["symnorm", "max", "std"], num_heads=2), "x e"),
    "FAConv": (lambda s: convs.FAConv(s.c, dropout=0.3), "x x0 e"),
    "FAConv weighted": (lambda s: convs.FAConv(s.c, normalize=False), "x x0 e weight"),
    "FeaStConv": (lambda s: convs.FeaStConv(s.c, s.o, heads=2), "pair e"),
    "FiLMConv": (lambda s: convs.FiLMConv(s.c, s.o, num_relations=R), "x e type"),
    "GATConv": (lambda s: convs.GATConv(s.c, s.o, heads=2, dropout=0.3), "x e"),
    "GATConv edge_dim": (
        lambda s: convs.GATConv((s.c, s.c), s.o, heads=2, edge_dim=s.d, add_self_loops=False),
        "pair e attr",
    ),
    "GatedGraphConv": (lambda s: convs.GatedGraphConv(s.c, num_layers=2), "x e weight"),
    "GATv2Conv edge_dim": (lambda s: convs.GATv2Conv(s.c, s.o, heads=2, edge_dim=s.d), "x e attr"),
    "GATv2Conv": (lambda s: convs.GATv2Conv(s.c, s.o, heads=2, dropout=0.3), "x e"),
    "GCN2Conv": (lambda s: convs.GCN2Conv(s.c, 0.1, theta=0.5, layer=1, shared_weights=False), "x x0 e weight"),
    "GCNConv": (lambda s: convs.GCNConv(s.c, s.o), "x e weight"),
    "GENConv": (lambda s: convs.GENConv(s.c, s.o, edge_dim=s.d, learn_t=True), "x e attr"),
    "GENConv power": (lambda s: convs.GENConv(s.c, s.o, aggr="power", p=2.0, learn_p=True), "x e"),
    "GENConv add": (lambda s: convs.GENConv(s.c, s.o, edge_dim=s.d, aggr="add", norm="layer"), "pair e attr"),
    "GeneralConv": (lambda s: convs.GeneralConv(s.c, s.o, s.d, attention=True, heads=2, l2_normalize=True), "x e attr"),
    "GINConv": (lambda s: convs.GINConv(s.mlp(s.c)), "x e"),
    "GINEConv": (lambda s: convs.GINEConv(s.mlp(s.c), edge_dim=s.d), "pair e attr"),
    "GMMConv": (lambda s: convs.GMMConv(s.c, s.o, dim=s.d, kernel_size=2), "pair e attr"),
    "GMMConv separate": (
        lambda s: convs.GMMConv(s.c, s.o, dim=s.d, kernel_size=2, separate_gaussians=True),
        "x e attr",
    ),
    "GPSConv": (lambda s: convs.GPSConv(s.c, convs.GINConv(s.mlp(s.c, s.c)), heads=2, dropout=0.2), "x e batch"),
    "GraphConv": (lambda s: convs.GraphConv(s.c, s.o), "pair e weight"),
    "GraphConv max": (lambda s: convs.GraphConv(s.c, s.o, aggr="max"), "x e weight"),
    "HANConv": (lambda s: convs.HANConv(s.c, s.o, META, heads=2, dropout=0.2), "x_dict e_dict"),
    "HEATConv": (lambda s: convs.HEATConv(s.c, s.o, R, R, 3, s.d, 2, heads=2, dropout=0.2), "x e kind type attr"),
    "HeteroConv": (lambda s: convs.HeteroConv({k: convs.SAGEConv((s.c, s.c), s.o) for k in META[1]}), "x_dict e_dict"),
    "HGTConv": (lambda s: convs.HGTConv(s.c, s.o, META, heads=2), "x_dict e_dict"),
    "HypergraphConv": (lambda s: convs.HypergraphConv(s.c, s.o), "x e"),
    "HypergraphConv attention": (
        lambda s: convs.HypergraphConv(s.c, s.o, use_attention=True, heads=2, dropout=0.2),
        "x e none x0",
    ),
    "LEConv": (lambda s: convs.LEConv(s.c, s.o), "pair e weight"),
    "LGConv": (lambda s: convs.LGConv(), "x e weight"),
    "MFConv": (lambda s: convs.MFConv(s.c, s.o, max_degree=5), "pair e"),
    "MixHopConv": (lambda s: convs.MixHopConv(s.c, s.o, powers=[0, 1, 2]), "x e weight"),
    "NNConv": (lambda s: convs.NNConv(s.c, s.o, s.mlp(s.d, s.c * s.o), aggr="mean"), "pair e attr"),
    "PDNConv": (lambda s: convs.PDNConv(s.c, s.o, s.d, 5), "x e attr"),
    "PNAConv": (
        lambda s: convs.PNAConv(s.c, s.o, ["mean", "max", "std"], ["identity", "attenuation"], DEGREES, edge_dim=s.d),
        "x e attr",
    ),
    "PointGNNConv": (lambda s: convs.PointGNNConv(s.mlp(s.c, 3), s.mlp(3 + s.c, s.c), s.mlp(s.c, s.c)), "x pos e"),
    "PointNetConv": (lambda s: convs.PointNetConv(s.mlp(s.c + 3), s.mlp(s.o)), "x pos e"),
    "PointTransformerConv": (lambda s: convs.PointTransformerConv(s.c, s.o), "pair pos e"),
    "PPFConv": (lambda s: convs.PPFConv(s.mlp(s.c + 4), s.mlp(s.o)), "x pos normal e"),
    "ResGatedGraphConv": (lambda s: convs.ResGatedGraphConv(s.c, s.o), "pair e"),
    "ResGatedGraphConv edge_dim": (lambda s: convs.ResGatedGraphConv(s.c, s.o, edge_dim=s.d), "pair e attr"),
    "RGATConv": (
        lambda s: convs.RGATConv(s.c, s.o, R, num_bases=2, heads=2, edge_dim=s.d, dropout=0.2),
        "x e type attr",
    ),
    "RGATConv f-scaled": (
        lambda s: convs.RGATConv(s.c, s.o, R, num_blocks=2, heads=2, mod="f-scaled", attention_mode=SELF),
        "x e type",
    ),
    "RGCNConv": (lambda s: convs.RGCNConv(s.c, s.o, R, num_bases=2), "x e type"),
    "RGCNConv blocks": (lambda s: convs.RGCNConv(s.c, s.o, R, num_blocks=2), "pair e type"),
    "RGCNConv ids": (lambda s: convs.RGCNConv(s.n, s.o, R), "none e type"),
    "FastRGCNConv": (lambda s: convs.FastRGCNConv(s.c, s.o, R, num_bases=2), "pair e type"),
    "SAGEConv": (lambda s: convs.SAGEConv(s.c, s.o, project=True, normalize=True), "pair e"),
    "SAGEConv several": (lambda s: convs.SAGEConv(s.c, s.o, aggr=["mean", "max", "std"]), "x e"),
    "SAGEConv lstm": (lambda s: convs.SAGEConv(s.c, s.o, aggr="lstm"), "x sorted"),
    "SAGEConv median": (lambda s: convs.SAGEConv(s.c, s.o, aggr="median"), "x e"),
    "SAGEConv max": (lambda s: convs.SAGEConv(s.c, s.o, aggr="max"), "x e"),
    "SGConv": (lambda s: convs.SGConv(s.c, s.o, K=2), "x e weight"),
    "SGConv cached": (lambda s: convs.SGConv(s.c, s.o, K=2, cached=True), "x e weight"),
    "SignedConv": (lambda s: convs.SignedConv(s.c, s.o, first_aggr=True), "x e other"),
    "SimpleConv": (lambda s: convs.SimpleConv(aggr="mean", combine_root="self_loop"), "x e weight"),
    "SimpleConv max": (lambda s: convs.SimpleConv(aggr="max", combine_root="cat"), "pair e weight"),
    "SSGConv": (lambda s: convs.SSGConv(s.c, s.o, 0.1, K=2), "x e weight"),
    "SuperGATConv": (lambda s: convs.SuperGATConv(s.c, s.o, heads=2, dropout=0.2), "x e"),
    "TAGConv": (lambda s: convs.TAGConv(s.c, s.o, K=2), "x e weight"),
    "TransformerConv": (lambda s: convs.TransformerConv(s.c, s.o, heads=2, dropout=0.2), "pair e"),
    "TransformerConv edge_dim": (
        lambda s: convs.TransformerConv(s.c, s.o, heads=2, edge_dim=s.d, beta=True),
        "x e attr",
    ),
    "WLConv": (lambda s: convs.WLConv(), "label e"),
    "WLConvContinuous": (lambda s: convs.WLConvContinuous(), "x e weight"),
}
# not compared, and why
ABSENT = {
    "DynamicEdgeConv": "needs pyg-lib",
    "GravNetConv": "needs torch-cluster",
    "XConv": "needs torch-cluster",
    "SplineConv": "needs torch-spline-conv",
    "PANConv": "needs torch-sparse",
    "MeshCNNConv": "needs the five edges of a mesh at every node",
    "FusedGATConv": "needs CUDA",
}


def outcome(layer: nn.Module, names: str, graph: Graph, seed: int) -> list[Tensor]:
    """Return the outputs, the gradients, the buffers and what the random generator gives next."""
    torch.manual_seed(seed)
    outs = graph.call(layer, names)
    wrt = [*graph.leaves, *(p for p in layer.parameters() if p.requires_grad)]
    grads: tuple[Tensor | None, ...] = ()
    tracked = [one for one in outs if one.requires_grad]
    if tracked:
        steps = [torch.linspace(-1, 1, one.numel(), dtype=one.dtype).view_as(one) for one in tracked]
        grads = torch.autograd.grad(tracked, wrt, steps, allow_unused=True)
    filled = [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wrt, strict=bool(grads))]
    return [*(one.detach() for one in outs), *filled, *layer.buffers(), torch.rand(2)]
