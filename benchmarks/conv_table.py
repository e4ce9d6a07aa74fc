"""Compare every convolution of PyG with its accelerated copy, and write the table of docs/coverage.md.

python benchmarks/conv_table.py            measure what is taken, what it runs on, and whether it is equal
python benchmarks/conv_table.py --time     and how much faster a training step is; minutes, on a quiet machine
python benchmarks/conv_table.py --check    write nothing; exit 1 if the page's table is stale (but for its times)
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from _convs import ABSENT, CASES, Graph, Sizes, outcome
from _harness import interleave
from _rows import ROOT, commit, hardware
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.nn.conv import MessagePassing

import gnnkit
from gnnkit._accelerate._cache import ContentCache
from gnnkit._accelerate._layer import FastLayer, refusal, remark
from gnnkit.adjacency import Adjacency

PAGE = ROOT / "docs" / "coverage.md"
TIMES = ROOT / "benchmarks" / "conv_table.json"
BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"
TOLERANCE = 1e-10
_TIMED = Sizes(n=10_000, c=32, o=32, d=8, dtype=torch.float32)
_TIMED_EDGES = 150_000
_INDICES = {"row_of_entry", "group_by", "transpose_csr"}
# how entries of the cache are called
_KEYS = {"gcn": "gcn_norm", "loops": "add_self_loops", "_looped": "add_remaining_self_loops"}
_HEADER = (
    "| layer | taken | runs on | remembered | equal | training step |\n"
    "|---|---|---|---|---|---:|\n"
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What acceleration does to one layer.

    Attributes:
        name: Its class, and a word for the variant.
        taken: Whether it is taken, or why not.
        kernels: What its forward runs on, in the order of first use.
        remembered: What of the graph alone is computed once, beside its CSR.
        error: The largest difference of outputs and gradients, float64; None where nothing is compared.
    """

    name: str
    taken: str
    kernels: tuple[str, ...] = ()
    remembered: tuple[str, ...] = ()
    error: float | None = None


