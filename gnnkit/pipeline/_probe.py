"""A small graph on which layers are tried: whole, and a piece of it as a pipeline would hand it over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._edges import read_edges
from gnnkit.pipeline._network import Edges, Neighbourhood

# a path, a second way into node 1 and out of it, an edge back from 5 to 4, and node 6 without edges
_EDGES = ((0, 7, 1, 2, 3, 4, 1, 5), (1, 1, 2, 3, 4, 5, 8, 4))
_NUM_NODES = 9
CHANGED = 1
REACHED = (1, 2, 8)  # whose rows may follow it
CHANGED_EDGE = 3  # from 2 to 3, in every kind of edges
# what a node is to node 1 whose row may not follow it, the most telling first
FAR = {6: "an unconnected node", 0: "a node that it sends to, against the edge", 7: "a node that it sends to"}
FAR |= {3: "a node two hops away", 4: "a node three hops away", 5: "a node four hops away"}
_DESTINATIONS = (2, 6, 4)  # of the piece, whose sources 1, 3 and 5 have other degrees in it


@dataclass(frozen=True)
class Probe:
    """The graph as a network's ``edges`` says, and a piece of it.

    Attributes:
        whole: Without edge states, as ``piece``.
        piece: Into a few destinations.
        sources: ``[num_src]`` which nodes the sources of the piece are, its destinations first.
        edges: ``[E']`` which edges of the whole the piece has.
    """

    whole: Neighbourhood
    piece: Neighbourhood
    sources: Tensor
    edges: Tensor

    @classmethod
    def make(cls, kind: Edges, dtype: torch.dtype) -> Probe:
        """Make the graph with the edges of one `Edges`."""
        adj, weight = read_edges(torch.tensor(_EDGES), _NUM_NODES, kind, dtype)
        src, dst = adj.to_edge_index()
        wanted = torch.tensor(_DESTINATIONS)
        edges = torch.isin(dst, wanted).nonzero()[:, 0]
        others = [node for node in src[edges].unique().tolist() if node not in _DESTINATIONS]
        sources = torch.cat([wanted, torch.tensor(others, dtype=torch.int64)])
        place = torch.full((_NUM_NODES,), -1)
        place[sources] = torch.arange(len(sources))
        ends = place[torch.stack([src[edges], dst[edges]])]
        part = Adjacency.from_edge_index(ends, (len(sources), len(wanted)))
        weight_of_part = None if weight is None else weight[edges]
        return cls(Neighbourhood(adj, weight), Neighbourhood(part, weight_of_part), sources, edges)

    @property
    def destinations(self) -> Tensor:
        """Which nodes the destinations of the piece are."""
        return self.sources[: self.piece.adj.num_dst]
