"""The parts of a network tried one after another, each on new rows: after 128 layers all may be zeros."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gnnkit.pipeline._laws import Laws
from gnnkit.pipeline._network import Neighbourhood, OneHop, call, returns_edges

States = Tensor | None


@dataclass(frozen=True)
class Outcome:
    """What a hop gave: new rows as wide as neighbours see, rows, and edge states or None."""

    message: Tensor
    rows: Tensor
    states: States


def of_rows(laws: Laws, where: str, part: nn.Module, x: Tensor) -> Tensor:
    """Try what works row by row; give new rows as wide as it gives."""
    part = _copy(where, part, laws)
    laws.row_by_row(where, part, part, (x,))
    return laws.like(_with_gradient(laws, where, part, part, x))


def of_hop(laws: Laws, where: str, layer: nn.Module, x: Tensor, states: States, shared: Tensor | None) -> Outcome:
    """Try one hop."""
    tried = _copy(where, layer, laws)
    whole = replace(laws.probe.whole, edge_attr=states)
    piece = replace(laws.probe.piece, edge_attr=None if states is None else states[laws.probe.edges])
    if isinstance(layer, OneHop):
        return _of_parts(laws, where, tried, x, whole, piece, shared)
    return _of_contract(laws, where, tried, x, whole, piece, shared)


def _of_parts(
    laws: Laws, where: str, hop: OneHop, x: Tensor, whole: Neighbourhood, piece: Neighbourhood, shared: Tensor | None
) -> Outcome:
    laws.row_by_row(f"{where}.before", hop, hop.before, (x, shared))
    message = laws.like(_with_gradient(laws, f"{where}.before", hop, hop.before, x, shared))

    name, nodes = f"{where}.aggregate", laws.probe.sources
    laws.one_hop(name, hop, lambda z: hop.aggregate(z, whole), message)
    states = whole.edge_attr
    if states is not None:
        laws.own_edges(name, hop, lambda z, e: (hop.aggregate(z, replace(whole, edge_attr=e)), None), message, states)
    hop.eval()  # a piece draws random numbers of its own
    gathered = laws.call(name, hop.aggregate, message, whole)
    few = laws.call(name, hop.aggregate, message[nodes], piece)
    laws.same_in_a_piece(name, gathered, few, laws.probe.destinations)

    laws.row_by_row(f"{where}.after", hop, hop.after, (gathered, x, shared))
    hop.eval()
    apart = hop.after(hop.aggregate(hop.before(x, shared), whole), x, shared)
    if laws.changed(apart, laws.call(where, _run(hop), x, whole, shared)[0]).any():
        raise ValueError(f"{where}: expected after(aggregate(before(x)), x) (got a forward that gives other rows)")
    rows, _ = _with_gradient(laws, where, hop, _run(hop), x, whole, shared)
    return Outcome(message, laws.like(rows), states)


def _of_contract(
    laws: Laws,
    where: str,
    layer: nn.Module,
    x: Tensor,
    whole: Neighbourhood,
    piece: Neighbourhood,
    shared: Tensor | None,
) -> Outcome:
    run, nodes = _run(layer), laws.probe.sources
    laws.one_hop(where, layer, lambda rows: run(rows, whole, shared)[0], x)
    if shared is not None:  # what travels along is a node's own
        laws.own_row(f"{where}, shared", layer, lambda each: run(x, whole, each)[0], (shared,))
    if whole.edge_attr is not None:
        changes = returns_edges(layer)

        def on_states(rows: Tensor, states: Tensor) -> tuple[Tensor, States]:
            out, new = run(rows, replace(whole, edge_attr=states), shared)
            return out, new if changes else None

        laws.own_edges(where, layer, on_states, x, whole.edge_attr)
    layer.eval()
    rows, states = laws.call(where, run, x, whole, shared)
    few, few_states = laws.call(where, run, x[nodes], piece, None if shared is None else shared[nodes])
    laws.same_in_a_piece(where, rows, few, laws.probe.destinations)
    if states is not None:
        laws.same_in_a_piece(f"{where}, states of the edges", states, few_states, laws.probe.edges)
    rows, states = _with_gradient(laws, where, layer, run, x, whole, shared)
    return Outcome(x, laws.like(rows), None if states is None else laws.like(states))


def _run(layer: nn.Module) -> Callable[[Tensor, Neighbourhood, Tensor | None], tuple[Tensor, States]]:
    return lambda x, graph, shared: call(layer, x, graph.adj, graph.edge_weight, graph.edge_attr, shared)


def _with_gradient(laws: Laws, where: str, part: nn.Module, function: Callable[..., Any], *inputs: Any) -> Any:
    part.train()
    with torch.enable_grad():
        return laws.call(where, function, *inputs)


def _copy(where: str, part: nn.Module, laws: Laws) -> Any:
    """Copy a part to the CPU, and move its parameters a little: a gate that begins at 0 hides what is behind it."""
    lazy = [name for name, each in part.named_parameters() if isinstance(each, nn.UninitializedParameter)]
    if lazy:
        raise ValueError(f"{where}: expected parameters of known shapes (got {lazy[0]} without one)")
    copied = copy.deepcopy(part).to("cpu", laws.dtype)
    for parameter in copied.parameters():
        if parameter.is_floating_point():
            parameter.add_(torch.rand(parameter.shape, dtype=parameter.dtype, generator=laws.generator), alpha=0.01)
    return copied
