"""The layers of one stage, run chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.pipeline._history import HistoricalEmbeddings
from gnnkit.pipeline._keys import AFTER, BEFORE, BOUNDARY, BOUNDARY_AFTER, INTERIOR, Keyed
from gnnkit.pipeline._network import Neighbourhood, Network, OneHop, call
from gnnkit.pipeline._part import Part, Piece
from gnnkit.pipeline._rows import Flight, Trade, arrive, gather, publish, tie

Rows = tuple[Tensor, Tensor | None]  # of nodes, and states of edges


class Stage:
    """Hops [low, high) of a network, with its row-wise ends where they belong to this stage.

    Args:
        network: The whole network; only this stage's modules are kept.
        low: First hop.
        high: One past the last.
        part: The graph's part.
        keyed: Random numbers.
        dtype: Of the rows between the hops.
        device: Where it computes.
    """

    def __init__(
        self, network: Network, low: int, high: int, part: Part, keyed: Keyed, dtype: torch.dtype, device: torch.device
    ) -> None:
        num_hops = len(network.layers)
        self.low, self.high, self.num_hops = low, high, num_hops
        self.shares, self.part, self.keyed = network.shares, part, keyed
        self.dtype, self.device = dtype, device
        self.output_dtype = torch.float32 if dtype.itemsize < 4 else dtype
        named: dict[str, nn.Module] = {f"layers.{hop}": network.layers[hop] for hop in range(low, high)}
        if low == 0 and network.first is not None:
            named["first"] = network.first
        if high == num_hops and network.last is not None:
            named["last"] = network.last
        self.modules = {name: module.to(device) for name, module in named.items()}
        self.mixed = dtype.itemsize < 4
        self.histories: dict[int, HistoricalEmbeddings] = {}

    def layer(self, hop: int) -> nn.Module:
        """Return a hop of this stage by its number in the network."""
        return self.modules[f"layers.{hop}"]

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return this stage's parameters by their names in the network."""
        return {f"{name}.{key}": p for name, module in self.modules.items() for key, p in module.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Return copies of this stage's weights and buffers by their names in the network, on the CPU."""
        states = {name: module.state_dict() for name, module in self.modules.items()}
        return {f"{n}.{k}": t.detach().cpu().clone() for n, state in states.items() for k, t in state.items()}

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Require weights as `state` gives them.

        Raises:
            ValueError: They are another stage's.
        """
        expected = {name: tensor.shape for name, tensor in self.state().items()}
        got = {name: tensor.shape for name, tensor in state.items()}
        if expected != got:
            differing = sorted(name for name in {*expected, *got} if expected.get(name) != got.get(name))
            raise ValueError(f"model: expected this stage's weights (got others at {', '.join(differing)})")

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights that `check` has seen."""
        for name, module in self.modules.items():
            prefix = f"{name}."
            module.load_state_dict({k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)})

    def train(self, mode: bool) -> None:
        """Set the modules' mode."""
        for module in self.modules.values():
            module.train(mode)

    def modes(self) -> list[tuple[nn.Module, bool]]:
        """Return each module's mode, for `restore`."""
        return [(each, each.training) for module in self.modules.values() for each in module.modules()]

    def restore(self, modes: list[tuple[nn.Module, bool]]) -> None:
        """Set the modules' modes as they were."""
        for module, training in modes:
            module.training = training

    def edge_states(self, chunk: int) -> Tensor | None:
        """Return the states that a chunk's edges begin with, piece by piece, or None."""
        states = self.part.edge_attr(chunk)
        return None if states is None else states.to(self.dtype)

    def enter(self, x: Tensor, chunk: int) -> Tensor:
        """Make the first hop's rows of a chunk's features ``[n, F]``."""
        return self._end("first", 0, x, chunk)

    def leave(self, x: Tensor, chunk: int) -> Tensor:
        """Make outputs ``[n, C]`` of the last hop's rows, in full precision."""
        out = self._end("last", self.num_hops + 1, x, chunk)
        return out.to(self.output_dtype) if self.mixed else out

    def _end(self, name: str, number: int, x: Tensor, chunk: int) -> Tensor:
        module = self.modules.get(name)
        if module is None:
            return x
        return self.by_way(chunk, number, BEFORE, lambda low, high: module(cut(x, low, high)))

    def forward(
        self,
        chunk: int,
        x: Tensor,
        shared: Tensor | None,
        edge_attr: Tensor | None,
        fresh: Tensor,
        trades: Callable[[int, int], Trade],
        replay: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Run a chunk through the hops.

        Args:
            chunk: Which.
            x: ``[n, D]`` its rows.
            shared: ``[n, Ds]`` what travels along, or None.
            edge_attr: ``[E, De]`` states of its edges, piece by piece, or None.
            fresh: ``[K]`` bool: which chunks' rows are this epoch's, this one included.
            trades: ``trades(hop, chunk)`` is how rows are traded between ways.
            replay: Whether the chunk has run before in this epoch: its rows are published already.

        Returns:
            The rows ``[n, D]`` after the last hop, and the states of the edges.
        """
        pieces = [self._ids(piece, fresh) for piece in self.part.pieces[chunk]]
        for hop in range(self.low, self.high):
            x, edge_attr = self._hop(hop, chunk, x, shared, edge_attr, pieces, trades(hop, chunk), replay)
        return x, edge_attr

    def _ids(self, piece: Piece, fresh: Tensor) -> tuple[Piece, Tensor]:
        flags = fresh[self.part.chunk_of_row.index_select(0, piece.sources)]
        first = self.histories[self.low]
        return piece, first.ids(piece.sources, flags)  # all hops' tables turn together

    def _hop(
        self,
        hop: int,
        chunk: int,
        x: Tensor,
        shared: Tensor | None,
        edge_attr: Tensor | None,
        pieces: Sequence[tuple[Piece, Tensor]],
        trade: Trade,
        replay: bool,
    ) -> tuple[Tensor, Tensor | None]:
        history, (low, _) = self.histories[hop], self.part.rows(chunk)
        flight = Flight(trade)
        token = publish(self.seen(hop, chunk, x, shared), history, low, flight, replay)
        inputs = by_piece([piece for piece, _ in pieces], x, shared, edge_attr)
        made: dict[int, Rows] = {}
        for waiting in (False, True):  # rows that wait for nobody are finished while replicas are on their way
            if waiting and trade.waits:
                token = arrive(token, flight)
            for index, (piece, ids) in enumerate(pieces):
                if piece.waits == waiting:
                    z = gather(token, history, ids, piece.sources)
                    made[index] = self.work(hop, chunk, piece, z, *inputs[index])
        rows = [made[index] for index in range(len(pieces))]
        if trade.waits and not any(piece.waits for piece, _ in pieces):
            first, states = rows[0]
            rows[0] = tie(first, token), states
        return joined(rows, edge_attr)

    # ------------------------------------------------------------------ a layer's parts, with their random numbers

    def seen(self, hop: int, chunk: int, x: Tensor, shared: Tensor | None) -> Tensor:
        """Give what neighbours see of a chunk's nodes, ``[n, D']``."""
        layer = self.layer(hop)
        if not isinstance(layer, OneHop):
            return x

        def rows(low: int, high: int) -> Tensor:
            return layer.before(cut(x, low, high), cut_or_none(shared, low, high))

        return self.by_way(chunk, hop + 1, BEFORE, rows).to(self.dtype)

    def work(
        self,
        hop: int,
        chunk: int,
        piece: Piece,
        z: Tensor,
        x: Tensor,
        shared: Tensor | None,
        edge_attr: Tensor | None,
    ) -> Rows:
        """Make the new rows of a piece's destinations, and the new states of its edges.

        Args:
            hop: Which.
            chunk: Whose piece it is.
            piece: The destinations and their edges.
            z: ``[n_src, D']`` what neighbours see, the destinations' own first.
            x: ``[n, D]`` the destinations' rows.
            shared: ``[n, Ds]`` or None.
            edge_attr: ``[E, De]`` or None.
        """
        layer, graph, way = self.layer(hop), piece.graph, piece.way
        self.keyed.at(hop + 1, chunk, way, BOUNDARY if piece.crosses else INTERIOR)
        with self._precision():
            if not isinstance(layer, OneHop):
                rows, states = call(layer, z, graph.adj, graph.edge_weight, edge_attr, _sources(shared, len(z)))
                return rows.to(self.dtype), None if states is None else states.to(self.dtype)
            a = layer.aggregate(z, Neighbourhood(graph.adj, graph.edge_weight, edge_attr))
            self.keyed.at(hop + 1, chunk, way, BOUNDARY_AFTER if piece.crosses else AFTER)
            return layer.after(a, x, shared).to(self.dtype), edge_attr

    def by_way(self, chunk: int, number: int, phase: int, run: Callable[[int, int], Tensor]) -> Tensor:
        """Run a row-wise part on a chunk's rows, way by way, each with its own random numbers."""
        outs = []
        for way, low, high in self.part.segments[chunk]:
            self.keyed.at(number, chunk, way, phase)
            with self._precision():
                outs.append(run(low, high))
        return _joined(outs)

    def _precision(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)


def cut(rows: Tensor, low: int, high: int) -> Tensor:
    """Return rows low … high - 1; all of them as they are, for a slice's gradient is a copy."""
    return rows if high - low == len(rows) else rows[low:high]


def cut_or_none(rows: Tensor | None, low: int, high: int) -> Tensor | None:
    """Cut rows that may be None."""
    return None if rows is None else cut(rows, low, high)


def by_piece(
    pieces: Sequence[Piece], x: Tensor, shared: Tensor | None, edge_attr: Tensor | None
) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Cut a chunk's rows, what travels along and the states of its edges into its pieces'."""
    rows = [piece.high - piece.low for piece in pieces]
    edges = [piece.graph.adj.num_edges for piece in pieces]
    return list(zip(_split(x, rows), _split(shared, rows), _split(edge_attr, edges), strict=True))


def joined(rows: Sequence[Rows], edge_attr: Tensor | None) -> Rows:
    """Put the pieces' rows together, and the states of their edges where there are any."""
    states = [each for _, each in rows if each is not None]
    return _joined([each for each, _ in rows]), _joined(states) if states else edge_attr


def _split(rows: Any, sizes: list[int]) -> Any:
    if rows is None or len(sizes) == 1:  # all of them as they are: the gradient of a cut is a copy
        return [rows] * len(sizes)
    return torch.split(rows, sizes)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _sources(shared: Tensor | None, num_src: int) -> Tensor | None:
    """What travels along is a destination's own; sources that are no destinations have none."""
    if shared is None:
        return None
    return torch.cat([shared, shared.new_zeros(num_src - len(shared), *shared.shape[1:])])
