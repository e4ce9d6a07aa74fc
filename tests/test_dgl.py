"""DGL: graphs cross over and back exactly, its message passing equals ours, and the shim leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gnnkit import Adjacency
from gnnkit.interop import import_dgl

ROOT = Path(__file__).resolve().parent.parent
KINDS = (
    "no_nodes",
    "no_edges",
    "sparse",
    "loops",
    "parallel",
    "dense",
    "bipartite",
    "bipartite_sparse",
    "mixed",
    "hub",
)
SEEDS = range(50)
NEEDS_DGL = pytest.mark.skipif(importlib.util.find_spec("dgl") is None, reason="needs DGL (extra dgl)")


@pytest.fixture(scope="module")
def dgl() -> ModuleType:
    if importlib.util.find_spec("dgl") is None:
        pytest.skip("needs DGL (extra dgl)")
    return import_dgl()


def random_edges(seed: int) -> tuple[Tensor, tuple[int, int]]:
    """Draw a graph: edges [2, E] in random order, int32 or int64 by the seed, and (num_src, num_dst)."""
    draw = torch.Generator().manual_seed(seed)
    kind = KINDS[seed % len(KINDS)]
    n = 1 + int(torch.randint(30, (), generator=draw))
    shape, count = {
        "no_nodes": ((0, 0), 0),
        "no_edges": ((n, n), 0),
        "sparse": ((40, 40), 12),  # most nodes are isolated
        "bipartite": ((n, n + 3), 60),
        "bipartite_sparse": ((50, 9), 7),
    }.get(kind, ((n, n), 80))
    src, dst = (torch.randint(max(size, 1), (count,), generator=draw) for size in shape)
    if kind == "loops":
        dst = torch.where(torch.rand(count, generator=draw) < 0.5, src, dst)
    if kind == "parallel":
        src, dst = src.repeat(3), dst.repeat(3)
    if kind == "hub":
        dst = torch.zeros_like(dst)
    return torch.stack([src, dst]).to(torch.int32 if seed % 3 == 0 else torch.int64), shape


def dgl_graph(dgl: ModuleType, edges: Tensor, shape: tuple[int, int]) -> Any:
    """Give the graph of `random_edges` to DGL, with the ids' dtype."""
    src, dst = edges
    if shape[0] == shape[1]:
        return dgl.graph((src, dst), num_nodes=shape[0])
    return dgl.heterograph({("user", "buys", "item"): (src, dst)}, {"user": shape[0], "item": shape[1]})


# ------------------------------------------------------------------ graphs


@pytest.mark.parametrize("seed", SEEDS)
def test_a_graph_comes_back_exactly(dgl: ModuleType, seed: int) -> None:
    edges, shape = random_edges(seed)
    graph = dgl_graph(dgl, edges, shape)
    assert graph.idtype == edges.dtype
    adj = Adjacency.from_dgl(graph)
    assert (adj.num_src, adj.num_dst) == shape
    assert torch.equal(adj.to_edge_index(), edges.long())
    back = adj.to_dgl()
    assert back.is_homogeneous == (shape[0] == shape[1])
    assert (back.num_src_nodes(), back.num_dst_nodes()) == shape
    src, dst, eid = back.edges(form="all", order="eid")
    assert torch.equal(torch.stack([src, dst]), edges.long())
    assert torch.equal(eid, torch.arange(edges.shape[1]))
    again = Adjacency.from_dgl(back)
    for name in ("indptr", "indices", "edge_ids"):
        assert torch.equal(getattr(again, name), getattr(adj, name))


@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_edge_ids_do_not_depend_on_how_dgl_stores_the_graph(dgl: ModuleType, form: str) -> None:
    edges, shape = random_edges(5)
    graph = dgl_graph(dgl, edges, shape).formats(form)
    assert torch.equal(Adjacency.from_dgl(graph).to_edge_index(), edges)


def test_the_edge_ids_that_a_csc_brings_are_kept(dgl: ModuleType) -> None:
    indptr, indices, eids = torch.tensor([0, 2, 2, 3]), torch.tensor([1, 2, 0]), torch.tensor([2, 0, 1])
    adj = Adjacency.from_dgl(dgl.graph(("csc", (indptr, indices, eids))))
    assert adj.to_edge_index().tolist() == [[2, 0, 1], [0, 2, 0]]


def test_a_relation_of_one_node_type_in_a_heterogeneous_graph(dgl: ModuleType) -> None:
    edges = (torch.tensor([0, 4]), torch.tensor([2, 2]))
    graph = dgl.heterograph({("user", "follows", "user"): edges}, {"user": 7, "item": 3})
    adj = Adjacency.from_dgl(graph)
    assert (adj.num_src, adj.num_dst, adj.num_edges) == (7, 7, 2)


