"""What several files share: graphs of every awkward shape, the two backends, the rules for GPU tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hypothesis
import pytest
import torch
from torch import Tensor

# Random tests are the same in every run (a failure is never shrugged off as luck); compiling a loop at
# its first use takes longer than any deadline.
hypothesis.settings.register_profile("gnnkit", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("gnnkit")

GRAPHS = ("no_nodes", "no_edges", "isolated", "loops_and_parallel", "bipartite", "hub", "random")


def pytest_configure(config: pytest.Config) -> None:
    # importing torch_geometric scripts a class of its own
    config.addinivalue_line("filterwarnings", "ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device (run by `make gpu`)"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Run small tensors on one thread: on busy cores a second one costs milliseconds an operation, waiting.

    ``kernels/test_threads.py`` sets other numbers.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Csr:
    """A graph as the kernels take it, and as ``edge_index`` in CSR order for the oracles."""

    indptr: Tensor  # [num_dst + 1]
    src: Tensor  # [E], the CSR's indices
    dst: Tensor  # [E], never decreasing
    num_src: int

    @property
    def num_dst(self) -> int:
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        return len(self.src)

    @classmethod
    def from_edges(cls, edges: list[tuple[int, int]], num_src: int, num_dst: int) -> Csr:
        """Sort (source, destination) pairs by destination with Python's stable sort."""
        edges = sorted(edges, key=lambda edge: edge[1])
        degree = [0] * num_dst
        for _, dst in edges:
            degree[dst] += 1
        pointers = [sum(degree[:row]) for row in range(num_dst + 1)]
        src, dst = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t().contiguous()
        return cls(torch.tensor(pointers), src, dst, num_src)


def make_graph(kind: str) -> Csr:
    """Make one of `GRAPHS`."""
    draw = torch.Generator().manual_seed(7)

    def random_edges(count: int, num_src: int, num_dst: int) -> list[tuple[int, int]]:
        src = torch.randint(num_src, (count,), generator=draw).tolist()
        return list(zip(src, torch.randint(num_dst, (count,), generator=draw).tolist(), strict=True))

    if kind == "no_nodes":
        return Csr.from_edges([], 0, 0)
    if kind == "no_edges":
        return Csr.from_edges([], 4, 3)
    if kind == "isolated":  # nodes 0, 2, 4 and 5 receive nothing: the first, one between and the last two
        return Csr.from_edges([(0, 1), (5, 1), (2, 3)], 6, 6)
    if kind == "loops_and_parallel":
        return Csr.from_edges([(0, 0), (1, 1), (1, 1), (0, 1), (2, 0), (2, 0), (2, 2)], 3, 3)
    if kind == "bipartite":
        return Csr.from_edges(random_edges(30, 11, 5), 11, 5)
    if kind == "hub":
        return Csr.from_edges([(src % 9, 4) for src in range(60)], 9, 9)
    assert kind == "random"
    return Csr.from_edges(random_edges(80, 20, 20), 20, 20)


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest) -> Csr:
    """Every kind of graph in turn."""
    return make_graph(request.param)


@pytest.fixture
def random_graph() -> Csr:
    """A graph of 20 nodes and 80 edges, with parallel ones."""
    return make_graph("random")


@pytest.fixture
def csr_from_edges() -> Callable[[list[tuple[int, int]], int, int], Csr]:
    """Make a `Csr` from (source, destination) pairs, num_src and num_dst."""
    return Csr.from_edges


@pytest.fixture(params=["torch", "numba"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once on each backend."""
    monkeypatch.setenv("GNNKIT_BACKEND", request.param)
    name: str = request.param
    return name
