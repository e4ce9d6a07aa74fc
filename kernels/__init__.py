"""Sparse aggregation on a CSR sorted by destination: without a compiler, deterministic on CPU.

Every operation takes tensors and chooses its backend from where they live (`gnnkit.kernels._backend`):
Numba for CPU tensors, plain PyTorch elsewhere; ``GNNKIT_BACKEND=torch|numba`` overrides.
"""

if __name__ != "gnnkit.kernels":
    raise ImportError("import gnnkit.kernels, not kernels")

from gnnkit.kernels._backend import backend_name
from gnnkit.kernels._common_neighbors import common_neighbors
from gnnkit.kernels._content_hash import content_hash
from gnnkit.kernels._csr import group_by, transpose_csr
from gnnkit.kernels._gat import gat_attention
from gnnkit.kernels._gather_cached import gather_cached
from gnnkit.kernels._gather_rows import gather_rows
from gnnkit.kernels._gatv2 import gatv2_attention
from gnnkit.kernels._norm_relu import norm_relu
from gnnkit.kernels._pair_sets import PairSets, Sets, pair_blocks
from gnnkit.kernels._relabel import relabel
from gnnkit.kernels._sample_hops import sample_hops
from gnnkit.kernels._sample_neighbors import sample_neighbors
from gnnkit.kernels._sddmm import sddmm
from gnnkit.kernels._segment_matmul import segment_matmul
from gnnkit.kernels._segment_reduce import segment_reduce
from gnnkit.kernels._segment_softmax import segment_softmax
from gnnkit.kernels._spmm import spmm
from gnnkit.kernels._spmm_scaled import spmm_scaled

__all__ = [
    "spmm",
    "spmm_scaled",
    "sddmm",
    "segment_reduce",
    "segment_softmax",
    "gat_attention",
    "gatv2_attention",
    "segment_matmul",
    "gather_rows",
    "gather_cached",
    "group_by",
    "transpose_csr",
    "sample_neighbors",
    "relabel",
    "sample_hops",
    "common_neighbors",
    "pair_blocks",
    "PairSets",
    "Sets",
    "norm_relu",
    "content_hash",
    "backend_name",
]