def test_a_relation_of_several_is_taken_by_its_name(dgl: ModuleType) -> None:
    follows, buys = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0, 2], [4, 4, 0]])
    graph = dgl.heterograph({("user", "follows", "user"): tuple(follows), ("user", "buys", "item"): tuple(buys)})
    message = r"^graph: expected one relation, such as graph\[etype\] \(got .*'buys'.*, .*'follows'.*\)$"
    with pytest.raises(ValueError, match=message):
        Adjacency.from_dgl(graph)
    adj = Adjacency.from_dgl(graph["buys"])
    assert (adj.num_src, adj.num_dst) == (3, 5)
    assert torch.equal(adj.to_edge_index(), buys)


def test_a_block_is_bipartite(dgl: ModuleType) -> None:
    edges = torch.tensor([[0, 1, 5, 5], [2, 2, 3, 2]])
    block = dgl.to_block(dgl.graph(tuple(edges), num_nodes=6))
    adj = Adjacency.from_dgl(block)
    assert (adj.num_src, adj.num_dst) == (block.num_src_nodes(), block.num_dst_nodes()) == (5, 2)
    ids = block.srcdata[dgl.NID]  # [sources]; the destinations come first
    src, dst = adj.to_edge_index()
    assert torch.equal(torch.stack([ids[src], ids[dst]])[:, block.edata[dgl.EID].argsort()], edges)


@pytest.mark.parametrize("graph", [torch.zeros(2, 0, dtype=torch.int64), None, "graph"], ids=repr)
def test_what_is_no_dgl_graph_is_a_value_error(graph: Any) -> None:
    with pytest.raises(ValueError, match=rf"^graph: expected a DGL graph \(got {type(graph).__name__}\)$"):
        Adjacency.from_dgl(graph)


# ------------------------------------------------------------------ message passing


@pytest.mark.parametrize("seed", SEEDS)
def test_update_all_equals_spmm_with_its_gradients(dgl: ModuleType, seed: int) -> None:
    edges, shape = random_edges(seed)
    graph = dgl_graph(dgl, edges, shape)
    adj = Adjacency.from_dgl(graph)
    draw = torch.Generator().manual_seed(1000 + seed)
    x = torch.randn(shape[0], 6, generator=draw, requires_grad=True)
    weight = torch.randn(edges.shape[1], generator=draw, requires_grad=True)  # in the order of DGL's edge ids
    out_grad = torch.randn(shape[1], 6, generator=draw)
    fn = dgl.function
    for weighted in (False, True):
        message = fn.u_mul_e("x", "w", "m") if weighted else fn.copy_u("x", "m")
        inputs = [x, weight] if weighted else [x]
        for reduce in ("sum", "mean", "max", "min"):
            with graph.local_scope():
                graph.srcdata["x"], graph.edata["w"] = x, weight[:, None]
                graph.update_all(message, getattr(fn, reduce)("m", "out"))
                theirs = graph.dstdata["out"]
            ours = adj.spmm(x, weight if weighted else None, reduce)
            assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
            if edges.shape[1]:
                got, expected = (torch.autograd.grad(out, inputs, out_grad) for out in (ours, theirs))
                assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", [(), (4,)], ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_edge_softmax_equals_softmax_with_its_gradient(dgl: ModuleType, seed: int, heads: tuple[int, ...]) -> None:
    edges, shape = random_edges(seed)
    graph = dgl_graph(dgl, edges, shape)
    draw = torch.Generator().manual_seed(2000 + seed)
    logits = torch.randn(edges.shape[1], *heads, generator=draw, requires_grad=True)
    out_grad = torch.randn(logits.shape, generator=draw)
    theirs = dgl.ops.edge_softmax(graph, logits)
    ours = Adjacency.from_dgl(graph).softmax(logits)
    assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    if edges.shape[1]:
        got, expected = (torch.autograd.grad(out, logits, out_grad) for out in (ours, theirs))
        assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_examples_of_the_page_do_what_they_say(dgl: ModuleType) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "dgl.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 2
    names: dict[str, Any] = {}
    for block in blocks:
        assert "assert" in block or "import" in block
        exec(block, names)


# ------------------------------------------------------------------ the import


