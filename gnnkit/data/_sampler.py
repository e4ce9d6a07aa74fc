"""NeighborSampler: PyG's neighbour sampler on gnnkit's kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, NegativeSampling, NodeSamplerInput
from torch_geometric.sampler.base import NumNeighbors, SubgraphType

from gnnkit.data._graph import EDGES, NODES, Graph, NodeType, read_graph
from gnnkit.data._hops import sample_hops
from gnnkit.data._keys import random_key
from gnnkit.data._links import link_seeds, without_links
from gnnkit.data._numbering import Numbering, Separate, Shared
from gnnkit.data._sampler_output import sampler_output
from gnnkit.data._typed_hops import Rule, TypedHops, induce, sample_typed_hops
from gnnkit.kernels import _check


class NeighborSampler(BaseSampler):  # type: ignore[misc]
    """Sample the neighbourhoods of nodes or links: hop l draws ``num_neighbors[l]`` edges of every node of hop l - 1.

    The sampler of GraphSAGE (Hamilton et al., *Inductive Representation Learning on Large Graphs*, 2017) as PyG's
    ``BaseSampler``: PyG's own ``NodeLoader`` and ``LinkLoader`` run on it, and no extension is compiled. Its outputs
    mean what those of PyG's ``NeighborSampler`` mean, except that ``edge`` holds the edges' places in the graph as it
    was given, so that `edge_permutation` is None.

    The draws are a function of the graph, the input and ``key``; without a key, one is drawn from PyTorch's default
    generator (``torch.manual_seed``). Any number of threads may sample at once.

    Cost: at construction O(E), O(E log E) with times, and 12 bytes an edge, 8 more for each of times and weights; a
    batch costs what it samples, and 4 bytes a node of the graph for each thread, kept. Disjoint batches are sorted, hop
    by hop, and induced ones read all edges of their nodes.

    Args:
        data: A PyG ``Data`` or ``HeteroData``, or a ``(FeatureStore, GraphStore)`` pair such as `as_pyg` makes.
        num_neighbors: How many edges a node, hop by hop; -1 takes all. Typed graphs take a list for all types of edges
            or ``{edge_type: list}``.
        replace: Whether an edge can be drawn again.
        subgraph_type: ``"directional"``; ``"bidirectional"`` adds every sampled edge's reverse; ``"induced"`` gives all
            edges between the sampled nodes instead of those sampled.
        disjoint: Whether every seed has a graph of its own; ``batch`` then says which node belongs to which seed.
            Always so with times.
        temporal_strategy: With times, ``"uniform"`` draws among the edges up to the seed's time, ``"last"`` takes the
            latest of them.
        time_attr: Name of the times of nodes, or of edges: nothing later than its seed is drawn.
        weight_attr: Name of weights of edges: draws are proportional to them. Edges of weight 0 are left out. Beside a
            weight 10^15 times as large, one is not told from others as small.
        is_sorted: Promise that ``edge_index`` is sorted by destination, and then by time; it is checked.
        device: Where to sample; None for where the graph is. A GPU reads a graph in host memory through pinned memory.

    Raises:
        ValueError: The graph or an argument is not as described: an id without node, a negative or infinite weight, a
            time that is NaN, an order that is not sorted.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from torch_geometric.loader import NodeLoader
        >>> from gnnkit.data import NeighborSampler
        >>> ring = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        >>> data = Data(x=torch.arange(5.0).view(5, 1), edge_index=ring)
        >>> loader = NodeLoader(data, NeighborSampler(data, [1, 1]), input_nodes=torch.tensor([2]), batch_size=1)
        >>> batch = next(iter(loader))
        >>> batch.n_id.tolist(), batch.edge_index.tolist(), batch.e_id.tolist()
        ([2, 1, 0], [[1, 2], [0, 1]], [1, 0])
    """

    def __init__(
        self,
        data: Any,
        num_neighbors: Any,
        *,
        replace: bool = False,
        subgraph_type: SubgraphType | str = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        is_sorted: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        kinds = [kind.value for kind in SubgraphType]
        if (subgraph_type if isinstance(subgraph_type, str) else subgraph_type.value) not in kinds:
            raise ValueError(f"subgraph_type: expected one of {', '.join(kinds)} (got {subgraph_type!r})")
        if temporal_strategy not in ("uniform", "last"):
            raise ValueError(f"temporal_strategy: expected uniform or last (got {temporal_strategy!r})")
        if replace and weight_attr is not None and temporal_strategy == "last":
            raise ValueError("weight_attr: expected no weights for draws with replacement of the last (got both)")
        self.graph: Graph = read_graph(
            data, time_attr, weight_attr, is_sorted, torch.device(device) if device else None
        )
        self.replace = replace
        self.subgraph_type = SubgraphType(subgraph_type)
        self.is_temporal = time_attr is not None
        self.disjoint = disjoint or self.is_temporal
        self.temporal_strategy = temporal_strategy
        self.num_neighbors = num_neighbors
        self._tables: dict[NodeType, list[Tensor]] = {}  # [N] int32 each, as many as threads sampled at once

    @property
    def num_neighbors(self) -> Any:
        """PyG's ``NumNeighbors``; may be set."""
        return self._num_neighbors

    @num_neighbors.setter
    def num_neighbors(self, value: Any) -> None:
        wanted = value if isinstance(value, NumNeighbors) else NumNeighbors(_listed(value))
        if self.is_hetero:
            fanouts = wanted.get_values(list(self.graph.edges))
        elif isinstance(wanted.values, dict):
            raise ValueError("num_neighbors: expected a list for a graph of one type of edges (got a dict)")
        else:
            fanouts = {EDGES: wanted.values}
        for fanout in fanouts.values():
            if not all(isinstance(n, int) and not isinstance(n, bool) and n >= -1 for n in fanout):
                raise ValueError(f"num_neighbors: expected whole numbers >= -1 (got {fanout})")
        self._num_neighbors, self._fanouts = wanted, fanouts

    @property
    def is_hetero(self) -> bool:
        """Whether nodes and edges have types."""
        return self.graph.is_hetero

    @property
    def num_nodes(self) -> Any:
        """The number of nodes, or a dict of them by type."""
        return self.graph.num_nodes if self.is_hetero else self.graph.num_nodes[NODES]

    @property
    def device(self) -> torch.device:
        """Where batches are sampled."""
        return next((one.indptr.device for one in self.graph.edges.values()), torch.device("cpu"))

    @property
    def edge_permutation(self) -> None:
        """None: edges are named by their places in the graph as it was given."""
        return

    # ------------------------------------------------------------------ sampling

    def sample_from_nodes(self, inputs: NodeSamplerInput, key: int | None = None) -> Any:
        """Sample the neighbourhood of nodes.

        Args:
            inputs: PyG's input: nodes, and their type and times where there are such. With times of nodes, the times of
                seeds default to theirs.
            key: What the draws depend on; None for one from PyTorch's default generator.

        Raises:
            ValueError: A node is not in the graph, or times are missing or unasked for.
        """
        node_type = self._known(inputs.input_type or NODES)
        _check.index_vector("input nodes", inputs.node)
        _check.ids("input nodes", inputs.node, self.graph.num_nodes[node_type])
        hops = self._sample({node_type: inputs.node.long()}, inputs.time, random_key(key, name="key"))
        return self._output(hops, (inputs.input_id, inputs.time))

    def sample_from_edges(
        self,
        inputs: EdgeSamplerInput,
        neg_sampling: NegativeSampling | None = None,
        key: int | None = None,
        exclude_edges: bool = False,
    ) -> Any:
        """Sample the neighbourhood of the ends of links, and of negative ones drawn beside them.

        Args:
            inputs: PyG's input: sources and destinations, and their labels, times and type where there are such.
            neg_sampling: PyG's ``NegativeSampling``; a negative may happen to be an edge (`negative_edges` never is).
            key: What the draws depend on; None for one from PyTorch's default generator.
            exclude_edges: Whether to leave the input links, parallels and reverses of them included, out of the
                sampled edges.

        Raises:
            ValueError: An end is not in the graph, or times are missing or unasked for.
        """
        for node_type in (inputs.input_type or EDGES)[::2]:
            self._known(node_type)
        key = random_key(key, name="key")
        links = link_seeds(inputs, NegativeSampling.cast(neg_sampling), self.graph, self.disjoint, key)
        hops = self._sample(links.seeds, links.time, key)
        if exclude_edges:
            without_links(hops, inputs, self.graph.num_nodes)
        return self._output(hops, links.metadata, links.batch)

    def _sample(self, seeds: dict[NodeType, Tensor], time: Tensor | None, key: int) -> TypedHops:
        graph = self.graph
        device = self.device
        seeds = {node_type: ids.to(device) for node_type, ids in seeds.items()}
        tree_time = self._tree_time(seeds, time)
        induced = self.subgraph_type == SubgraphType.induced
        with self._numbers(device) as numbering:
            if not self.is_hetero and not self.disjoint and not induced:
                return self._sample_one_type(seeds[NODES], key, numbering[NODES])
            rule = Rule(self.replace, self.temporal_strategy == "last")
            hops = sample_typed_hops(graph, seeds, self._fanouts, key, numbering, rule, tree_time)
            if induced:
                induce(graph, hops, numbering, tree_time)
        return hops

    def _sample_one_type(self, seeds: Tensor, key: int, numbering: Numbering) -> TypedHops:
        """The common case, by the driver that does nothing else."""
        edges = self.graph.edges[EDGES]
        assert isinstance(numbering, Shared)
        nodes, row, col, entries, num_nodes, num_edges = sample_hops(
            edges.indptr,
            edges.indices,
            seeds,
            self._fanouts[EDGES],
            key,
            replace=self.replace,
            cumulative=edges.cumulative,
            local=numbering.local,
        )
        edge = edges.original(entries)
        return TypedHops(
            {NODES: nodes}, {EDGES: row}, {EDGES: col}, {EDGES: edge}, {}, {NODES: num_nodes}, {EDGES: num_edges}
        )

    def _tree_time(self, seeds: Mapping[NodeType, Tensor], time: Tensor | None) -> Tensor | None:
        """``[trees]``: up to when each seed may look."""
        if not self.is_temporal:
            if time is not None:
                raise ValueError("time: expected none without time_attr (got times of the input)")
            return None
        count = sum(map(len, seeds.values()))
        if time is None:
            missing = [node_type for node_type in seeds if node_type not in self.graph.node_time]
            if missing:
                raise ValueError(
                    f"time: expected times of the input, since {missing[0] or 'nodes'} have none (got None)"
                )
            return torch.cat([self.graph.node_time[node_type][ids] for node_type, ids in seeds.items()])
        if time.shape != (count,):
            raise ValueError(f"time: expected {count} times, one a seed (got {_check.describe(time)})")
        return time.to(next(iter(seeds.values())).device)

    def _known(self, node_type: NodeType) -> NodeType:
        if node_type not in self.graph.num_nodes:
            names = ", ".join(map(repr, self.graph.num_nodes))
            raise ValueError(f"input_type: expected a node type among {names} (got {node_type!r})")
        return node_type

    @contextmanager
    def _numbers(self, device: torch.device) -> Iterator[dict[NodeType, Numbering]]:
        """Numberings for one batch; tables come from a pool, and go back unless sampling failed."""
        sizes = self.graph.num_nodes
        if self.disjoint:
            yield {node_type: Separate(size) for node_type, size in sizes.items()}
            return
        shared = {}
        for node_type, size in sizes.items():
            free = self._tables.setdefault(node_type, [])
            try:
                local = free.pop()
            except IndexError:
                with torch.inference_mode(False):  # the table outlives the caller's mode
                    local = torch.full((size,), -1, dtype=torch.int32, device=device)
            shared[node_type] = Shared(local)
        yield dict(shared)
        for node_type, one in shared.items():
            one.clear()
            self._tables[node_type].append(one.local)

    def _output(self, hops: TypedHops, metadata: tuple[Any, ...], batch: Tensor | None = None) -> Any:
        trees = hops.tree if self.disjoint else None
        if trees is not None and batch is not None:  # which link each tree belongs to
            trees = {node_type: batch.to(tree.device)[tree] for node_type, tree in trees.items()}
        return sampler_output(hops, trees, metadata, self.is_hetero, self.subgraph_type)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}


def _listed(value: Any) -> Any:
    """Fan-outs as a list, or lists by edge type."""
    if isinstance(value, dict) and value:
        return {edge_type: list(fanout) for edge_type, fanout in value.items()}
    if isinstance(value, list | tuple) and value:
        return list(value)
    raise ValueError(f"num_neighbors: expected a number for each hop, at least one (got {value!r})")
