"""What `gnnkit.Adjacency` reads from and writes to other libraries, as ``(edge_index, num_nodes)``.

One rule everywhere: an entry (i, j) of a matrix is the edge i → j, i the source.
"""

from __future__ import annotations

import sys
import warnings
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from gnnkit._optional import require
from gnnkit.interop import import_dgl
from gnnkit.kernels import _check

Sizes = tuple[int, int]
_MAX_NODES = 2**40  # beyond, row pointers alone take 8 TiB: a stray id, not a graph


def check_edge_index(edge_index: object) -> None:
    """Require a dense ``[2, E]`` int32 or int64 tensor."""
    if (
        not isinstance(edge_index, Tensor)
        or edge_index.layout != torch.strided
        or edge_index.dim() != 2
        or edge_index.shape[0] != 2
        or edge_index.dtype not in _check.INDEX_DTYPES
    ):
        raise ValueError(
            f"edge_index: expected an int32 or int64 tensor of shape [2, E] (got {_check.describe(edge_index)})"
        )


def sizes(edge_index: Any, num_nodes: Any) -> Sizes:
    """Return (num_src, num_dst), given or inferred, after checking every id against them."""
    if num_nodes is None and is_pyg_edge_index(edge_index):
        num_nodes = edge_index.sparse_size()  # (None, None) unless its maker said more
    if num_nodes is None or (isinstance(num_nodes, tuple) and num_nodes == (None, None)):
        inferred = 1 + int(edge_index.max()) if edge_index.numel() else 0
        num_nodes = inferred, inferred
    pair = num_nodes if isinstance(num_nodes, tuple) else (num_nodes, num_nodes)
    if len(pair) != 2 or not all(_is_size(n) for n in pair):
        raise ValueError(f"num_nodes: expected a number >= 0 or (num_src, num_dst) (got {num_nodes!r})")
    both = []
    for row, name, size in zip(plain(edge_index), ("sources", "destinations"), pair, strict=True):
        low, high = (int(v) for v in row.aminmax()) if row.numel() else (0, -1)
        size = high + 1 if size is None else int(size)
        if low < 0 or high >= size:
            bad = low if low < 0 else high
            raise ValueError(f"edge_index: expected {name} in [0, {size}) (got {bad}); is num_nodes too small?")
        if size > _MAX_NODES:
            raise ValueError(f"edge_index: expected at most 2^40 {name} (got {size})")
        both.append(size)
    return both[0], both[1]


def _is_size(value: object) -> bool:
    if value is None:
        return True
    return not isinstance(value, bool) and isinstance(value, Integral) and 0 <= int(value) < 2**63


def is_pyg_edge_index(edge_index: object) -> bool:
    """Whether this is PyG's ``EdgeIndex`` (which cannot be unless PyG is loaded)."""
    pyg = sys.modules.get("torch_geometric")
    return pyg is not None and isinstance(edge_index, pyg.EdgeIndex)


def plain(tensor: Any) -> Tensor:
    """Return what PyG's ``EdgeIndex`` and ``Index`` wrap, and any other tensor as it is."""
    unwrapped: Tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return unwrapped


