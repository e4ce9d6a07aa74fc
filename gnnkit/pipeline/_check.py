"""Whether a network's parts keep the contract of a pipeline, and how wide they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.pipeline._network import Neighbourhood, Network, OneHop, call, returns_edges
from gnnkit.pipeline._probe import CHANGED, FAR, Probe
from gnnkit.pipeline._refused import refuse


@dataclass(frozen=True)
class HopShape:
    """How wide a hop is.

    Attributes:
        in_channels: Width D of the rows that it takes.
        message_channels: Width D' of the rows that neighbours see.
        out_channels: Width of the rows that it gives.
        edge_channels: Width of the edge states that it gives, 0 if none.
        message_grad: Whether the rows that neighbours see require a gradient.
        parameters: How many numbers it learns.
    """

    in_channels: int
    message_channels: int
    out_channels: int
    edge_channels: int
    message_grad: bool
    parameters: int


def inspect(network: Network, in_channels: int, edge_channels: int | None = None) -> tuple[HopShape, ...]:
    """Require that a network can be pipelined, and give the widths of its hops.

    Modules known to read more than one hop, or all nodes, are refused by class. Every part then runs on a graph of
    eight nodes, in evaluation and in training mode, where a row may follow one node's change only as the contract
    says, and where a piece of the graph, its destinations first, must give the rows of the whole. Copies on the CPU
    are tried, layer by layer: parameters, gradients, modes, buffers and random states stay as they are.

    Cost: some milliseconds a layer.

    Args:
        network: Layers are numbered from 0, as in ``network.layers``.
        in_channels: Width of the features.
        edge_channels: Width of ``edge_attr``, None where the layers are given none.

    Returns:
        A `HopShape` for each layer.

    Raises:
        ValueError: A part breaks the contract, or does not run; the message names it.

    Example:
        >>> from torch import nn
        >>> from gnnkit.pipeline import Network, OneHop, inspect
        >>> class Sum(OneHop):
        ...     def aggregate(self, z, graph):
        ...         return graph.adj.spmm(z, graph.edge_weight)
        >>> inspect(Network(nn.Linear(5, 3), [Sum(), Sum()], None), in_channels=5)[1].message_channels
        3
    """
    if not isinstance(network, Network):
        raise ValueError(f"network: expected a gnnkit.pipeline.Network (got {type(network).__name__})")
    if edge_channels is not None and network.edges in ("loops", "gcn"):
        raise ValueError(f"edge_channels: expected None, for self-loops have no state (got edges={network.edges!r})")
    ends = [("first", network.first), ("last", network.last)]
    hops = [(f"layer {number} ({type(layer).__name__})", layer) for number, layer in enumerate(network.layers)]
    for where, part in (*ends, *hops):
        if part is not None:
            refuse(part, where)
    for where, layer in hops:
        wanted = getattr(layer, "edges", network.edges) if isinstance(layer, OneHop) else network.edges
        if wanted != network.edges:
            raise ValueError(f"{where}: expected a network with edges={wanted!r} (got {network.edges!r})")
    dtypes = {parameter.dtype for parameter in network.parameters()}
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _one_thread():
        trial = _Trial(Probe.make(network.edges, dtype), dtype)
        rows = trial.draw(in_channels)
        if network.first is not None:
            rows = trial.of_rows("first", network.first, rows)
        shared = trial.draw(rows.shape[1]) if network.shares else None
        states = None if edge_channels is None else trial.draw(edge_channels, trial.probe.whole.adj.num_edges)
        shapes = []
        for where, layer in hops:
            shape, rows, states = trial.of_hop(where, layer, rows, states, shared)
            shapes.append(shape)
        if network.last is not None:
            trial.of_rows("last", network.last, rows)
    return tuple(shapes)


class _Trial:
    """Tries parts one after another, each on new rows: what comes out of 128 layers may be all zeros."""

    def __init__(self, probe: Probe, dtype: torch.dtype) -> None:
        self.probe, self.dtype = probe, dtype
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, width: int, count: int | None = None) -> Tensor:
        count = self.probe.whole.adj.num_dst if count is None else count
        return torch.randn(count, width, dtype=self.dtype, generator=self.generator)

    def of_rows(self, where: str, part: nn.Module, x: Tensor) -> Tensor:
        """Try what works row by row; give new rows of the width that it gives."""
        part = _copy(where, part, self.dtype)
        self._row_by_row(where, part, part, (x,))
        return self._like(self._with_gradient(where, part, part, x))

    def of_hop(
        self, where: str, layer: nn.Module, x: Tensor, states: Tensor | None, shared: Tensor | None
    ) -> tuple[HopShape, Tensor, Tensor | None]:
        """Try one hop; give its widths, and new rows and edge states as wide as it gives them."""
        parameters = sum(p.numel() for p in layer.parameters() if p.requires_grad)
        layer = _copy(where, layer, self.dtype)
        whole = replace(self.probe.whole, edge_attr=states)
        piece = replace(self.probe.piece, edge_attr=None if states is None else states[self.probe.edges])
        if isinstance(layer, OneHop):
            message = self._like(self._with_gradient(where, layer, layer.before, x, shared))
            out = self._of_parts(where, layer, x, message, whole, piece, shared)
        else:
            message = x
            out, states = self._of_contract(where, layer, x, whole, piece, shared)
        edge_channels = states.shape[1] if states is not None and returns_edges(layer) else 0
        shape = HopShape(x.shape[1], message.shape[1], out.shape[1], edge_channels, message.requires_grad, parameters)
        return shape, out, states

    def _of_parts(
        self,
        where: str,
        layer: OneHop,
        x: Tensor,
        message: Tensor,
        whole: Neighbourhood,
        piece: Neighbourhood,
        shared: Tensor | None,
    ) -> Tensor:
        self._row_by_row(f"{where}.before", layer, layer.before, (x, shared))
        self._one_hop(f"{where}.aggregate", layer, lambda z: layer.aggregate(z, whole), message)
        layer.eval()  # random numbers are a piece's own
        gathered = self._call(where, layer.aggregate, message, whole)
        part = self._call(where, layer.aggregate, message[self.probe.sources], piece)
        self._same_in_a_piece(f"{where}.aggregate", gathered, part, self.probe.destinations)
        self._row_by_row(f"{where}.after", layer, layer.after, (gathered, x, shared))
        out = self._with_gradient(
            where, layer, lambda: call(layer, x, whole.adj, whole.edge_weight, whole.edge_attr, shared)[0]
        )
        layer.eval()
        apart = layer.after(layer.aggregate(layer.before(x, shared), whole), x, shared)
        together = layer(x, whole.adj, edge_weight=whole.edge_weight, edge_attr=whole.edge_attr, shared=shared)
        if self._changed(apart, together).any():
            raise ValueError(f"{where}: expected after(aggregate(before(x)), x) (got another forward)")
        return self._like(out)

    def _of_contract(
        self,
        where: str,
        layer: nn.Module,
        x: Tensor,
        whole: Neighbourhood,
        piece: Neighbourhood,
        shared: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        def run(x: Tensor, graph: Neighbourhood, shared: Tensor | None) -> tuple[Tensor, Tensor | None]:
            return call(layer, x, graph.adj, graph.edge_weight, graph.edge_attr, shared)

        self._one_hop(where, layer, lambda rows: run(rows, whole, shared)[0], x)
        if shared is not None:
            self._row_by_row(f"{where}, shared", layer, lambda each: run(x, whole, each)[0], (shared,), alone=False)
        layer.eval()
        nodes = self.probe.sources
        rows, states = self._call(where, run, x, whole, shared)
        part, part_states = self._call(where, run, x[nodes], piece, None if shared is None else shared[nodes])
        self._same_in_a_piece(where, rows, part, self.probe.destinations)
        if returns_edges(layer):
            self._same_in_a_piece(f"{where}, edges", states, part_states, self.probe.edges)
        out, out_states = self._with_gradient(where, layer, run, x, whole, shared)
        return self._like(out), None if out_states is None else self._like(out_states)

    # ------------------------------------------------------------------ laws

    def _row_by_row(
        self,
        where: str,
        part: nn.Module,
        function: Callable[..., Any],
        inputs: tuple[Tensor | None, ...],
        alone: bool = True,
    ) -> None:
        changed = tuple(None if x is None else self._change(x) for x in inputs)
        for training in (False, True):
            part.train(training)
            rows, other = (self._seeded(where, function, *each) for each in (inputs, changed))
            self._is_rows(where, rows, len(other))
            follows = self._changed(rows, other)
            follows[CHANGED] = False
            if follows.any():
                raise ValueError(
                    f"{where}: expected a row to depend on that node's row alone (got one that changed with another "
                    f"node's, {_mode(training)})"
                )
        if alone:
            part.eval()
            few = self.probe.sources
            rows = self._call(where, function, *inputs)
            self._same_in_a_piece(
                where, rows, self._call(where, function, *(None if x is None else x[few] for x in inputs)), few
            )

    def _one_hop(self, where: str, layer: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
        other = self._change(x)
        for training in (False, True):
            layer.train(training)
            rows, moved = (self._seeded(where, function, each) for each in (x, other))
            self._is_rows(where, rows, len(x))
            follows = self._changed(rows, moved)
            for node, kind in FAR.items():
                if follows[node]:
                    raise ValueError(
                        f"{where}: expected one hop, a row that follows its node and its in-neighbours (got one that "
                        f"changed with {kind}, {_mode(training)})"
                    )

    def _same_in_a_piece(self, where: str, whole: Any, part: Any, nodes: Tensor) -> None:
        self._is_rows(where, part, len(nodes))
        if self._changed(whole[nodes], part).any():
            raise ValueError(
                f"{where}: expected the same rows from a piece of the graph as from the whole (got others; a layer "
                "that normalises by itself sees the piece's degrees, what adapters.adapt gives the whole graph's)"
            )

    # ------------------------------------------------------------------ tools

    def _change(self, x: Tensor) -> Tensor:
        changed = x.detach().clone()
        changed[CHANGED] = self.draw(x.shape[1], 1)[0]
        return changed

    def _changed(self, a: Tensor, b: Tensor) -> Tensor:
        """``[n]``: which rows differ by more than rounding."""
        scale = max(float(a.abs().nan_to_num().max()), 1e-30) if a.numel() else 1.0
        near = torch.isclose(a, b, rtol=0, atol=100 * torch.finfo(a.dtype).eps * scale, equal_nan=True)
        return ~near.all(dim=1)

    def _seeded(self, where: str, function: Callable[..., Any], *inputs: Any) -> Any:
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed other devices too
        return self._call(where, function, *inputs)

    def _call(self, where: str, function: Callable[..., Any], *inputs: Any) -> Any:
        try:
            return function(*inputs)
        except Exception as error:
            widths = [each.shape[1] for each in inputs if isinstance(each, Tensor)]
            got = f"{type(error).__name__}: {error}"
            raise ValueError(f"{where}: expected it to run on rows of widths {widths} (got {got})") from error

    def _with_gradient(self, where: str, part: nn.Module, function: Callable[..., Any], *inputs: Any) -> Any:
        part.train()
        with torch.enable_grad():
            return self._call(where, function, *inputs)

    def _like(self, rows: Tensor) -> Tensor:
        """New rows of the same width, which require a gradient if those do."""
        return self.draw(rows.shape[1], len(rows)).requires_grad_(rows.requires_grad)

    def _is_rows(self, where: str, rows: Any, count: int) -> None:
        if not isinstance(rows, Tensor) or rows.dim() != 2 or len(rows) != count:
            got = list(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise ValueError(f"{where}: expected {count} rows, one a node (got {got})")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run on one thread: on eight rows a second one is only waited for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mode(training: bool) -> str:
    return "in training mode" if training else "in evaluation mode"


def _copy(where: str, part: nn.Module, dtype: torch.dtype) -> Any:
    lazy = [name for name, each in part.named_parameters() if isinstance(each, nn.UninitializedParameter)]
    if lazy:
        raise ValueError(f"{where}: expected parameters of known shapes (got {lazy[0]} without one)")
    return copy.deepcopy(part).to("cpu", dtype)