def python(script: str, cwd: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter whose home folder is ``cwd``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DGL")}
    return subprocess.run(
        [sys.executable, *options, "-c", script],
        cwd=cwd,
        env={**kept, "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


REAL = """
import os, sys
import torch

def no_network(event, arguments):
    assert event not in ("socket.connect", "socket.getaddrinfo"), (event, arguments)

sys.addaudithook(no_network)
{first}
from gnnkit.interop import import_dgl
finders, variables = list(sys.meta_path), {{name: os.environ.get(name) for name in ("DGLBACKEND", "OUTDATED_IGNORE")}}
state = torch.get_rng_state()
module = import_dgl()
import dgl, dgl.nn
assert dgl is module is import_dgl()
assert sys.meta_path == finders
assert {{name: os.environ.get(name) for name in variables}} == variables
assert "outdated" not in sys.modules or sys.modules["outdated"] is not None
assert torch.equal(torch.get_rng_state(), state)
graph = dgl.graph(([0, 1], [1, 1]))
assert type(graph) is dgl.DGLGraph
layer = dgl.nn.GraphConv(3, 2, allow_zero_in_degree=True)
layer(graph, torch.ones(2, 3)).sum().backward()
if "dgl.graphbolt" not in sys.modules:
    assert not hasattr(dgl, "graphbolt")
    try:
        dgl.distributed.partition.gb.FusedCSCSamplingGraph
    except ImportError as error:
        assert "expected a dgl.graphbolt that loads" in str(error), error
    else:
        raise AssertionError("graphbolt answers")
"""


@NEEDS_DGL
@pytest.mark.parametrize(
    "first",
    ["", "try:\n    import dgl\nexcept Exception:\n    pass\nelse:\n    assert hasattr(dgl, 'graphbolt')"],
    ids=["first", "after a failed import"],
)
def test_importing_dgl_is_silent_and_leaves_nothing_behind(tmp_path: Path, first: str) -> None:
    environment = {"DGLBACKEND": "pytorch"} if first else {}  # the failed import would ask for one
    done = python(REAL.format(first=first), tmp_path, "-W", "error", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    assert list(tmp_path.iterdir()) == []  # DGL's own import writes ~/.dgl/config.json


def test_an_absent_dgl_is_an_import_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dgl", None)
    adj = Adjacency.from_edge_index(torch.tensor([[0], [1]]))
    for call in (import_dgl, adj.to_dgl):
        with pytest.raises(ImportError, match=r"^expected the optional package 'dgl': pip install 'gnnkit\[dgl\]'"):
            call()


def package(folder: Path, graphbolt: str, init: str = "") -> str:
    """Write a package ``dgl`` that imports its graphbolt as DGL does."""
    files = {
        "dgl/__init__.py": f"from .backend import backend_name\nfrom . import distributed\n{init}",
        "dgl/backend.py": "import os\nbackend_name = os.environ['DGLBACKEND']\n",
        "dgl/distributed.py": "from . import graphbolt as gb\n",
        "dgl/graphbolt/__init__.py": f"from .base import *\n{graphbolt}\n",
        "dgl/graphbolt/base.py": "sampler = 1\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def test_a_complete_dgl_is_imported_as_it_is(tmp_path: Path) -> None:
    script = """
import sys
from gnnkit.interop import import_dgl
dgl = import_dgl()
assert sys.modules["dgl.graphbolt"] is dgl.graphbolt is dgl.distributed.gb
assert dgl.graphbolt.sampler == 1
import dgl.graphbolt.base
"""
    done = python(script, tmp_path, PYTHONPATH=package(tmp_path / "site", "import warnings; warnings.warn('old')"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("graphbolt", "reason"),
    [
        ("raise FileNotFoundError('no library for this torch')", "FileNotFoundError: no library for this torch"),
        ("import a_module_that_is_absent", "ModuleNotFoundError: No module named 'a_module_that_is_absent'"),
    ],
    ids=["binary", "dependency"],
)
def test_a_graphbolt_that_fails_is_left_out_with_its_reason(tmp_path: Path, graphbolt: str, reason: str) -> None:
    script = f"""
import sys
from gnnkit.interop import import_dgl
dgl = import_dgl()
assert [name for name in sys.modules if "graphbolt" in name] == []
assert not hasattr(dgl, "graphbolt")
try:
    dgl.distributed.gb.sampler
except ImportError as error:
    assert str(error) == "expected a dgl.graphbolt that loads, for 'sampler' (got " + {reason!r} + ")", error
else:
    raise AssertionError("graphbolt answers")
assert not hasattr(dgl.distributed.gb, "__wrapped__")
try:
    import dgl.graphbolt
except Exception as error:
    assert f"{{type(error).__name__}}: {{error}}" == {reason!r}
else:
    raise AssertionError("graphbolt is back")
"""
    done = python(script, tmp_path, PYTHONPATH=package(tmp_path / "site", graphbolt))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("init", "backend", "message"),
    [
        ("raise OSError('no core')", "pytorch", "pip install 'gnnkit[dgl]' (got OSError: no core)"),
        ("", "mxnet", "expected DGL with its PyTorch backend: set DGLBACKEND=pytorch (got mxnet)"),
    ],
    ids=["core", "backend"],
)
def test_a_dgl_that_cannot_serve_is_an_import_error(tmp_path: Path, init: str, backend: str, message: str) -> None:
    script = f"""
import os, sys
from gnnkit.interop import import_dgl
finders = list(sys.meta_path)
try:
    import_dgl()
except ImportError as error:
    assert str(error).endswith({message!r}), error
else:
    raise AssertionError("imported")
assert sys.meta_path == finders
assert "dgl.graphbolt" not in sys.modules
assert os.environ["DGLBACKEND"] == {backend!r}
"""
    site = package(tmp_path / "site", "raise FileNotFoundError('no library')", init)
    done = python(script, tmp_path, PYTHONPATH=site, DGLBACKEND=backend)
    assert done.returncode == 0, done.stderr
