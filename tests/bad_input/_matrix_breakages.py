"""Sparse matrices of SciPy and torch for Adjacency: valid ones, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from _adjacency_breakages import foreign
from _shared_breakages import SIZES
from _surface import Args, Breakage, Draw
from hypothesis import strategies as st


def compressed(draw: Draw) -> tuple[list[int], list[int], int]:
    """Pointers, ids and the size of a square CSR or CSC matrix."""
    size = draw(st.integers(3, 6))
    rows = sorted([0, size - 1, *draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))])
    ids = draw(st.lists(st.integers(0, size - 1), min_size=len(rows), max_size=len(rows)))
    return [sum(row < k for row in rows) for k in range(size + 1)], ids, size


def make_scipy(draw: Draw) -> Args:
    pointers, ids, size = compressed(draw)
    kind = draw(st.sampled_from(["csr_array", "csc_array", "csr_matrix", "csc_matrix"]))
    content = (np.ones(len(ids)), np.array(ids), np.array(pointers))
    return {"matrix": getattr(scipy.sparse, kind)(content, shape=(size, size))}


def scipy_breakage(attribute: str, alter: Callable[[Draw, np.ndarray[Any, Any]], None]) -> Breakage:
    def breakage(draw: Draw, args: Args) -> Args:
        matrix = args["matrix"].copy()
        alter(draw, getattr(matrix, attribute))
        return {"matrix": matrix}

    return breakage


def at(position: Callable[[Draw, int], int], value: Callable[[Draw, int], int]) -> Callable[[Draw, Any], None]:
    """Write a wrong number into an array; both functions hear the length."""

    def alter(draw: Draw, array: Any) -> None:
        array[position(draw, len(array))] = value(draw, len(array))

    return alter


ANYWHERE: Callable[[Draw, int], int] = lambda draw, n: draw(st.integers(0, n - 1))  # noqa: E731
BETWEEN: Callable[[Draw, int], int] = lambda draw, n: draw(st.integers(1, n - 2))  # noqa: E731
POINTERS = {
    "falling": at(BETWEEN, lambda draw, n: 1000 + draw(SIZES)),
    "negative": at(BETWEEN, lambda draw, n: -draw(SIZES)),
    "not from 0": at(lambda draw, n: 0, lambda draw, n: draw(SIZES)),
    "ending late": at(lambda draw, n: -1, lambda draw, n: 1000 + draw(SIZES)),
}
IDS = {
    "beyond the matrix": at(ANYWHERE, lambda draw, n: 5 + draw(SIZES)),
    "negative": at(ANYWHERE, lambda draw, n: -draw(SIZES)),
}


def scipy_breakages() -> dict[str, Breakage]:
    def beyond(draw: Draw, args: Args) -> Args:
        matrix = args["matrix"].tocoo(copy=True)
        matrix.coords[draw(st.integers(0, 1))][draw(st.integers(0, matrix.nnz - 1))] = 5 + draw(SIZES)
        return {"matrix": matrix}

    return {
        **{f"indptr {name}": scipy_breakage("indptr", alter) for name, alter in POINTERS.items()},
        **{f"indices {name}": scipy_breakage("indices", alter) for name, alter in IDS.items()},
        "an entry of COO beyond the matrix": beyond,
        "a matrix of one dimension": lambda draw, args: {"matrix": scipy.sparse.coo_array(np.ones(draw(SIZES)))},
        **foreign("matrix"),
    }


def make_torch_sparse(draw: Draw) -> Args:
    pointers, ids, size = compressed(draw)
    make = draw(st.sampled_from([torch.sparse_csr_tensor, torch.sparse_csc_tensor]))
    parts = torch.tensor(pointers), torch.tensor(ids), torch.ones(len(ids))
    return {"matrix": make(*parts, size=(size, size), check_invariants=False)}


def torch_sparse_breakages() -> dict[str, Breakage]:
    def rebuilt(which: int, alter: Callable[[Draw, Any], None]) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            matrix = args["matrix"]
            row = matrix.layout == torch.sparse_csr
            both = (matrix.crow_indices, matrix.col_indices) if row else (matrix.ccol_indices, matrix.row_indices)
            parts = [get().clone() for get in both]
            alter(draw, parts[which])
            make = torch.sparse_csr_tensor if row else torch.sparse_csc_tensor
            return {"matrix": make(*parts, torch.ones(len(parts[1])), size=matrix.shape, check_invariants=False)}

        return breakage

    def coo(value: Callable[[Draw], int]) -> Breakage:
        def breakage(draw: Draw, args: Args) -> Args:
            ids = torch.tensor([[0, 1, 2], [2, 1, 0]])
            ids[draw(st.integers(0, 1)), draw(st.integers(0, 2))] = value(draw)
            return {"matrix": torch.sparse_coo_tensor(ids, torch.ones(3), (3, 3), check_invariants=False)}

        return breakage

    def late(draw: Draw, array: Any) -> None:
        array[-1] += draw(st.integers(1, 3))

    def early(draw: Draw, array: Any) -> None:
        array[-1] -= 1

    def another(draw: Draw, args: Args) -> Args:
        matrix = torch.eye(4)
        others = [matrix.to_sparse_bsr((2, 2)), matrix[0].to_sparse(), matrix[None].to_sparse(), matrix.to_sparse(1)]
        return {"matrix": draw(st.sampled_from(others))}

    pointers = POINTERS | {"late": late, "early": early}
    return {
        **{f"pointers {name}": rebuilt(0, alter) for name, alter in pointers.items()},
        **{f"ids {name}": rebuilt(1, alter) for name, alter in IDS.items()},
        "an entry of COO beyond the matrix": coo(lambda draw: 2 + draw(SIZES)),
        "an entry of COO negative": coo(lambda draw: -draw(SIZES)),
        "another layout or shape": another,
        **foreign("torch"),
    }
