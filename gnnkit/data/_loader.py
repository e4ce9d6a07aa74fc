"""NodeLoader and NeighborLoader: PyG's loaders of nodes, with threads."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch_geometric.loader import NodeLoader as PygNodeLoader
from torch_geometric.sampler import BaseSampler, SamplerOutput

from gnnkit.data._describe import add_sampled, first_of
from gnnkit.data._inputs import check_lengths, nodes_as_pyg
from gnnkit.data._sampler import NeighborSampler
from gnnkit.data._threaded import Threaded


class NodeLoader(Threaded, PygNodeLoader):  # type: ignore[misc]
    """PyG's ``NodeLoader`` without worker processes: threads sample and read, and batches come in order.

    What it takes and what its batches hold is PyG's, whose class it derives from. Beside that:

    - ``num_workers`` is the number of threads that sample (0 means 1), each of which works ``prefetch`` batches ahead;
      ``prefetch=0`` does all in the caller's thread. ``persistent_workers``, ``multiprocessing_context`` and
      ``in_order`` have nothing to do without processes and change nothing; ``worker_init_fn`` is refused.
      ``filter_per_worker=False`` reads and transforms in the caller's thread. ``pin_memory`` pins where there is CUDA.
    - With ``seed``, the order and the batches are a function of the seed and of ``epoch`` (how often the loader has
      been iterated over; may be set), whatever ``num_workers`` and ``prefetch``; without, of PyTorch's default
      generator. That needs a sampler with a ``key`` such as `NeighborSampler`, and a ``sampler`` or ``batch_sampler``
      given has an order of its own.
    - Rows on the CPU are read into memory of earlier batches that nothing refers to any more.
    - An error in a batch is a RuntimeError that names the batch and its first inputs, caused by the error. Threads end
      when the iterator ends, is dropped or is closed (``close()``). An iterator belongs to the process that made it.
    - Batches of a sampler on a GPU are made on a CUDA stream of their own, which the caller's stream waits for.

    Args:
        data: A PyG ``Data`` or ``HeteroData``, or a ``(FeatureStore, GraphStore)`` pair such as `as_pyg` makes.
        node_sampler: A PyG ``BaseSampler``, which several threads use at once.
        input_nodes: Ids or a mask of the nodes to make batches of, all by default; of typed nodes a type, or
            ``(type, ids)``.
        input_time: ``[S]`` times of these nodes.
        transform: Makes another batch of each.
        transform_sampler_output: Makes another output of the sampler of each.
        filter_per_worker: Whether threads read and transform; None for yes.
        custom_cls: Class of the batches of a pair.
        input_id: ``[S]`` what ``batch.input_id`` shows.
        prefetch: How many batches a thread are made ahead; None for ``prefetch_factor``, else 2.
        seed: What batches depend on; None for PyTorch's default generator.
        features: Feature stores beside the attributes of a ``Data`` or ``HeteroData``, as `as_pyg` takes them.
        window: How many batches ahead of the one that is read are announced to stores that take announcements
            (`Cached`), which then are read in order, by one thread more, and by one iterator at a time.
        **kwargs: Of ``torch.utils.data.DataLoader``: ``batch_size``, ``shuffle``, ``drop_last``, ``timeout`` …

    Raises:
        ValueError: An option that could not do what it says.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from gnnkit.data import NeighborSampler, NodeLoader
        >>> data = Data(x=torch.eye(4), edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))
        >>> loader = NodeLoader(data, NeighborSampler(data, [2]), batch_size=2, num_workers=2, seed=0)
        >>> [batch.n_id.tolist() for batch in loader]
        [[0, 1, 3], [2, 3, 1]]
    """

    _method = "sample_from_nodes"

    def __init__(
        self,
        data: Any,
        node_sampler: BaseSampler,
        input_nodes: Any = None,
        input_time: Tensor | None = None,
        transform: Callable[[Any], Any] | None = None,
        transform_sampler_output: Callable[[Any], Any] | None = None,
        filter_per_worker: bool | None = None,
        custom_cls: Any = None,
        input_id: Tensor | None = None,
        *,
        prefetch: int | None = None,
        seed: int | None = None,
        features: Any = None,
        window: int = 8,
        **kwargs: Any,
    ) -> None:
        options = self._options(data, kwargs, prefetch=prefetch, seed=seed, features=features, window=window)
        super().__init__(
            data,
            node_sampler,
            nodes_as_pyg(data, input_nodes),
            input_time,
            transform,
            transform_sampler_output,
            True if filter_per_worker is None else filter_per_worker,
            custom_cls,
            input_id,
            **options,
        )
        inputs = self.input_data
        check_lengths(len(inputs.node), input_time=inputs.time, input_id=inputs.input_id)
        self._ready()

    @property
    def _sampler(self) -> Any:
        return self.node_sampler

    def _sample(self, inputs: Any, options: dict[str, Any]) -> Any:
        return self.node_sampler.sample_from_nodes(inputs, **options)

    def _describe(self, batch: Any, out: Any) -> Any:
        add_sampled(batch, out, self._sampler.edge_permutation)
        store = batch if isinstance(out, SamplerOutput) else batch[self.input_data.input_type]
        store.input_id, store.seed_time = out.metadata[:2]
        store.batch_size = len(out.metadata[0])
        if len(out.metadata) > 2:  # of a LayerWiseSampler
            store.edge_weight = out.metadata[2]
        return batch

    def _name_inputs(self, index: Any) -> str:
        return f"input nodes {first_of(self.input_data.node[index])}"


class NeighborLoader(NodeLoader):
    """PyG's ``NeighborLoader`` without a compiled extension or worker processes: one import changed.

    A `NodeLoader` with a `NeighborSampler`; theirs are the meanings of all arguments.

    Args:
        data: A PyG ``Data`` or ``HeteroData``, or a ``(FeatureStore, GraphStore)`` pair such as `as_pyg` makes.
        num_neighbors: How many edges a node, hop by hop; -1 takes all; for typed edges also ``{edge_type: list}``.
        input_nodes: Ids or a mask of the nodes to make batches of, all by default; of typed nodes a type, or
            ``(type, ids)``.
        input_time: ``[S]`` times of these nodes; needs ``time_attr``.
        replace: Whether an edge can be drawn again.
        subgraph_type: ``"directional"``, ``"bidirectional"`` or ``"induced"``.
        disjoint: Whether every seed has a graph of its own.
        temporal_strategy: ``"uniform"`` or ``"last"``.
        time_attr: Name of the times of nodes, or of edges.
        weight_attr: Name of weights of edges.
        transform: Makes another batch of each.
        transform_sampler_output: Makes another output of the sampler of each.
        is_sorted: Promise that ``edge_index`` is sorted by destination, and then by time.
        filter_per_worker: Whether threads read and transform; None for yes.
        neighbor_sampler: A sampler already made, in place of the arguments about sampling.
        directed: PyG's deprecated name: False for ``subgraph_type="induced"``.
        **kwargs: Of `NodeLoader`: ``prefetch``, ``seed``, ``features`` …; of ``DataLoader``: ``batch_size`` …

    Raises:
        ValueError: What `NeighborSampler` and `NodeLoader` raise, and times of inputs without ``time_attr``.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from gnnkit.data import NeighborLoader
        >>> data = Data(x=torch.eye(4), edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))
        >>> loader = NeighborLoader(data, num_neighbors=[1, 1], batch_size=2, shuffle=True, num_workers=2, seed=0)
        >>> batch = next(iter(loader))
        >>> batch.batch_size, batch.num_sampled_nodes[0], bool((batch.x == data.x[batch.n_id]).all())
        (2, 2, True)
    """

    def __init__(
        self,
        data: Any,
        num_neighbors: Any,
        input_nodes: Any = None,
        input_time: Tensor | None = None,
        replace: bool = False,
        subgraph_type: Any = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        transform_sampler_output: Callable[[Any], Any] | None = None,
        is_sorted: bool = False,
        filter_per_worker: bool | None = None,
        neighbor_sampler: BaseSampler | None = None,
        directed: bool = True,
        **kwargs: Any,
    ) -> None:
        if input_time is not None and time_attr is None and neighbor_sampler is None:
            raise ValueError("input_time: expected None without time_attr (got times)")
        if neighbor_sampler is None:
            neighbor_sampler = NeighborSampler(
                data,
                num_neighbors,
                replace=replace,
                subgraph_type=subgraph_type if directed else induced(),
                disjoint=disjoint,
                temporal_strategy=temporal_strategy,
                time_attr=time_attr,
                weight_attr=weight_attr,
                is_sorted=is_sorted,
            )
        super().__init__(
            data,
            neighbor_sampler,
            input_nodes,
            input_time,
            transform,
            transform_sampler_output,
            filter_per_worker,
            **kwargs,
        )


def induced() -> str:
    """What PyG's deprecated ``directed=False`` asks for."""
    warnings.warn("directed=False: use subgraph_type='induced'", DeprecationWarning, stacklevel=3)
    return "induced"
