"""Brings what the last stage computed to rank 0."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.pipeline._part import Part
from gnnkit.pipeline._plan import Plan
from gnnkit.pipeline._transport import Transport


def collect(
    transport: Transport, plan: Plan, part: Part, rows: Tensor | None, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """Return the outputs of all nodes, in the order of the graph, on rank 0; None on other ranks.

    Args:
        transport: Carries them.
        plan: The plan.
        part: This process's.
        rows: ``[n, C]`` of this process's own nodes at the last stage, else None.
        dtype: Of the outputs.
        device: Where this process computes.
    """
    last = plan.num_stages - 1
    holders = [0] if transport.world_size == 1 else [plan.rank(last, way) for way in range(plan.ways)]
    ids = part.nodes[: part.num_own]
    if transport.rank != 0:
        if rows is not None:
            for tensor, what in ((torch.tensor([*rows.shape]), "the size of outputs"), (ids, "the nodes of outputs")):
                transport.send(tensor, 0, what, "control").wait()
            transport.send(rows.contiguous(), 0, "outputs", "inference").wait()
        return None
    pieces = [(ids, rows) if holder == 0 else _received(transport, holder, dtype, device) for holder in holders]
    outputs: Tensor | None = None
    for nodes, got in pieces:
        assert got is not None
        outputs = got.new_empty(plan.num_nodes, got.shape[1]) if outputs is None else outputs
        outputs[nodes.to(outputs.device)] = got
    return outputs


def _received(transport: Transport, holder: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    size, what = torch.empty(2, dtype=torch.int64), "of outputs"
    transport.receive(size, holder, f"the size {what}", "control").wait()
    nodes, rows = torch.empty(int(size[0]), dtype=torch.int64), torch.empty(*size.tolist(), dtype=dtype, device=device)
    transport.receive(nodes, holder, f"the nodes {what}", "control").wait()
    transport.receive(rows, holder, "outputs", "inference").wait()
    return nodes, rows
