"""How many bytes an epoch sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._workload import Workload

if TYPE_CHECKING:
    from gnnkit.pipeline._check import HopShape
    from gnnkit.pipeline._plan import Plan


@dataclass(frozen=True)
class Volume:
    """Bytes on the wire in one epoch, summed over ranks, by the kinds of ``Transport.sent_bytes``.

    Attributes:
        mode: ``"single"``, ``"pipeline"``, ``"graph"`` or ``"hybrid"``.
        activations: From stages to the stages after them.
        gradients: Back.
        boundary: Rows between ways.
        boundary_gradients: Back.
        parameters: What ranks hand to the sum over ways of the parameters' gradients.
    """

    mode: str
    activations: int
    gradients: int
    boundary: int
    boundary_gradients: int
    parameters: int = 0

    @property
    def total(self) -> int:
        """Bytes of rows and their gradients; the parameters, which do not grow with the graph, are not among them."""
        return self.activations + self.gradients + self.boundary + self.boundary_gradients


def communication_volume(
    plan: Plan,
    adj: Adjacency,
    shapes: Sequence[HopShape],
    *,
    first_channels: int,
    shares: bool = False,
    dtype: torch.dtype = torch.float32,
    end_parameters: int = 0,
) -> Volume:
    """Count the bytes that an epoch of a plan sends, exactly.

    Between stages, ``N (D + D_shared) + E De`` numbers go forward at each of the S - 1 boundaries, and as many back.
    Between ways, at each hop the M replicated rows of width D' go forward, and their gradients back where the rows
    have any. With all widths H that is ``2 (S - 1) N H + 2 M L H`` numbers (GNNPipe, arXiv 2308.10087): a pipeline's
    share depends neither on the number of layers nor on the cut. Priming and inference are not part of an epoch.

    Args:
        plan: The plan.
        adj: The graph as the layers read it.
        shapes: What `inspect` gives for the network.
        first_channels: Width of the rows that the first hop takes.
        shares: Whether they travel along (GCNII).
        dtype: Of what travels.
        end_parameters: How many numbers the network's row-wise first and last part learn.

    Raises:
        ValueError: Plan, graph and shapes do not fit each other.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.pipeline import HopShape, communication_volume, plan
        >>> ring = torch.stack([torch.arange(100), torch.arange(100).roll(-1)])
        >>> adj = gnnkit.Adjacency.from_edge_index(ring)
        >>> shapes = [HopShape(16, 16, 16, 0, True, 256)] * 32
        >>> two = communication_volume(plan(adj, 32, stages=2), adj, shapes, first_channels=16)
        >>> halves = plan(adj, 32, ways=2, partitioner=torch.arange(100) // 50)
        >>> ways = communication_volume(halves, adj, shapes, first_channels=16)
        >>> two.total, ways.total  # 2 * 100 * 16 * 4, and 2 replicas at each of 32 hops
        (12800, 8192)
    """
    work = Workload.of(plan, adj, shapes, first_channels=first_channels, shares=shares, dtype=dtype)
    return volume_of(work, end_parameters)


def volume_of(work: Workload, end_parameters: int = 0) -> Volume:
    """Count the bytes of what `Workload.of` has counted."""
    between = sum(
        work.boundary_bytes(stage, way, chunk)
        for stage in range(work.num_stages)
        for way in range(work.ways)
        for chunk in range(work.num_chunks)
    )
    given = int(work.given.sum()) * work.itemsize
    first = work.stages[0][1]  # what comes into a later stage has a gradient, and with it all that is made of it
    back = sum(s.message_channels for hop, s in enumerate(work.shapes) if s.message_grad or hop >= first)
    # parameters are float32 or wider whatever travels between the hops
    learned = sum(shape.parameters for shape in work.shapes) + end_parameters
    return Volume(
        work.mode,
        between,
        between,
        given * sum(shape.message_channels for shape in work.shapes),
        given * back,
        work.ways * learned * max(work.itemsize, 4) if work.ways > 1 else 0,
    )


def volume_formula(
    num_nodes: int, replicas: int, channels: int, layers: int, stages: int, *, shares: bool = False
) -> int:
    """Give the paper's count of an epoch in numbers, not bytes: ``2 (S - 1) N H + 2 M_W L H``.

    Every hop is H wide, the first included, and ``shares`` doubles what goes between stages.

    Args:
        num_nodes: N.
        replicas: M_W, see `gnnkit.pipeline.replicas`; 0 for a pure pipeline.
        channels: H.
        layers: L.
        stages: S; 1 for pure graph parallelism.
        shares: Whether the first rows travel along.
    """
    return 2 * (stages - 1) * num_nodes * channels * (2 if shares else 1) + 2 * replicas * layers * channels


def volume_ratio(num_nodes: int, replicas: int, layers: int, stages: int) -> float:
    """Give what graph parallelism sends over what a pipeline of S stages sends: ``(M / N) L / (S - 1)``.

    Raises:
        ValueError: There are fewer than two stages, which send nothing.
    """
    if stages < 2:
        raise ValueError(f"stages: expected at least 2, for one sends nothing (got {stages})")
    return replicas / num_nodes * layers / (stages - 1)
