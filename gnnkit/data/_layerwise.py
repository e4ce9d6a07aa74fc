"""LayerWiseSampler: LADIES, a fixed number of nodes a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import BaseSampler, NodeSamplerInput, SamplerOutput

from gnnkit.adjacency import Adjacency
from gnnkit.data._graph import EDGES, NODES, read_graph
from gnnkit.data._hops import hop_key
from gnnkit.data._keys import random_key
from gnnkit.kernels import _check, group_by, relabel, sample_neighbors, segment_reduce
from gnnkit.kernels._csr import row_of_entry


class LayerWiseSampler(BaseSampler):  # type: ignore[misc]
    r"""Draw a number of nodes for a whole layer, among the neighbours of the layer before, by their importance to it.

    LADIES (Zou et al., *Layer-Dependent Importance Sampling for Training Deep and Large Graph Convolutional Networks*,
    2019, algorithm 1): with the normalised adjacency :math:`P` and the nodes :math:`S` of the layer above,

    .. math:: p_j = \frac{\sum_{i \in S} P_{ij}^2}{\sum_{i \in S} \sum_k P_{ik}^2}, \quad
        \tilde{P}_{ij} = \frac{P_{ij}}{\min(1, s p_j)}

    draws :math:`s` nodes without replacement, keeps :math:`S` beside them as the authors' program does, and divides
    each row of :math:`\tilde{P}` by its sum. What differs: the minimum, for a node cannot be drawn more than once, and
    :math:`\tilde{P} = P` where all nodes are drawn. A batch grows with the number of layers and not exponentially.

    A `NodeLoader` gives the weights :math:`\tilde{P}` as ``batch.edge_weight``. Layers are apart: the first convolution
    of L takes the last of the L parts into which ``batch.num_sampled_edges`` splits the edges, and so on to the first
    part. There is no ``e_id``, since self-loops are not edges of the graph.

    Cost: O(E + N) at construction, 20 bytes an edge and a node; a batch reads all edges of its nodes, and takes 4 bytes
    a node of the graph.

    Args:
        data: A PyG ``Data``, or a pair such as `as_pyg` makes, of one type of nodes.
        num_nodes: How many nodes are drawn for each layer, beginning next to the seeds.
        normalization: ``"sym"`` for :math:`D^{-1/2} A D^{-1/2}` with in-degrees, or ``"row"`` for :math:`D^{-1} A`.
        add_self_loops: Whether :math:`A` is the graph and the identity.

    Raises:
        ValueError: The graph has types, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from gnnkit.data import LayerWiseSampler, NodeLoader
        >>> data = Data(x=torch.eye(4), edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))
        >>> loader = NodeLoader(data, LayerWiseSampler(data, [2, 2]), batch_size=1, seed=0)
        >>> batch = next(iter(loader))
        >>> parts = list(zip(batch.edge_index.split(batch.num_sampled_edges, 1),
        ...                  batch.edge_weight.split(batch.num_sampled_edges)))
        >>> x = batch.x
        >>> for edge_index, weight in reversed(parts):
        ...     x = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]] * weight[:, None])
        >>> [round(share, 2) for share in x[0].tolist()]  # node 0 from itself, 3 and 2
        [0.33, 0.0, 0.33, 0.33]
    """

    def __init__(
        self, data: Any, num_nodes: Sequence[int], *, normalization: str = "sym", add_self_loops: bool = True
    ) -> None:
        if not num_nodes or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in num_nodes):
            raise ValueError(f"num_nodes: expected a number > 0 for each layer, at least one (got {num_nodes!r})")
        if normalization not in ("sym", "row"):
            raise ValueError(f"normalization: expected sym or row (got {normalization!r})")
        graph = read_graph(data)
        if graph.is_hetero:
            raise ValueError(f"data: expected one type of nodes and edges (got {', '.join(graph.num_nodes)})")
        edges, size = graph.edges[EDGES], graph.num_nodes[NODES]
        adj = Adjacency.from_csr(edges.indptr, edges.indices, size)
        if add_self_loops:
            loops = torch.arange(size, device=adj.device).expand(2, -1)
            adj = Adjacency.from_edge_index(torch.cat([adj.to_edge_index(), loops], 1), size)
        degree = adj.in_degree().clamp(min=1).double()
        row = row_of_entry(adj.indptr, adj.indices)
        # [E]: the entries of P
        value = degree[row].rsqrt() * degree[adj.indices].rsqrt() if normalization == "sym" else 1 / degree[row]
        self.adj, self.value, self.num_nodes = adj, value, list(num_nodes)

    @property
    def device(self) -> torch.device:
        """Where batches are sampled."""
        return self.adj.device

    def sample_from_nodes(self, inputs: NodeSamplerInput, key: int | None = None) -> SamplerOutput:
        """Sample the layers below nodes, all different.

        Args:
            inputs: PyG's input.
            key: What the draws depend on; None for one from PyTorch's default generator.

        Raises:
            ValueError: A node is not in the graph, or comes twice.
        """
        key, size = random_key(key, name="key"), self.adj.num_nodes
        _check.index_vector("input nodes", inputs.node)
        _check.ids("input nodes", inputs.node, size)
        local = torch.full((size,), -1, dtype=torch.int32, device=self.device)
        seeds = inputs.node.to(self.device)
        _, first = relabel(local, 0, seeds)
        if len(first) < len(seeds):
            raise ValueError(f"input nodes: expected different nodes (got {len(first)} among {len(seeds)})")
        nodes, layers, counts = seeds.long(), [], [len(seeds)]
        for layer, wanted in enumerate(self.num_nodes):
            row, col, weight, new = self._layer(local, nodes, wanted, hop_key(key, layer))
            nodes = torch.cat([nodes, new])
            layers.append((row, col, weight))
            counts.append(len(new))
        row, col, weight = (torch.cat(parts) for parts in zip(*layers, strict=True))
        return SamplerOutput(
            nodes,
            row,
            col,
            None,
            num_sampled_nodes=counts,
            num_sampled_edges=[len(part[0]) for part in layers],
            metadata=(inputs.input_id, inputs.time, weight.float()),
        )

    def sample_from_edges(self, inputs: Any, neg_sampling: Any = None) -> SamplerOutput:
        """Refused: layers are drawn for nodes."""
        raise ValueError("sample_from_edges: expected a sampler of neighbourhoods (got a LayerWiseSampler)")

    def _layer(self, local: Tensor, nodes: Tensor, wanted: int, key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sources, destinations and weights of a layer's edges, and the nodes that are new."""
        starts, ends = self.adj.indptr[nodes], self.adj.indptr[nodes + 1]
        pointers, entries, sources = sample_neighbors(self.adj.indices, starts, ends, -1, 0)
        value = self.value[entries]
        # [C]: the columns of P that a row of the layer has
        columns, column = sources.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        order = group_by(column, len(columns))
        importance = segment_reduce(value[order[1]] ** 2, order[0], "sum")
        everything = torch.tensor([0, len(columns)], device=nodes.device)
        _, drawn, _ = sample_neighbors(
            columns, everything[:1], everything[1:], wanted, key, cumulative=importance.cumsum(0)
        )
        taken = local[columns] >= 0
        taken[drawn] = True
        inside = taken[column]
        column, value = column[inside], value[inside]
        col = torch.arange(len(nodes), device=nodes.device).repeat_interleave(pointers.diff())[inside]
        expected = wanted * importance / importance.sum() if wanted < len(columns) else torch.ones_like(importance)
        weight = value / expected.clamp(max=1)[column]
        count = torch.bincount(col, minlength=len(nodes))
        total = segment_reduce(weight, torch.cat([count.new_zeros(1), count.cumsum(0)]), "sum")
        row, new = relabel(local, len(nodes), sources[inside])
        return row, col, weight / total[col], new.long()
