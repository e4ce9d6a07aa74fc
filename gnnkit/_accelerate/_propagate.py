"""One call of PyG's ``propagate`` or ``edge_updater``, its rows pending and its aggregation on gnnkit's kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.conv import MessagePassing

from gnnkit._accelerate import _cache, _rules  # noqa: F401 (the rules register themselves)
from gnnkit._accelerate._aggregation import aggregation
from gnnkit._accelerate._cache import Topology
from gnnkit._accelerate._marks import mark
from gnnkit._accelerate._rows import FLOATS, End, EscapedError, Family, Rows, materialised


@dataclass(frozen=True)
class Call:
    """The arguments of a ``propagate``.

    Attributes:
        layer: Whose message, aggregation and update these are.
        topology: The graph, by destination.
        known: What the layer's functions may ask for, by name; rows at the ends of edges are in ``ends``.
        ends: For each argument that ends in ``_i`` or ``_j``, the table and the end of the edge.
    """

    layer: MessagePassing
    topology: Topology
    known: dict[str, Any]
    ends: dict[str, tuple[Tensor, End]]

    @classmethod
    def of(
        cls, layer: MessagePassing, names: list[str], edge_index: Tensor, size: Any, kwargs: dict[str, Any]
    ) -> Call | None:
        """Collect the arguments ``names``; None if the call is PyG's to serve, or to refuse with its own words."""
        sizes = layer._check_input(edge_index, size)
        forward = layer.flow == "source_to_target"
        i, j = (1, 0) if forward else (0, 1)
        ends: dict[str, tuple[Tensor, End]] = {}
        known: dict[str, Any] = dict(kwargs)
        for name in (name for name in names if name.endswith(("_i", "_j"))):
            end, other = (j, i) if name.endswith("_j") else (i, j)
            given = kwargs.get(name[:-2])
            if isinstance(given, tuple | list):
                if len(given) != 2:
                    return None
                if not forward and given[0] is not given[1]:
                    return None  # PyG's two implementations differ here
                if isinstance(given[other], Tensor):
                    layer._set_size(sizes, other, given[other])
                given = given[end]
            known[name] = None
            if isinstance(given, Tensor):
                layer._set_size(sizes, end, given)
                ends[name] = given, "src" if end == j else "dst"
        num_dst, num_src = (sizes[a] if sizes[a] is not None else sizes[b] for a, b in ((i, j), (j, i)))
        if num_dst is None or num_src is None:
            return None
        try:
            topology = _cache.of_edges(edge_index if forward else edge_index.flip(0), (num_src, num_dst))
        except ValueError:
            return None
        index = edge_index[i]
        mark(index, topology)
        known |= {"edge_index": edge_index, "edge_index_i": index, "edge_index_j": edge_index[j]}
        known |= {"adj_t": None, "ptr": None, "index": index, "dim_size": num_dst}
        known |= {"size": sizes, "size_i": num_dst, "size_j": num_src}
        return cls(layer, topology, known, ends)

    def run(self, pending: bool) -> Any:
        """Message, aggregate, update; rows are gathered beforehand unless they may stay ``pending``."""
        return self._watched(self._propagate, pending)

    def run_edges(self, pending: bool) -> Any:
        """The layer's ``edge_update``."""
        return self._watched(self._update_edges, pending)

    def _watched(self, work: Any, pending: bool) -> Any:
        family = Family()
        try:
            out = work({name: self._lift(*rows, family if pending else None) for name, rows in self.ends.items()})
        except Exception as error:
            if pending and (why := family.escape or _cannot_take_rows(error)):
                raise EscapedError(why) from error
            raise
        if any(rows() is not None for rows in family.members):
            raise family.escaped("the layer holds rows for later")
        if family.escape:  # the layer caught the error, and went another way than with a tensor
            raise EscapedError(family.escape)
        return out

    def _propagate(self, rows: dict[str, Tensor]) -> Any:
        layer, collect, known = self.layer, self.layer.inspector.collect_param_data, self.known | rows
        message = layer.message(**collect("message", known))
        out = self._aggregate(message, collect("aggregate", known))
        return materialised(layer.update(out, **collect("update", known)))

    def _update_edges(self, rows: dict[str, Tensor]) -> Any:
        arguments = self.layer.inspector.collect_param_data("edge_update", self.known | rows)
        return materialised(self.layer.edge_update(**arguments))

    def _lift(self, table: Tensor, end: End, family: Family | None) -> Tensor:
        dim = self._edge_dim(table)
        served = type(table) in (Tensor, Parameter) and table.dtype in FLOATS
        if not served or not (dim == 0 or (dim == 1 and table.dim() == 3)):
            index = self.known["edge_index_j" if end == "src" else "edge_index_i"]
            return cast(Tensor, self.layer._index_select(table, index))
        if family is not None:
            return Rows(table, self.topology, end, family, batched=dim == 1)
        rows = self.topology.adj.gather(table.movedim(dim, 0), end)
        return rows.movedim(0, dim).contiguous() if dim else rows

    def _aggregate(self, message: Any, arguments: dict[str, Any]) -> Any:
        layer = self.layer
        if type(layer).aggregate is not MessagePassing.aggregate:
            return materialised(layer.aggregate(message, **arguments))
        dim = self._edge_dim(message) if isinstance(message, Tensor) else None
        out = None if dim is None else aggregation(layer.aggr_module, message, self.topology, dim)
        return layer.aggregate(materialised(message), **arguments) if out is None else out

    def _edge_dim(self, rows: Tensor) -> int | None:
        """Which dimension the layer takes for that of nodes or edges; None if there is none such."""
        dim, dims = self.layer.node_dim, rows.dim()
        return dim % dims if -dims <= dim < dims else None


def _cannot_take_rows(error: Exception) -> str:
    """Say what of torch refused pending rows by an error of its own; empty for every other error."""
    if type(error).__module__ == "torch._dynamo.exc":
        return "met by torch.compile"
    if isinstance(error, RuntimeError) and "Cannot access data pointer of Tensor" in str(error):
        return "asked for their memory"
    return ""
