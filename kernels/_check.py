"""Checks of what a caller can get wrong: shapes and dtypes here at the call, values inside the loops.

The loops of a backend verify every row pointer and every index that they follow (one predictable
comparison an edge, beside D multiplications), so a wrong index is a ``ValueError`` and never a read
outside a table. They only report *that* something is wrong; `csr_values` then says what.
"""

from __future__ import annotations

import torch
from torch import Tensor

INDEX_DTYPES = (torch.int32, torch.int64)
FLOAT_DTYPES = (torch.float32, torch.float64)
HALF_DTYPES = (torch.bfloat16, torch.float16)


def describe(value: object) -> str:
    """Name a value the way an error message needs it."""
    if isinstance(value, Tensor):
        layout = "" if value.layout == torch.strided else f"{str(value.layout).removeprefix('torch.')} "
        return f"{layout}{str(value.dtype).removeprefix('torch.')} tensor of shape {list(value.shape)}"
    return type(value).__name__


def is_dense(value: object, dims: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> bool:
    """Whether this is a tensor with strides, one of the numbers of dimensions and one of the dtypes."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return value.dim() in dims and value.dtype in dtypes


def count(name: str, value: object) -> None:
    """Require a whole number from 0 on that 64 bits hold (a symbolic one inside ``torch.compile`` is one)."""
    whole = isinstance(value, int | torch.SymInt) and not isinstance(value, bool)
    if not whole or value < 0:  # type: ignore[operator]
        raise ValueError(f"{name}: expected a whole number >= 0 (got {value!r})")
    if value >= 2**63:  # type: ignore[operator]
        raise ValueError(f"{name}: expected a whole number below 2^63 (got {value!r})")


def index_vector(name: str, value: object) -> None:
    """Require a one-dimensional int32 or int64 tensor."""
    if not is_dense(value, (1,), INDEX_DTYPES):
        raise ValueError(f"{name}: expected a 1-D int32 or int64 tensor (got {describe(value)})")


def float_tensor(name: str, value: object, dims: tuple[int, ...], *, half: bool = False) -> None:
    """Require a float32 or float64 tensor (with ``half`` also 16 bits) with one of the given numbers of dimensions."""
    if not is_dense(value, dims, FLOAT_DTYPES + HALF_DTYPES * half):
        shapes = " or ".join(f"{d}-D" for d in dims)
        dtypes = "float32, float64, bfloat16 or float16" if half else "float32 or float64"
        raise ValueError(f"{name}: expected a {shapes} {dtypes} tensor (got {describe(value)})")


def shaped(name: str, value: object, shape: list[int], dtypes: tuple[torch.dtype, ...]) -> None:
    """Require a tensor of a shape and one of the dtypes."""
    if not is_dense(value, (len(shape),), dtypes) or list(value.shape) != shape:  # type: ignore[attr-defined]
        kinds = " or ".join(dict.fromkeys(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ValueError(f"{name}: expected a {kinds} tensor of shape {shape} (got {describe(value)})")


def csr_shapes(indptr: object, indices: object) -> None:
    """Require the shapes and dtypes of a CSR."""
    index_vector("indptr", indptr)
    index_vector("indices", indices)
    assert isinstance(indptr, Tensor)
    if indptr.numel() == 0:
        raise ValueError("indptr: expected num_dst + 1 entries, at least 1 (got 0)")


def transposed(transpose: object, indices: Tensor, num_src: int) -> None:
    """Require the triple ``(t_indptr, t_indices, t_perm)``, one entry an edge, beside the indices."""
    num_edges = indices.shape[0]
    if not isinstance(transpose, tuple) or len(transpose) != 3:
        raise ValueError(f"transpose: expected (t_indptr, t_indices, t_perm) (got {describe(transpose)})")
    csr_shapes(transpose[0], transpose[1])
    index_vector("t_perm", transpose[2])
    for name, value in (("t_indices", transpose[1]), ("t_perm", transpose[2])):
        if value.numel() != num_edges:
            raise ValueError(f"{name}: expected {num_edges} entries, one an edge (got {value.numel()})")
    if transpose[0].shape[0] != num_src + 1:
        raise ValueError(f"t_indptr: expected N_src + 1 = {num_src + 1} entries (got {transpose[0].shape[0]})")
    same("indices and transpose", indices, *transpose, dtype=False)


def same(names: str, *tensors: Tensor | None, dtype: bool = True) -> None:
    """Require one device, and with ``dtype`` one dtype, for all tensors."""
    present = [t for t in tensors if t is not None]
    for what, values in (
        ("device", {str(t.device) for t in present}),
        ("dtype", {str(t.dtype) for t in present}),
    ):
        if len(values) > 1 and (dtype or what == "device"):
            raise ValueError(f"{names}: expected one {what} (got {', '.join(sorted(values))})")


def csr_values(indptr: Tensor, indices: Tensor, num_src: int) -> None:
    """Require that pointers and indices describe a CSR over ``num_src`` source rows; O(N + E)."""
    csr_pointers(indptr, indices.numel())
    ids("indices", indices, num_src)


def csr_pointers(indptr: Tensor, num_edges: int, name: str = "indptr") -> None:
    """Require pointers that run from 0 to the number of edges and never decrease; O(N)."""
    first, last = int(indptr[0]), int(indptr[-1])
    if first != 0 or last != num_edges:
        raise ValueError(f"{name}: expected to run from 0 to the {num_edges} edges (got {first} to {last})")
    falls = indptr.diff() < 0
    if bool(falls.any()):
        row = int(falls.nonzero()[0])
        got = f"{int(indptr[row])} then {int(indptr[row + 1])} at row {row}"
        raise ValueError(f"{name}: expected non-decreasing row pointers (got {got})")


def ids(name: str, values: Tensor, bound: int, low: int = 0) -> None:
    """Require ``low <= values < bound``; O(len(values))."""
    if values.numel() == 0:
        return
    least, most = (int(v) for v in values.aminmax())
    if least < low or most >= bound:
        raise ValueError(f"{name}: expected ids in [{low}, {bound}) (got {least if least < low else most})")


def ranges(starts: Tensor, ends: Tensor, num_entries: int) -> None:
    """Require ``0 <= starts <= ends <= num_entries`` and rows of fewer than 2^31 entries; O(K)."""
    bad = (starts < 0) | (ends < starts) | (ends > num_entries) | (ends - starts >= 2**31)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        expected = f"ranges within the {num_entries} entries, of fewer than 2^31"
        raise ValueError(f"starts and ends: expected {expected} (got {int(starts[row])} to {int(ends[row])} at {row})")


def labels(local: Tensor, count: int, ids: Tensor) -> None:
    """Require that ids have numbers below ``count``, or negative ones for none; O(len(ids))."""
    if ids.numel() and int(local[ids].max()) >= count:
        raise ValueError(f"local: expected numbers below count = {count} (got {int(local[ids].max())})")
