"""A part of any loop refuses pointers and indices by itself, before it follows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gnnkit.kernels import _loops_edges, _loops_gat, _loops_gatv2, _loops_spmm

DEPTH = 3
X, OUT, PER_EDGE, PER_NODE = (np.ones(shape, dtype=np.float32) for shape in ((2, 3), (2, 3), (3, 1), (2, 1)))
ATT, ENDS = np.ones((1, 3), dtype=np.float32), np.ones((2, 4), dtype=np.float32)
PERM = np.arange(3)
SCRATCH = np.empty((2 + 2 * 3, 1), dtype=np.float32)  # see gnnkit.kernels._arrays.with_scratch
GAT = X, PER_NODE, PER_NODE, PER_EDGE, PER_EDGE, 0.2, DEPTH
GATV2 = X, X, ATT, PER_EDGE, 0.2, DEPTH
LOOPS: dict[Any, tuple[object, ...]] = {
    _loops_spmm.spmm_sum: (X, PER_EDGE, DEPTH, False, OUT),
    _loops_spmm.spmm_scaled: (X, PER_EDGE, PER_NODE[:, 0], PER_NODE[:, 0], OUT),
    _loops_spmm.spmm_extreme: (X, PER_EDGE, DEPTH, True, OUT),
    _loops_spmm.extreme_ties: (X, PER_EDGE, DEPTH, X, OUT),
    _loops_spmm.spmm_masked: (X, PER_EDGE, X, X, PER_EDGE, DEPTH, True, OUT),
    _loops_edges.sddmm: (X, X, DEPTH, PER_EDGE.copy()),
    _loops_edges.sddmm_masked: (X, X, X, X, PER_EDGE, DEPTH, PER_EDGE.copy()),
    _loops_edges.segment_softmax: (PER_EDGE, PER_EDGE.copy(), SCRATCH),
    _loops_edges.segment_softmax_backward: (PER_EDGE, PER_EDGE, PER_EDGE.copy()),
    _loops_gat.gat_forward: (*GAT, OUT, PER_NODE.copy(), PER_NODE.copy(), SCRATCH),
    _loops_gat.gat_backward_dst: (
        *(*GAT, PER_NODE, PER_NODE, X, PER_NODE),
        *(PER_NODE.copy(), PER_EDGE.copy(), SCRATCH),
    ),
    _loops_gat.gat_backward_src: (
        *(PERM, X, PER_NODE, ENDS, PER_EDGE, PER_EDGE, 0.2, DEPTH),
        *(X, OUT, PER_NODE.copy(), SCRATCH),
    ),
    _loops_gatv2.gatv2_forward: (*GATV2, OUT, PER_NODE.copy(), PER_NODE.copy(), SCRATCH),
    _loops_gatv2.gatv2_backward_dst: (
        *(*GATV2, PER_NODE, PER_NODE, X, PER_NODE),
        *(OUT, ATT.copy(), np.array([0, 1]), SCRATCH),
    ),
    _loops_gatv2.gatv2_backward_src: (PERM, X, X, ATT, ENDS, PER_EDGE, 0.2, DEPTH, X, OUT, SCRATCH),
}
SEGMENTS = _loops_edges.segment_softmax, _loops_edges.segment_softmax_backward


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("pointers", [[0, 9], [9, 10], [-2, 1], [2, 1], [0, 4]], ids=str)
def test_every_loop_refuses_pointers_that_leave_the_entries_before_it_follows_them(
    loop: Any, pointers: list[int]
) -> None:
    """In time, and not by the row pointer that falls back to E in a later part."""
    indices = np.zeros(32, dtype=np.int64)[8:11]  # a step outside would read a valid index, not crash
    tables = () if loop in SEGMENTS else (indices,)
    assert loop(0, 1, np.array([0, 3]), *tables, *LOOPS[loop]) == 0
    assert loop(0, 1, np.array(pointers), *tables, *LOOPS[loop]) == 1


@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop not in SEGMENTS], ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("index", [-1, 2], ids=str)
def test_every_loop_refuses_an_index_outside_its_table(loop: Any, index: int) -> None:
    indices = np.array([0, 1, index])
    assert loop(0, 1, np.array([0, 2]), indices, *LOOPS[loop]) == 0
    assert loop(0, 1, np.array([0, 3]), indices, *LOOPS[loop]) == 1


@pytest.mark.parametrize("index", [-1, 3], ids=str)
@pytest.mark.parametrize("loop", [_loops_gat.gat_backward_src, _loops_gatv2.gatv2_backward_src])
def test_walks_of_the_transpose_refuse_a_wrong_permutation(loop: Any, index: int) -> None:
    _, *rest = LOOPS[loop]
    args = np.array([0, 3]), np.array([0, 1, 1])
    assert loop(0, 1, *args, np.array([0, 1, 2]), *rest) == 0
    assert loop(0, 1, *args, np.array([0, 1, index]), *rest) == 1
