"""What each process holds in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from gnnkit.pipeline._saved import NetworkSaved, usual_saved
from gnnkit.pipeline._workload import Workload


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at the peak of an epoch.

    Attributes:
        tables: For each hop, this epoch's and historical rows, and gradients, of own and replicated nodes.
        activations: What autograd keeps, of all chunks, or of one under recomputation.
        inputs: What came in of each chunk: features or the rows of the stage before, and what travels along.
        buffers: Rows of chunks under way.
        topology: Edges with their transpose and weights.
        parameters: With their gradients and the optimiser's states.
    """

    tables: int
    activations: int
    inputs: int
    buffers: int
    topology: int
    parameters: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


class Share(NamedTuple):
    """What one way holds of the graph; ``chunk`` of its largest chunk."""

    rows: float
    replicas: float
    edges: float
    sources: float
    given: float  # rows that others read of one chunk, and those read of them
    chunk_rows: float
    chunk_edges: float
    chunk_sources: float


def memory_of(
    work: Workload,
    saved: NetworkSaved | None = None,
    *,
    recompute: bool = False,
    in_channels: int | None = None,
    optimizer_states: int = 2,
    end_parameters: tuple[int, int] = (0, 0),
) -> tuple[Memory, ...]:
    """Count the bytes that each rank holds.

    For each hop, tables hold 2 R D' numbers and R D' gradients, with R own and replicated rows; with one chunk, R D'
    of each for all hops of one width together. Autograd keeps what
    ``saved`` says of every chunk, or of the largest one under recomputation; the inputs of every chunk stay in both
    cases. Topology is 12 bytes an edge and 8 a row, with the transpose again 12 an edge and 8 for each row that a chunk
    reads, a weight an edge, and ids of 8 bytes. Not counted: Python and libraries, what kernels and `Adjacency` use
    meanwhile, the allocator's losses, targets.

    Args:
        work: The counts of a plan, graph and network.
        saved: What `measure_saved` gives; None for a guess.
        recompute: Whether chunks are computed once more on their way back.
        in_channels: Width of the features; None for that of the first hop's rows.
        optimizer_states: Numbers the optimiser keeps for each parameter: 2 for Adam.
        end_parameters: How many numbers the network's first and last part learn.

    Returns:
        One `Memory` a rank.

    Raises:
        ValueError: ``saved`` is of another network.
    """
    features = in_channels or work.first_channels
    saved = usual_saved(work.shapes, features, work.itemsize) if saved is None else saved
    if len(saved.hops) != len(work.shapes):
        raise ValueError(f"saved: expected that of {len(work.shapes)} hops (got {len(saved.hops)})")
    shares = []
    for way in range(work.ways):
        gives, takes = work.given[way].sum(0), work.given[:, way].sum(0)  # [K]
        shares.append(
            Share(
                int(work.rows[way].sum()),
                int(takes.sum()),
                int(work.edges[way].sum()),
                int(work.sources[way].sum()),
                int((gives + takes).max()),
                int(work.rows[way].max()),
                int(work.edges[way].max()),
                int(work.sources[way].max()),
            )
        )
    options = (saved, recompute, features, optimizer_states, end_parameters)
    return tuple(rank_memory(work, share, stage, *options) for stage in range(work.num_stages) for share in shares)


def rank_memory(
    work: Workload,
    share: Share,
    stage: int,
    saved: NetworkSaved,
    recompute: bool,
    in_channels: int,
    optimizer_states: int,
    end_parameters: tuple[int, int],
) -> Memory:
    """Count one rank's bytes from what its way holds of the graph."""
    low, high = work.stages[stage]
    size, last = work.itemsize, high == len(work.shapes)
    held = share.rows + share.replicas
    wide = max(size, 4)
    shapes = work.shapes[low:high]
    widths = [shape.message_channels for shape in shapes]
    # one chunk has no historical rows, and its hops of one width share their tables
    tables = held * (sum(widths) * (2 * size + wide) if work.num_chunks > 1 else sum(set(widths)) * (size + wide))
    rows, sources, edges = share.rows, share.sources, share.edges
    if recompute and work.num_chunks > 1:
        rows, sources, edges = share.chunk_rows, share.chunk_sources, share.chunk_edges
    kept = sum(rows * each.row + sources * each.source + edges * each.edge for each in saved.hops[low:high])
    kept += rows * ((saved.first if low == 0 else 0.0) + (saved.last if last else 0.0))
    shared = work.first_channels if work.shares else 0
    comes = (in_channels if low == 0 else work.shapes[low - 1].out_channels + shared) * size
    goes = 0 if last else (work.shapes[high - 1].out_channels + shared) * size
    under_way = share.chunk_rows * (2 * (0 if low == 0 else comes) + 2 * goes)
    traded = share.given * max(shape.message_channels for shape in shapes) * size
    topology = (24 + size) * share.edges + 8 * (share.rows + 2 * share.sources) + 16 * held
    learned = sum(shape.parameters for shape in shapes)
    learned += (end_parameters[0] if low == 0 else 0) + (end_parameters[1] if last else 0)
    return Memory(
        round(tables),
        round(kept + rows * goes),
        round(share.rows * comes),
        round(under_way + traded),
        round(topology),
        learned * (2 + optimizer_states) * wide,
    )
