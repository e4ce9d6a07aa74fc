"""Fused attention: what PyG's softmax and scatter give, forward, backward and twice backward, on both backends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close
from torch_geometric.utils import scatter, softmax

from gnnkit.kernels import _gat, _gatv2, gat_attention, gatv2_attention, transpose_csr

SLOPE = 0.2
# heads and channels: one number, odd ones, those that are a vector each, several vectors and a rest
SHAPES = ((1, 1), (2, 3), (3, 33), (8, 16), (1, 130), (4, 80))


def draw(graph: Any, heads: int, depth: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Draw everything that the two functions take, by name."""
    generator = torch.Generator().manual_seed(heads * depth)
    shapes = {
        "x": (graph.num_src, heads, depth),
        "x_dst": (graph.num_dst, heads, depth),
        "a_src": (graph.num_src, heads),
        "a_dst": (graph.num_dst, heads),
        "a_edge": (graph.num_edges, heads),
        "att": (heads, depth),
    }
    drawn = {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}
    mask = 2.0 * (torch.rand(graph.num_edges, heads, generator=generator) < 0.5)
    return {**{name: t.requires_grad_() for name, t in drawn.items()}, "mask": mask.to(dtype)}


def aggregated(graph: Any, x: Tensor, scores: Tensor, mask: Tensor | None) -> Tensor:
    """The oracle: PyG's softmax and scatter."""
    alpha = softmax(scores, graph.dst, num_nodes=graph.num_dst)
    alpha = alpha if mask is None else alpha * mask
    return scatter(alpha.unsqueeze(-1) * x[graph.src], graph.dst, 0, graph.num_dst)


def gat_oracle(graph: Any, t: dict[str, Tensor], edge: bool, mask: bool, slope: float = SLOPE) -> Tensor:
    raw = t["a_src"][graph.src] + t["a_dst"][graph.dst]
    raw = raw + t["a_edge"] if edge else raw
    return aggregated(graph, t["x"], F.leaky_relu(raw, slope), t["mask"] if mask else None)


def gat(graph: Any, t: dict[str, Tensor], edge: bool, mask: bool, slope: float = SLOPE, **more: Any) -> Tensor:
    args = t["x"], t["a_src"], t["a_dst"], t["a_edge"] if edge else None
    kept = t["mask"] if mask else None
    return gat_attention(graph.indptr, graph.src, *args, mask=kept, negative_slope=slope, **more)


def gatv2_oracle(graph: Any, t: dict[str, Tensor], mask: bool, slope: float = SLOPE) -> Tensor:
    mixed = F.leaky_relu(t["x"][graph.src] + t["x_dst"][graph.dst], slope)
    return aggregated(graph, t["x"], (mixed * t["att"]).sum(-1), t["mask"] if mask else None)


def gatv2(graph: Any, t: dict[str, Tensor], mask: bool, slope: float = SLOPE, **more: Any) -> Tensor:
    args = t["x"], t["x_dst"], t["att"]
    kept = t["mask"] if mask else None
    return gatv2_attention(graph.indptr, graph.src, *args, mask=kept, negative_slope=slope, **more)


def pulled(out: Tensor, t: dict[str, Tensor]) -> list[Tensor | None]:
    """The gradients of whatever the output depends on."""
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=out.dtype)
    wrt = [tensor for name, tensor in t.items() if name != "mask"]
    return list(torch.autograd.grad(out, wrt, grad, allow_unused=True))


def same(ours: list[Tensor | None], theirs: list[Tensor | None], **tolerance: float) -> None:
    assert [g is None for g in ours] == [g is None for g in theirs]
    for mine, right in zip(ours, theirs, strict=True):
        if mine is not None:
            assert_close(mine, right, **tolerance)


