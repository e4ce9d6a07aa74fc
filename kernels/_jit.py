"""How the CPU loops are compiled: without the GIL, and kept on disk until any file they are made of changes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import numba

# contract: fused multiply-add. Nothing else of fastmath, so NaN, infinity and order stay as written.
# _nrt False: no counting of references to arrays, which costs two locked instructions an array, row after row. The
# caller holds them all. A loop that needs a buffer allocates it in `buffers` and walks the rows in `rows`.
_OPTIONS = {"nogil": True, "_nrt": False, "fastmath": {"contract"}, "error_model": "numpy"}
_EXACT = {**_OPTIONS, "fastmath": False}
SOURCES = (
    *("_jit", "_half", "_vector", "_moves", "_math", "_tiles"),
    *("_loops", "_loops_spmm", "_loops_edges", "_loops_attention", "_loops_gat", "_loops_gatv2"),
    *("_loops_sample", "_loops_hops", "_loops_pairs", "_loops_dense"),
    "_loops_disk",
)


def loop(function: Callable[..., Any]) -> Any:
    """Compile a loop over rows at its first call with each combination of dtypes."""
    return _compiled(function, _OPTIONS)


def exact_loop(function: Callable[..., Any]) -> Any:
    """A `loop` whose float operations are never fused: its bits are every backend's."""
    return _compiled(function, _EXACT)


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # no folder that Numba may write its cache to
        warnings.warn(f"gnnkit compiles its CPU kernels anew in every process: {error}", stacklevel=3)
        return numba.njit(**options)(function)
    _stamp(compiled)
    return compiled


def part(function: Callable[..., Any]) -> Any:
    """Compile a piece of loops into each of them."""
    return numba.njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


def c_function(name: str, signature: str) -> Any:
    """A function of the C library for loops to call; addresses are ``intp``. It is found when a loop is loaded."""
    arguments, result = numba.core.sigutils.normalize_signature(signature)
    return numba.types.ExternalFunction(name, numba.core.typing.signature(result, *arguments))


def _stamp(compiled: Any) -> None:
    """Let the cache on disk see changes in every file; Numba itself looks at the loop's own file only."""
    kept = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if kept is not None and hasattr(
        kept, "_source_stamp"
    ):  # Numba's internals: without them editing another file needs a touch of this
        kept._source_stamp = _digest()


@cache
def _digest() -> str:
    """The digest of all files that loops are made of."""
    folder = files(__package__)
    content = b"".join(folder.joinpath(f"{name}.py").read_bytes() for name in SOURCES)
    return hashlib.sha256(content).hexdigest()