def main(arguments: list[str] | None = None, *, page: Path = PAGE, times: Path = TIMES) -> int:
    """Measure, and write or check the table; the exit status is 1 if a layer differs or the table is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare the page with what is measured now")
    parser.add_argument(
        "--time", action="store_true", help="time a training step of every layer, plain and accelerated"
    )
    options = parser.parse_args(arguments)
    if options.time:
        measured = {name: step_ratio(name) for name in CASES}
        document = {"ratios": measured, "commit": commit(), "hardware": hardware(), "threads": torch.get_num_threads()}
        times.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    expected = with_table(text, table(rows(), times))
    if options.check:
        print("the table matches" if text == expected else f"stale: run {Path(__file__).name}")
        return int(text != expected)
    page.write_text(expected, encoding="utf-8")
    different = [row.name for row in rows() if row.error is not None and not row.error <= TOLERANCE]
    print("equal" if not different else f"different: {', '.join(different)}")
    return int(bool(different))


def rows() -> list[Row]:
    """Give a row for every convolution, those that cannot run here included."""
    return sorted([*map(row, CASES), *(Row(name, f"not compared: {why}") for name, why in ABSENT.items())],
                  key=lambda one: one.name.lower())  # fmt: skip


@cache
def row(name: str) -> Row:
    """Compare a layer with its accelerated copy: in training and evaluation, few edges and many."""
    make, names = CASES[name]
    torch.manual_seed(0)
    plain = make(Sizes()).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    error, trace = 0.0, Trace()
    for seed, num_edges, training in ((0, 30, True), (1, 12, True), (0, 30, False), (2, 60, True)):
        graph, results = Graph(Sizes(), num_edges, seed), []
        for layer in (plain, fast):
            layer.train(training)
            if hasattr(layer, "_cached_x"):
                layer._cached_x = None
            results.append(outcome(layer, names, graph, seed))
        assert len(results[0]) == len(results[1])
        for a, b in zip(*results, strict=True):
            assert a.shape == b.shape
            same = (a == b) | (a.isnan() & b.isnan())
            error = max(error, float((a - b).abs().double().masked_fill(same, 0).max()) if a.numel() else 0.0)
    graph = constant(Sizes(dtype=torch.float32), 30)
    fast.float()
    for watched in (nullcontext(), trace):
        if hasattr(fast, "_cached_x"):
            fast._cached_x = None
        with watched:
            graph.call(fast, names)
    return Row(name, taken(plain, fast), tuple(trace.kernels), tuple(trace.remembered), error)


def constant(sizes: Sizes, num_edges: int) -> Graph:
    """Make a graph whose weights are what they mostly are: given."""
    graph = Graph(sizes, num_edges, 0)
    graph.weight = graph.weight.detach()
    return graph


def taken(plain: nn.Module, fast: nn.Module) -> str:
    """Say what acceleration made of a layer."""
    if isinstance(fast, FastLayer):
        return f"yes{remark(fast)}"
    inside = sorted({type(layer).__name__ for layer in fast.modules() if isinstance(layer, FastLayer)})
    if inside:
        return f"its {', '.join(inside)}"
    return f"no, it {refusal(plain)}" if isinstance(plain, MessagePassing) else "no, it passes no messages"


class Trace(TorchDispatchMode):
    """Notes which kernels run, and which functions of a graph are remembered, while it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: dict[str, None] = {}
        self.remembered: dict[str, None] = {}
        self._inside = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("gnnkit::")
        if func.namespace == "gnnkit" and name not in _INDICES and not self._inside:
            self.kernels[name] = None
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> Trace:
        self._patches = [
            _replaced(Adjacency, "gather", lambda original: self._noting("gather", original)),
            _replaced(Adjacency, "aggregate", lambda original: self._noting("reduce", original)),
            _replaced(ContentCache, "get", self._noting_hits),
        ]
        for patch in self._patches:
            patch.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for patch in self._patches:
            patch.__exit__(None, None, None)

    def _noting(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.kernels[name] = None
            self._inside += 1
            try:
                return original(*args, **kwargs)
            finally:
                self._inside -= 1

        return noted

    def _noting_hits(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(cache: ContentCache, key: Any, make: Any) -> Any:
            hits = cache.hits
            out = original(cache, key, make)
            what = key[0] if isinstance(key, tuple) else None
            name = what if isinstance(what, str) else getattr(what, "__name__", None)
            if cache.hits > hits and name is not None:
                self.remembered[_KEYS.get(name, name)] = None
            return out

        return noted


@contextmanager
def _replaced(owner: type, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def step_ratio(name: str) -> float:
    """Time a forward and backward pass, plain and accelerated, interleaved; how many times faster the second is."""
    make, names = CASES[name]
    torch.manual_seed(0)
    plain = make(_TIMED)
    graph = constant(_TIMED, _TIMED_EDGES)

    def step(layer: nn.Module) -> Callable[[], None]:
        def run() -> None:
            tracked = [one for one in graph.call(layer, names) if one.requires_grad]
            if tracked:
                torch.autograd.backward([one.sum() for one in tracked])

        return run

    cases = {"plain": step(plain), "fast": step(gnnkit.accelerate(copy.deepcopy(plain)))}
    timings = interleave(cases, repeats=5, warmup=1)
    ratio = statistics.median(timings["plain"].samples) / statistics.median(timings["fast"].samples)
    print(f"{name:28} {1000 * timings['plain'].median_seconds:8.1f} ms  {ratio:5.2f} x", flush=True)
    return round(ratio, 2)


def table(found: list[Row], times: Path = TIMES) -> str:
    """Give the rows in Markdown, with the times that were measured last."""
    ratios = json.loads(times.read_text(encoding="utf-8"))["ratios"] if times.exists() else {}
    lines = []
    for one in found:
        equal = "–" if one.error is None else "yes" if one.error <= TOLERANCE else f"no: {one.error:.0e}"
        ratio = f"{ratios[one.name]:.1f} ×" if one.name in ratios else "–"
        what = [", ".join(f"`{word}`" for word in words) or "–" for words in (one.kernels, one.remembered)]
        lines.append(f"| {one.name} | {one.taken} | {what[0]} | {what[1]} | {equal} | {ratio} |\n")
    return _HEADER + "".join(lines)


def with_table(text: str, made: str) -> str:
    """Return the page's text with another table between its markers."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise ValueError(f"{PAGE.name}: expected {BEGIN} and then {END}, once each")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{made}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    sys.exit(main())
