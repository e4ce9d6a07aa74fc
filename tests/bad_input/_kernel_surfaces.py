"""Kernels, with their valid cases and their breakages."""

from __future__ import annotations

from _kernel_breakages import (
    attention_breakages,
    matmul_breakages,
    sddmm_breakages,
    segment_breakages,
    spmm_breakages,
    spmm_scaled_breakages,
)
from _sampling_breakages import (
    count_breakages,
    gather_breakages,
    relabel_breakages,
    sample_hops_breakages,
    sample_neighbors_breakages,
)
from _shared_breakages import csr_breakages, id_breakages, wrong_word
from _surface import REDUCES, Surface
from _valid_cases import (
    call_relabel,
    make_gat_attention,
    make_gather_rows,
    make_gatv2_attention,
    make_group_by,
    make_relabel,
    make_sample_hops,
    make_sample_neighbors,
    make_sddmm,
    make_segment_matmul,
    make_segment_reduce,
    make_segment_softmax,
    make_spmm,
    make_spmm_scaled,
    make_transpose_csr,
)
from hypothesis import strategies as st

from gnnkit.kernels import (
    gat_attention,
    gather_rows,
    gatv2_attention,
    group_by,
    sample_hops,
    sample_neighbors,
    sddmm,
    segment_matmul,
    segment_reduce,
    segment_softmax,
    spmm,
    spmm_scaled,
    transpose_csr,
)

KERNELS: dict[str, Surface] = {
    "spmm": Surface("kernels", make_spmm, spmm, spmm_breakages()),
    "spmm_scaled": Surface("kernels", make_spmm_scaled, spmm_scaled, spmm_scaled_breakages()),
    "sddmm": Surface("kernels", make_sddmm, sddmm, sddmm_breakages()),
    "segment_reduce": Surface(
        "kernels",
        make_segment_reduce,
        segment_reduce,
        segment_breakages("x") | {"reduce unknown": wrong_word("reduce", *REDUCES)},
    ),
    "segment_softmax": Surface("kernels", make_segment_softmax, segment_softmax, segment_breakages("logits")),
    "gat_attention": Surface(
        "kernels", make_gat_attention, gat_attention, attention_breakages("x", "a_src", "a_dst", "a_edge")
    ),
    "gatv2_attention": Surface(
        "kernels", make_gatv2_attention, gatv2_attention, attention_breakages("x_src", "x_dst", "att")
    ),
    "segment_matmul": Surface("kernels", make_segment_matmul, segment_matmul, matmul_breakages()),
    "gather_rows": Surface("kernels", make_gather_rows, gather_rows, gather_breakages()),
    "group_by": Surface(
        "kernels",
        make_group_by,
        group_by,
        id_breakages("keys", lambda args: args["num_groups"])
        | count_breakages("num_groups")
        | {"num_groups too small": lambda draw, args: {"num_groups": draw(st.integers(0, int(args["keys"].max())))}},
    ),
    "sample_neighbors": Surface("kernels", make_sample_neighbors, sample_neighbors, sample_neighbors_breakages()),
    "relabel": Surface("kernels", make_relabel, call_relabel, relabel_breakages()),
    "sample_hops": Surface("kernels", make_sample_hops, sample_hops, sample_hops_breakages()),
    "transpose_csr": Surface(
        "kernels",
        make_transpose_csr,
        transpose_csr,
        csr_breakages(lambda args: args["num_src"])
        | count_breakages("num_src")
        | {"num_src too small": lambda draw, args: {"num_src": draw(st.integers(0, int(args["indices"].max())))}},
    ),
}
