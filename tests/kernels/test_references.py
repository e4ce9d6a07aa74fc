"""The loops count no references: it took two locked instructions an array for every row."""

import re

import numba
import numpy as np
import pytest

from gnnkit.kernels import _jit, _loops, _loops_spmm

ROWS = np.zeros((3, 4), dtype=np.float32)
POINTERS, INDICES = np.array([0, 1, 2, 3]), np.array([0, 1, 2], dtype=np.int32)
CASES = {
    "gather_rows": (_loops.gather_rows, (0, 3, ROWS.view(np.uint8), POINTERS[:3], np.zeros((3, 16), np.uint8))),
    "spmm_sum": (_loops_spmm.spmm_sum, (0, 3, POINTERS, INDICES, ROWS, None, 4, False, np.zeros_like(ROWS))),
}


def counts_references(loop, args, **options):
    compiled = numba.njit(**{**_jit._OPTIONS, **options})(loop.py_func)
    assert compiled(*args) == 0
    (code,) = compiled.inspect_llvm().values()
    return re.search(r"call .*@NRT_(inc|dec)ref", code) is not None


@pytest.mark.parametrize("name", CASES)
def test_a_loop_counts_no_references(name):
    assert not counts_references(*CASES[name])


def test_it_would_show():
    assert counts_references(*CASES["spmm_sum"], _nrt=True)
