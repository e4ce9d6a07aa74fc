"""The machine under the launcher, graphs of every awkward shape, and how close to the reference is close enough."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gnnkit.kernels import _launch, _walk

sys.path.insert(0, str(Path(__file__).parent))
from graphs import GRAPHS, SMALL_CHUNK, Graph, make
from machine import Machine, build, missing

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14, torch.float16: 2e-3, torch.bfloat16: 1e-2}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs are built."""
    if reason := missing():
        pytest.skip(f"the emulator {reason}")
    return tmp_path_factory.mktemp("emulator")


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Builds programs beside the tests that run."""
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1)) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)


class Programs(dict[str, Path]):
    """The programs: all are begun at once, and each is waited for when its source is first used."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self.begun = {
            source: pool.submit(build, folder, source, kernels) for source, kernels in _walk.instances().items()
        }

    def __missing__(self, source: str) -> Path:
        self[source] = self.begun[source].result()
        return self[source]


@pytest.fixture(scope="session")
def shared_machine(folder: Path, pool: ThreadPoolExecutor) -> Iterator[Machine]:
    """One machine for all tests."""
    machine = Machine(Programs(folder, pool))
    yield machine
    machine.stop()


@pytest.fixture
def machine(shared_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Have the backend's launches run on the CPU, on memory that holds NaN where nothing was written."""
    monkeypatch.setattr(_launch, "run", shared_machine.run)
    monkeypatch.setattr(_walk, "CHUNK", SMALL_CHUNK)  # so that small graphs have hubs
    shared_machine.reset()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # fills fresh memory, see torch.utils.deterministic
    yield shared_machine
    torch.use_deterministic_algorithms(before)


@pytest.fixture(params=GRAPHS)
def awkward(request: pytest.FixtureRequest) -> Graph:
    """Every awkward graph in turn."""
    return make(request.param)


@pytest.fixture
def close() -> Callable[[Tensor, Tensor, Tensor], None]:
    """Compare with a result in float64, allowing for the rounding of the terms that were added."""

    def compare(actual: Tensor, expected: Tensor, scale: Tensor) -> None:
        error = (actual.double() - expected).abs()
        allowed = (
            TOLERANCE[actual.dtype] * scale + torch.finfo(actual.dtype).smallest_normal / 1000
        )  # or what is not normal
        assert (error <= allowed).all(), (error - allowed).max()

    return compare