def csc_of(edge_index: Any, num_dst: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return (indptr, indices, edge_ids) from the CSC that a sorted PyG ``EdgeIndex`` caches."""
    if not edge_index.is_sorted:
        return None
    edge_index.validate()  # an EdgeIndex believes the sort order that it was given; so must not we
    (indptr, rows), perm = edge_index.get_csc()
    indptr, rows = plain(indptr)[: num_dst + 1], plain(rows)
    if indptr.numel() < num_dst + 1:  # trailing nodes without edges
        indptr = torch.cat([indptr, indptr.new_full((num_dst + 1 - indptr.numel(),), rows.numel())])
    edge_ids = torch.arange(rows.numel(), device=rows.device) if perm is None else plain(perm)
    return indptr, rows, edge_ids.long()


def check_csr(indptr: Tensor, indices: Tensor, num_src: object) -> int:
    """Require a valid CSR and return its number of sources."""
    _check.csr_shapes(indptr, indices)
    if num_src is not None and (not _is_size(num_src)):
        raise ValueError(f"num_src: expected a number >= 0 (got {num_src!r})")
    size = num_src if isinstance(num_src, int) else indptr.numel() - 1
    _check.csr_values(indptr, indices, size)
    return size


def from_pyg(data: Any) -> tuple[Tensor, int]:
    """Read a PyG ``Data``."""
    if not isinstance(getattr(data, "edge_index", None), Tensor):
        raise ValueError(f"data: expected a PyG Data with an edge_index (got {type(data).__name__})")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyG infers the largest id plus one, as we do
        return data.edge_index, data.num_nodes


def from_scipy(matrix: Any) -> tuple[Tensor, Sizes]:
    """Read a SciPy sparse matrix or array."""
    from scipy.sparse import issparse

    sparse: bool = issparse(matrix)  # not used as a type guard: the stubs' guard knows neither ndim nor tocoo
    if not sparse or matrix.ndim != 2:
        raise ValueError(f"matrix: expected a 2-D SciPy sparse matrix (got {type(matrix).__name__})")
    if hasattr(matrix, "check_format"):  # CSR, CSC, BSR: tocoo() trusts their pointers and would read past the end
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"matrix: expected a valid {type(matrix).__name__} (got one where {error})") from error
    coo: Any = matrix.tocoo()
    return torch.stack([torch.from_numpy(ids.astype("int64")) for ids in (coo.row, coo.col)]), coo.shape


def from_torch_sparse(matrix: object) -> tuple[Tensor, Sizes]:
    """Read a COO, CSR or CSC tensor without coalescing it."""
    layouts = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)
    if not isinstance(matrix, Tensor) or matrix.layout not in layouts or matrix.dim() != 2:
        raise ValueError(f"matrix: expected a 2-D COO, CSR or CSC tensor (got {_check.describe(matrix)})")
    shape = (matrix.shape[0], matrix.shape[1])
    if matrix.layout == torch.sparse_coo:
        return matrix._indices(), shape
    by_row = matrix.layout == torch.sparse_csr
    indptr = matrix.crow_indices() if by_row else matrix.ccol_indices()
    minor = matrix.col_indices() if by_row else matrix.row_indices()
    _check.csr_pointers(indptr, minor.numel())  # torch checks them only where a user opted in
    major = torch.arange(indptr.numel() - 1, device=indptr.device).repeat_interleave(indptr.diff()).to(minor.dtype)
    return torch.stack([major, minor] if by_row else [minor, major]), shape


def from_networkx(graph: Any) -> tuple[Tensor, int]:
    """Read a NetworkX graph."""
    networkx = sys.modules.get("networkx")
    if networkx is None or not isinstance(graph, networkx.Graph):
        raise ValueError(f"graph: expected a NetworkX graph (got {type(graph).__name__})")
    position = {node: k for k, node in enumerate(graph.nodes)}
    directed = graph if graph.is_directed() else graph.to_directed()
    pairs = [(position[u], position[v]) for u, v in directed.edges()]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t(), len(position)


def from_dgl(graph: Any) -> tuple[Tensor, Sizes]:
    """Read a DGL graph or block of one relation; who has one has imported DGL."""
    dgl = sys.modules.get("dgl")
    if dgl is None or not isinstance(graph, dgl.DGLGraph):
        raise ValueError(f"graph: expected a DGL graph (got {type(graph).__name__})")
    if len(graph.canonical_etypes) != 1:
        names = ", ".join(map(str, graph.canonical_etypes))
        raise ValueError(f"graph: expected one relation, such as graph[etype] (got {names or 'none'})")
    ((source, _, destination),) = graph.canonical_etypes
    every = graph.formats(["coo", "csr", "csc"])  # DGL lists edges by id from its COO alone, which a graph may forbid
    src, dst = every.edges(order="eid")
    return torch.stack([src, dst]), (graph.num_src_nodes(source), graph.num_dst_nodes(destination))


def to_pyg(edge_index: Tensor, num_nodes: int) -> Any:
    """Write a PyG ``Data``."""
    from torch_geometric.data import Data

    return Data(edge_index=edge_index, num_nodes=num_nodes)


def to_scipy(edge_index: Tensor, shape: Sizes, weight: Tensor | None) -> Any:
    """Write a SciPy COO array, ones where no weight is given."""
    import scipy.sparse

    if weight is not None and weight.dim() != 1:
        raise ValueError(f"weight: expected one number an edge (got {_check.describe(weight)})")
    src, dst = edge_index.cpu().numpy()
    values = torch.ones(len(src)) if weight is None else weight.detach().cpu()
    return scipy.sparse.coo_array((values.numpy(), (src, dst)), shape=shape)


def to_networkx(edge_index: Tensor, num_nodes: int) -> Any:
    """Write a NetworkX ``MultiDiGraph``."""
    networkx = require("networkx", "dev")
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edge_index.t().tolist())
    return graph


def to_dgl(edge_index: Tensor, shape: Sizes) -> Any:
    """Write a DGL graph, of one set of nodes where both sizes are equal."""
    dgl, edges = import_dgl(), tuple(edge_index)
    if shape[0] == shape[1]:
        return dgl.graph(edges, num_nodes=shape[0])
    return dgl.heterograph({("_U", "_E", "_V"): edges}, {"_U": shape[0], "_V": shape[1]})
