"""What `gnnkit doctor` finds out."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from gnnkit import datasets, kernels
from gnnkit.bench import _bandwidths
from gnnkit.bench import _provenance as provenance
from gnnkit.bench._warm import cache_folder
from gnnkit.datasets._ogb import alone
from gnnkit.interop import import_dgl

_OPTIONAL = {"ogb": "ogb", "dgl": "dgl", "cupy": "cuda12 or cuda13"}
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def examine() -> tuple[dict[str, str], bool]:
    """Return findings by name, and whether everything that gnnkit needs works."""
    facts = provenance.versions()
    facts["commit"] = provenance.commit()
    facts["hardware"] = provenance.hardware()
    checks = {"kernels": _kernels, "data root": _root, "cache": _cache}
    healthy = True
    for name, check in checks.items():
        try:
            facts[name] = check()
        except Exception as error:
            facts[name] = f"BROKEN: {type(error).__name__}: {error}"
            healthy = False
    facts["compiled loops"] = _compiled()
    facts["huge pages"] = _huge_pages()
    facts.update(_transfers())
    facts["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    for module, extra in _OPTIONAL.items():
        facts[module] = _optional(module, extra)
    return facts, healthy


def _kernels() -> str:
    """Compare the backend that serves CPU tensors with a dense product."""
    indptr, indices = torch.tensor([0, 2, 2, 3]), torch.tensor([1, 2, 0])
    x = torch.arange(12, dtype=torch.float64).view(3, 4)
    dense = torch.tensor([[0.0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.float64)
    if not torch.equal(kernels.spmm(indptr, indices, x), dense @ x):
        raise RuntimeError("spmm differs from the dense product")
    return f"{kernels.backend_name(x)} serves CPU tensors, {torch.get_num_threads()} threads, spmm is right"


def _root() -> str:
    root = datasets.data_root()
    wanted = [c for c in map(datasets.card, datasets.names()) if c.folder]
    there = [c.name for c in wanted if c.folder and (root / c.folder).is_dir()]
    writable = "writable" if os.access(root, os.W_OK) else "not writable or absent"
    return f"{root} ({writable}); raw files of {', '.join(there) or 'no dataset'}"


def _cache() -> str:
    folder = datasets.cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder):
        pass
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return f"{folder} (writable, {size / 1e6:.1f} MB)"


def _compiled() -> str:
    """Where Numba's cache is."""
    folder = cache_folder()
    if folder is None:
        return "no folder to write to: compiled anew in every process; NUMBA_CACHE_DIR names one"
    files = [path for pattern in ("*.nbi", "*.nbc") for path in folder.glob(pattern)]
    return f"{folder} ({len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB)"


def _huge_pages() -> str:
    """Whether the kernels' large outputs get transparent huge pages, for which they ask by madvise."""
    if not _HUGE_PAGES.exists():
        return "unknown: this system has no setting"
    setting = re.search(r"\[(\w+)\]", _HUGE_PAGES.read_text())
    name = setting[1] if setting else "unreadable"
    return f"{name} ({'available to madvise' if name in ('always', 'madvise') else 'not available to madvise'})"


def _transfers() -> dict[str, str]:
    """How fast rows move here; the scratch file lies in the cache folder, where stores of features do."""
    try:
        folder = datasets.cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        return _bandwidths.describe(*_bandwidths.bandwidths(folder))
    except (OSError, MemoryError, RuntimeError) as error:  # no room for a table or for a file
        return {"rows": f"not measured: {type(error).__name__}: {error}".splitlines()[0]}


def _optional(module: str, extra: str) -> str:
    if find_spec(module) is None:
        return f"not installed (extra {extra})"
    try:
        with alone() if module == "ogb" else nullcontext():  # ogb looks for a newer version where it is imported
            found = import_dgl() if module == "dgl" else import_module(module)
    except Exception as error:  # a broken wheel raises anything
        return f"installed but does not import: {type(error).__name__}: {error}".splitlines()[0]
    partly = ", without dgl.graphbolt" if module == "dgl" and not hasattr(found, "graphbolt") else ""
    return f"installed, {getattr(found, '__version__', 'version unknown')}{partly}"
