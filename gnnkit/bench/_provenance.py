"""What made a number: commit, source, versions, hardware."""

from __future__ import annotations

import hashlib
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import gnnkit
from gnnkit import datasets, kernels


@cache
def commit() -> str:
    """Return the git commit that holds this very source, ``-dirty`` if altered, else the release."""
    folder = Path(gnnkit.__file__).parent
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not tracked or not head:
        return f"release {gnnkit.__version__}"
    return head + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *_sources()) else "")


def _sources() -> list[str]:
    """Return the folders of the package's source: what else a repository holds makes no number."""
    return [str(Path(package.__file__).parent) for package in (gnnkit, datasets, kernels) if package.__file__]


def _git(folder: Path, *args: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def source_digest() -> str:
    """Return a digest of all of the package's source, so that changed code never continues an old run."""
    total = hashlib.sha256()
    for package in (gnnkit, datasets, kernels):
        assert package.__file__ is not None
        folder = Path(package.__file__).parent
        for path in sorted(folder.rglob("*.py")):
            total.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return total.hexdigest()


def versions(more: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the versions that a number depends on, those of ``more`` packages included."""
    names = ("torch", "torch-geometric", "numpy", "scikit-learn", "numba", *more)
    return {"python": platform.python_version(), "gnnkit": gnnkit.__version__, **{n: version(n) for n in names}}


@cache
def hardware() -> str:
    """Name the processor, its cores and the GPU."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {torch.get_num_threads()} threads{gpu}"


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak since the process began: of the process on CPU, of torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: ``auto`` (the GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        ValueError: No such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    known = kind in ("cpu", "cuda") and (not index or index.isdecimal())
    if not known or (kind == "cpu" and index):
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:<number> (got {name!r})")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: expected one of {torch.cuda.device_count()} CUDA devices (got {name!r})")
    return torch.device(name)
