"""PyG's own laws of a layer hold of accelerated ones."""

from __future__ import annotations

import copy
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.testing import assert_module

import gnnkit

SPEC = importlib.util.spec_from_file_location(
    "gnnkit_benchmarks_convs", Path(__file__).resolve().parents[2] / "benchmarks" / "_convs.py"
)
assert SPEC is not None
assert SPEC.loader is not None
convs = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = convs
SPEC.loader.exec_module(convs)

KEYWORDS = {"weight": "edge_weight", "attr": "edge_attr", "type": "edge_type"}
SPARSE = [torch.sparse_csc, torch.sparse_coo]
# one calls its graph otherwise, one keeps what it made of the first graph
OTHER = {"HypergraphConv", "SGConv cached"}
# layers that take rows and an edge_index, and for each edge at most what the law permutes with it
LAYERS = {
    name: names.split()
    for name, (_, names) in convs.CASES.items()
    if name not in OTHER
    and names.split()[:2] in (["x", "e"], ["pair", "e"])
    and set(names.split()[2:]) <= set(KEYWORDS)
}


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_assert_module(name: str, kernel_calls: list[int]) -> None:
    """Its shape, any order of the edges, and every form of a graph that the plain layer takes."""
    kind, _, *rest = LAYERS[name]
    graph = convs.Graph(convs.Sizes(), 30, 0)
    torch.manual_seed(0)
    plain = convs.CASES[name][0](convs.Sizes()).double().eval()
    x: Any = getattr(graph, kind)
    edges = graph.e.unique(dim=1)  # a sparse matrix holds an entry once
    kwargs = {KEYWORDS[word]: getattr(graph, word)[: edges.shape[1]].detach() for word in rest}

    def law(layer: nn.Module, layouts: list[Any], **some: Tensor) -> Tensor:
        with torch.no_grad(), warnings.catch_warnings():
            out: Tensor = assert_module(
                layer, x, edges, expected_size=tuple(size), test_sparse_layouts=layouts, sparse_size=(9, 9), **some
            )
        return out

    with torch.no_grad():
        size = plain(x, edges, **kwargs).shape
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    expected = law(plain, [], **kwargs)
    kernel_calls.clear()
    torch.testing.assert_close(law(fast, [], **kwargs), expected)
    assert kernel_calls or name == "SAGEConv median"  # it has gathered, and sorts
    for layout in SPARSE if not rest else []:
        try:
            law(plain, [layout])
        except Exception:
            continue  # not a form that PyG's layer takes
        law(fast, [layout])
