"""LinkLoader and LinkNeighborLoader: PyG's loaders of links, with threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch_geometric.loader import LinkLoader as PygLinkLoader
from torch_geometric.sampler import BaseSampler, NegativeSampling, SamplerOutput

from gnnkit.data._describe import add_sampled, first_of
from gnnkit.data._inputs import check_lengths, links_as_pyg
from gnnkit.data._loader import induced
from gnnkit.data._sampler import NeighborSampler
from gnnkit.data._threaded import Threaded


class LinkLoader(Threaded, PygLinkLoader):  # type: ignore[misc]
    """PyG's ``LinkLoader`` without worker processes: threads sample and read, and batches come in order.

    What it takes and what its batches hold is PyG's, whose class it derives from; what `NodeLoader` says of threads,
    seeds, memory and errors holds here. Negative links may happen to be edges, as in PyG; those of `negative_edges` are
    none. Negatives by weight cost O(N) a batch.

    Args:
        data: A PyG ``Data`` or ``HeteroData``, or a ``(FeatureStore, GraphStore)`` pair such as `as_pyg` makes.
        link_sampler: A PyG ``BaseSampler``, which several threads use at once.
        edge_label_index: ``[2, P]`` links to make batches of, all edges by default; of typed edges a type, or
            ``(type, links)``.
        edge_label: ``[P]`` labels of the links.
        edge_label_time: ``[P]`` times of the links.
        neg_sampling: PyG's ``NegativeSampling``, or its mode.
        neg_sampling_ratio: PyG's deprecated form of it, how many negatives a link.
        transform: Makes another batch of each.
        transform_sampler_output: Makes another output of the sampler of each.
        filter_per_worker: Whether threads read and transform; None for yes.
        custom_cls: Class of the batches of a pair.
        input_id: ``[P]`` what ``batch.input_id`` shows.
        exclude_edges: Whether a batch's links are left out of its sampled edges, with their parallels and reverses: a
            model that saw them would know the answer. Needs a `NeighborSampler`.
        prefetch: How many batches a thread are made ahead; None for ``prefetch_factor``, else 2.
        seed: What batches depend on; None for PyTorch's default generator.
        features: Feature stores beside the attributes of a ``Data`` or ``HeteroData``, as `as_pyg` takes them.
        window: How many batches ahead of the one that is read are announced to stores that take announcements.
        **kwargs: Of ``torch.utils.data.DataLoader``.

    Raises:
        ValueError: An option that could not do what it says.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from gnnkit.data import LinkLoader, NeighborSampler
        >>> data = Data(x=torch.eye(4), edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))
        >>> loader = LinkLoader(data, NeighborSampler(data, [2]), neg_sampling="binary", batch_size=4, seed=0)
        >>> batch = next(iter(loader))
        >>> batch.n_id[batch.edge_label_index[:, :4]].tolist(), batch.edge_label.tolist()
        ([[0, 1, 2, 3], [1, 2, 3, 0]], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """

    _method = "sample_from_edges"

    def __init__(
        self,
        data: Any,
        link_sampler: BaseSampler,
        edge_label_index: Any = None,
        edge_label: Tensor | None = None,
        edge_label_time: Tensor | None = None,
        neg_sampling: NegativeSampling | str | None = None,
        neg_sampling_ratio: float | None = None,
        transform: Callable[[Any], Any] | None = None,
        transform_sampler_output: Callable[[Any], Any] | None = None,
        filter_per_worker: bool | None = None,
        custom_cls: Any = None,
        input_id: Tensor | None = None,
        *,
        exclude_edges: bool = False,
        prefetch: int | None = None,
        seed: int | None = None,
        features: Any = None,
        window: int = 8,
        **kwargs: Any,
    ) -> None:
        if exclude_edges and not isinstance(link_sampler, NeighborSampler):
            raise ValueError(f"exclude_edges: expected a NeighborSampler (got {type(link_sampler).__name__})")
        self.exclude_edges = exclude_edges
        options = self._options(data, kwargs, prefetch=prefetch, seed=seed, features=features, window=window)
        super().__init__(
            data,
            link_sampler,
            links_as_pyg(data, edge_label_index),
            edge_label,
            edge_label_time,
            neg_sampling,
            neg_sampling_ratio,
            transform,
            transform_sampler_output,
            True if filter_per_worker is None else filter_per_worker,
            custom_cls,
            input_id,
            **options,
        )
        given = self.input_data
        check_lengths(len(given.row), edge_label=given.label, edge_label_time=given.time, input_id=given.input_id)
        self._ready()

    @property
    def _sampler(self) -> Any:
        return self.link_sampler

    def _sample(self, inputs: Any, options: dict[str, Any]) -> Any:
        if self.exclude_edges:
            options = {**options, "exclude_edges": True}
        return self.link_sampler.sample_from_edges(inputs, neg_sampling=self.neg_sampling, **options)

    def _describe(self, batch: Any, out: Any) -> Any:
        add_sampled(batch, out, self._sampler.edge_permutation)
        typed, input_type = not isinstance(out, SamplerOutput), self.input_data.input_type
        links = batch[input_type] if typed else batch
        links.input_id = out.metadata[0]
        if self.neg_sampling is None or self.neg_sampling.is_binary():
            links.edge_label_index, links.edge_label, links.edge_label_time = out.metadata[1:4]
            return batch
        src, dst = (batch[input_type[0]], batch[input_type[-1]]) if typed else (batch, batch)
        src.src_index, dst.dst_pos_index, dst.dst_neg_index = out.metadata[1:4]
        src.seed_time = dst.seed_time = out.metadata[4]
        for name in ("edge_label_index", "edge_label_time"):  # of the whole graph
            if name in links:
                del links[name]
        return batch

    def _name_inputs(self, index: Any) -> str:
        inputs = self.input_data[index]
        return f"input links {first_of(inputs.row)} to {first_of(inputs.col)}"


class LinkNeighborLoader(LinkLoader):
    """PyG's ``LinkNeighborLoader`` without a compiled extension or worker processes: one import changed.

    A `LinkLoader` with a `NeighborSampler`; theirs are the meanings of all arguments.

    Args:
        data: A PyG ``Data`` or ``HeteroData``, or a ``(FeatureStore, GraphStore)`` pair such as `as_pyg` makes.
        num_neighbors: How many edges a node, hop by hop; -1 takes all; for typed edges also ``{edge_type: list}``.
        edge_label_index: ``[2, P]`` links to make batches of, all edges by default; of typed edges a type, or
            ``(type, links)``.
        edge_label: ``[P]`` labels of the links.
        edge_label_time: ``[P]`` times of the links; goes with ``time_attr``.
        replace: Whether an edge can be drawn again.
        subgraph_type: ``"directional"``, ``"bidirectional"`` or ``"induced"``.
        disjoint: Whether every end of a link has a graph of its own.
        temporal_strategy: ``"uniform"`` or ``"last"``.
        neg_sampling: PyG's ``NegativeSampling``, or its mode.
        neg_sampling_ratio: PyG's deprecated form of it, how many negatives a link.
        time_attr: Name of the times of nodes, or of edges.
        weight_attr: Name of weights of edges.
        transform: Makes another batch of each.
        transform_sampler_output: Makes another output of the sampler of each.
        is_sorted: Promise that ``edge_index`` is sorted by destination, and then by time.
        filter_per_worker: Whether threads read and transform; None for yes.
        neighbor_sampler: A sampler already made, in place of the arguments about sampling.
        directed: PyG's deprecated name: False for ``subgraph_type="induced"``.
        **kwargs: Of `LinkLoader`: ``exclude_edges``, ``prefetch``, ``seed`` …; of ``DataLoader``: ``batch_size`` …

    Raises:
        ValueError: What `NeighborSampler` and `LinkLoader` raise, and ``edge_label_time`` or ``time_attr`` alone.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from gnnkit.data import LinkNeighborLoader
        >>> data = Data(x=torch.eye(4), edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))
        >>> [batch.e_id.tolist() for batch in LinkNeighborLoader(data, [-1], batch_size=1)]  # the edges into its ends
        [[3, 0], [0, 1], [1, 2], [3, 2]]
        >>> [batch.e_id.tolist() for batch in LinkNeighborLoader(data, [-1], batch_size=1, exclude_edges=True)]
        [[3], [0], [1], [2]]
    """

    def __init__(
        self,
        data: Any,
        num_neighbors: Any,
        edge_label_index: Any = None,
        edge_label: Tensor | None = None,
        edge_label_time: Tensor | None = None,
        replace: bool = False,
        subgraph_type: Any = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        neg_sampling: NegativeSampling | str | None = None,
        neg_sampling_ratio: float | None = None,
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
        if neighbor_sampler is None:
            if (edge_label_time is None) != (time_attr is None):
                only = "edge_label_time" if time_attr is None else "time_attr"
                raise ValueError(f"edge_label_time: expected it and time_attr, or neither (got {only} alone)")
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
            edge_label_index,
            edge_label,
            edge_label_time,
            neg_sampling,
            neg_sampling_ratio,
            transform,
            transform_sampler_output,
            filter_per_worker,
            **kwargs,
        )