@pytest.mark.parametrize("mask", [False, True], ids=["", "mask"])
@pytest.mark.parametrize("edge", [False, True], ids=["", "edge"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gat_equals_pyg(backend: str, graph: Any, dtype: torch.dtype, edge: bool, mask: bool) -> None:
    t = draw(graph, 2, 5, dtype)
    ours, theirs = gat(graph, t, edge, mask), gat_oracle(graph, t, edge, mask)
    assert_close(ours, theirs)
    same(pulled(ours, t), pulled(theirs, t))


@pytest.mark.parametrize("mask", [False, True], ids=["", "mask"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gatv2_equals_pyg(backend: str, graph: Any, dtype: torch.dtype, mask: bool) -> None:
    t = draw(graph, 2, 5, dtype)
    ours, theirs = gatv2(graph, t, mask), gatv2_oracle(graph, t, mask)
    assert_close(ours, theirs)
    same(pulled(ours, t), pulled(theirs, t))


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("heads", "depth"), SHAPES)
def test_any_width_and_slope(backend: str, random_graph: Any, heads: int, depth: int, slope: float) -> None:
    t = draw(random_graph, heads, depth)
    for ours, theirs in (
        (gat(random_graph, t, True, True, slope), gat_oracle(random_graph, t, True, True, slope)),
        (gatv2(random_graph, t, True, slope), gatv2_oracle(random_graph, t, True, slope)),
    ):
        assert_close(ours, theirs)
        same(pulled(ours, t), pulled(theirs, t))


@pytest.mark.parametrize("given", [False, True], ids=["transpose built", "transpose given"])
@pytest.mark.parametrize("mask", [False, True], ids=["", "mask"])
def test_first_and_second_derivatives(backend: str, csr_from_edges: Any, mask: bool, given: bool) -> None:
    graph = csr_from_edges([(0, 0), (1, 0), (1, 2), (3, 2), (1, 2)], 4, 3)
    t = draw(graph, 2, 3)
    more = {"transpose": transpose_csr(graph.indptr, graph.src, 4)} if given else {}
    names: tuple[tuple[Callable[..., Tensor], tuple[str, ...]], ...] = (
        (lambda g, t: gat(g, t, True, mask, **more), ("x", "a_src", "a_dst", "a_edge")),
        (lambda g, t: gatv2(g, t, mask, **more), ("x", "x_dst", "att")),
    )
    for function, wrt in names:

        def of(*tensors: Tensor, function: Any = function, wrt: tuple[str, ...] = wrt) -> Tensor:
            out: Tensor = function(graph, {**t, **dict(zip(wrt, tensors, strict=True))})
            return out

        inputs = tuple(t[name] for name in wrt)
        assert gradcheck(of, inputs)
        assert gradgradcheck(of, inputs)


@pytest.mark.parametrize("wrt", ["x", "a_src", "a_dst", "a_edge"])
def test_one_gradient_alone(backend: str, random_graph: Any, wrt: str) -> None:
    t = {name: tensor.detach().requires_grad_(name == wrt) for name, tensor in draw(random_graph, 2, 3).items()}
    ours, theirs = gat(random_graph, t, True, False), gat_oracle(random_graph, t, True, False)
    assert_close(torch.autograd.grad(ours.square().sum(), t[wrt]), torch.autograd.grad(theirs.square().sum(), t[wrt]))


@pytest.mark.parametrize("op", [functools.partial(gat, edge=True), gatv2], ids=["gat", "gatv2"])
def test_strides(backend: str, random_graph: Any, op: Callable[..., Tensor]) -> None:
    t = draw(random_graph, 2, 3)
    last_first = {
        name: tensor.detach().movedim(-1, 0).contiguous().movedim(0, -1).requires_grad_(tensor.requires_grad)
        for name, tensor in t.items()
    }
    assert not any(tensor.is_contiguous() for tensor in last_first.values())
    expected, out = op(random_graph, t, mask=True), op(random_graph, last_first, mask=True)
    assert_close(out, expected)
    same(pulled(out, last_first), pulled(expected, t))


@pytest.mark.parametrize("large", [1e4, -1e4, float("inf")])
def test_scores_beyond_the_exponentials_range(backend: str, random_graph: Any, large: float) -> None:
    t = draw(random_graph, 1, 2, torch.float32)
    t["a_src"] = torch.where(torch.arange(20).view(-1, 1) % 3 == 0, large, t["a_src"].detach())
    assert_close(gat(random_graph, t, False, False), gat_oracle(random_graph, t, False, False), equal_nan=True)


def test_not_a_number_stays_one(backend: str, random_graph: Any) -> None:
    t = draw(random_graph, 1, 2)
    t["a_src"] = t["a_src"].detach().clone()
    t["a_src"][random_graph.src[0]] = float("nan")
    ours, theirs = gat(random_graph, t, False, False), gat_oracle(random_graph, t, False, False)
    assert ours.isnan().any()
    assert_close(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_16_bit_rows_are_added_up_in_float32(backend: str, random_graph: Any, dtype: torch.dtype) -> None:
    t = draw(random_graph, 2, 17, torch.float32)
    half = {name: tensor.detach().to(dtype) for name, tensor in t.items()}
    half = {name: tensor.requires_grad_(name != "mask") for name, tensor in half.items()}
    wide = {name: tensor.detach().float().requires_grad_(name != "mask") for name, tensor in half.items()}
    for ours, theirs in (
        (gat(random_graph, half, True, True), gat_oracle(random_graph, wide, True, True)),
        (gatv2(random_graph, half, True), gatv2_oracle(random_graph, wide, True)),
    ):
        assert ours.dtype == dtype
        tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(dtype).eps}
        assert_close(ours.float(), theirs, **tolerance)
        grad = theirs.detach().to(dtype)
        wrt = [name for name in t if name != "mask"]
        mine = torch.autograd.grad(ours, [half[name] for name in wrt], grad, allow_unused=True)
        right = torch.autograd.grad(theirs, [wide[name] for name in wrt], grad.float(), allow_unused=True)
        for a, b in zip(mine, right, strict=True):
            if b is not None:
                assert a.dtype == dtype
                assert_close(a.float(), b, rtol=tolerance["rtol"], atol=float(b.abs().max()) * tolerance["rtol"])


def test_nothing_of_the_size_of_the_edges_is_kept_for_the_backward(random_graph: Any) -> None:
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    t = draw(random_graph, 2, 3)
    transpose = transpose_csr(random_graph.indptr, random_graph.src, 20)
    given = {x.data_ptr() for x in (random_graph.src, *transpose, *t.values())}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gat(random_graph, t, False, False, transpose=transpose)
        gatv2(random_graph, t, False, transpose=transpose)
    made = [tensor for tensor in kept if tensor.data_ptr() not in given]
    assert made
    assert all(len(tensor) != random_graph.num_edges for tensor in made)


def test_the_fused_backward_runs_unless_it_is_differentiated_again(
    random_graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    for module, name in ((_gat, "gat_gradients"), (_gatv2, "gatv2_gradients")):
        unfused = getattr(module, name)

        def spy(*args: Any, name: str = name, unfused: Any = unfused, **more: Any) -> Any:
            ran.append(name)
            return unfused(*args, **more)

        monkeypatch.setattr(module, name, spy)
    t = draw(random_graph, 2, 3)
    for out, name in ((gat(random_graph, t, False, False), "gat"), (gatv2(random_graph, t, False), "gatv2")):
        once = torch.autograd.grad(out.sum(), t["x"], retain_graph=True)
        assert ran == []
        again = torch.autograd.grad(out.sum(), t["x"], create_graph=True)
        assert ran == [f"{name}_gradients"]
        ran.clear()
        assert_close(once, again)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "x of two dimensions": ({"x": torch.ones(4, 3)}, "x: expected a 3-D"),
    "x of integers": ({"x": torch.ones(4, 2, 3, dtype=torch.int64)}, "x: expected a 3-D"),
    "a_src of one head": ({"a_src": torch.ones(4, 1)}, r"a_src: expected .* of shape \[4, 2\] \(got"),
    "a_dst of as many rows as sources": ({"a_dst": torch.ones(4, 2)}, r"a_dst: expected .* \[3, 2\] \(got"),
    "a_edge for too few edges": ({"a_edge": torch.ones(4, 2)}, r"a_edge: expected .* \[5, 2\] \(got"),
    "a_src of another dtype": ({"a_src": torch.ones(4, 2).double()}, "a_src: expected a float32 tensor"),
    "mask for too few edges": ({"mask": torch.ones(4, 2)}, "mask: expected"),
    "mask that learns": ({"mask": torch.ones(5, 2, requires_grad=True)}, "mask: expected a constant"),
    "negative slope": ({"negative_slope": -0.1}, r"negative_slope: expected a finite number >= 0 \(got -0.1\)"),
    "infinite slope": ({"negative_slope": float("inf")}, r"negative_slope: expected a finite .*\(got inf\)"),
    "slope beyond floats": ({"negative_slope": 10**400}, "negative_slope: expected a finite number"),
    "no a_src": ({"a_src": None}, r"a_src: expected .* \(got NoneType\)"),
    "no slope": ({"negative_slope": None}, "negative_slope: expected a finite number"),
    "indices outside": ({"indices": torch.tensor([0, 1, 4, 1, 2])}, r"indices: expected ids in \[0, 4\) \(got 4\)"),
    "falling pointers": ({"indptr": torch.tensor([0, 3, 2, 5])}, "indptr: expected non-decreasing"),
    "pointers that end early": ({"indptr": torch.tensor([0, 3, 3, 4])}, "indptr: expected to run from 0 to the 5"),
    "transpose of another graph": (
        {"transpose": transpose_csr(torch.tensor([0, 1]), torch.tensor([0]), 4)},
        "t_indices: expected 5 entries",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(backend: str, case: str) -> None:
    good: dict[str, Any] = {
        "indptr": torch.tensor([0, 2, 2, 5]),
        "indices": torch.tensor([0, 1, 1, 3, 1]),
        "x": torch.ones(4, 2, 3),
        "a_src": torch.ones(4, 2),
        "a_dst": torch.ones(3, 2),
        "a_edge": torch.ones(5, 2),
    }
    gat_attention(**good)
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        gat_attention(**{**good, **changed})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x_dst", torch.ones(4, 2, 3), r"x_dst: expected a float32 tensor of shape \[3, 2, 3\]"),
        ("x_dst", torch.ones(3, 2, 3).double(), "x_dst: expected a float32"),
        ("x_src", torch.ones(4, 2), r"x_src: expected a 3-D .*tensor of shape \[4, 2\]"),
        ("att", torch.ones(1, 2, 3), r"att: expected a float32 tensor of shape \[2, 3\]"),
        ("x_src", torch.ones(2, 2, 3), r"indices: expected ids in \[0, 2\)"),
        ("negative_slope", float("nan"), "negative_slope: expected"),
    ],
)
def test_bad_input_of_gatv2_is_refused(backend: str, name: str, value: Any, message: str) -> None:
    good: dict[str, Any] = {
        "indptr": torch.tensor([0, 2, 2, 5]),
        "indices": torch.tensor([0, 1, 1, 3, 1]),
        "x_src": torch.ones(4, 2, 3),
        "x_dst": torch.ones(3, 2, 3),
        "att": torch.ones(2, 3),
    }
    gatv2_attention(**good)
    with pytest.raises(ValueError, match=message):
        gatv2_attention(**{**good, name: value})
