"""segment_matmul: a loop of products, whatever the sizes of the groups."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from gnnkit.kernels import _segment_matmul, segment_matmul

# groups of each kind: empty (first, within, last), tiny, large, and all of them
SIZES: dict[str, list[int]] = {
    "no types": [],
    "no rows": [0, 0, 0],
    "one": [5],
    "tiny": [1, 0, 3, 8, 2, 1],
    "large": [0, 20, 9, 0, 33],
    "mixed": [0, 3, 40, 1, 0, 9, 8, 17, 0],
}
DTYPES = (torch.float32, torch.float64)


def draw(
    sizes: list[int], heads: int | None, width: int = 5, out: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, pointers and matrices."""
    rng = torch.Generator().manual_seed(len(sizes) + width)
    row = (width,) if heads is None else (heads, width)
    x = torch.randn(sum(sizes), *row, generator=rng, dtype=dtype)
    weight = torch.randn(len(sizes), *row, out, generator=rng, dtype=dtype)
    return x.requires_grad_(), torch.tensor([0, *sizes]).cumsum(0), weight.requires_grad_()


def loop(x: Tensor, ptr: Tensor, weight: Tensor) -> Tensor:
    """The definition: one product a group and head."""
    parts = [
        torch.einsum("n...k,...km->n...m", x[low:high], weight[group])
        for group, (low, high) in enumerate(pairwise(ptr.tolist()))
    ]
    return torch.cat(parts) if parts else x.new_empty(*x.shape[:-1], weight.shape[-1])


def pulled(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Pull a fixed random gradient back."""
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=out.dtype)
    return torch.autograd.grad(out, inputs, grad, materialize_grads=True, allow_unused=True)


@pytest.mark.parametrize("heads", [None, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SIZES)
def test_it_and_its_gradients_are_a_loop_of_products(name: str, dtype: torch.dtype, heads: int | None) -> None:
    x, ptr, weight = draw(SIZES[name], heads, dtype=dtype)
    ours, theirs = segment_matmul(x, ptr, weight), loop(x, ptr, weight)
    assert ours.shape == theirs.shape
    assert_close(ours, theirs)
    if SIZES[name]:
        assert_close(pulled(ours, x, weight), pulled(theirs, x, weight))


@pytest.mark.parametrize(("width", "out"), [(0, 3), (1, 1), (3, 0), (33, 129)])
def test_any_width(width: int, out: int) -> None:
    x, ptr, weight = draw(SIZES["mixed"], 2, width, out, torch.float32)
    ours, theirs = segment_matmul(x, ptr, weight), loop(x, ptr, weight)
    assert_close(ours, theirs)
    assert_close(pulled(ours, x, weight), pulled(theirs, x, weight))


def test_no_heads_and_no_types() -> None:
    assert segment_matmul(torch.ones(2, 0, 3), torch.tensor([0, 2]), torch.ones(1, 0, 3, 4)).shape == (2, 0, 4)
    assert segment_matmul(torch.ones(0, 3), torch.tensor([0]), torch.ones(0, 3, 4)).shape == (0, 4)


@pytest.mark.parametrize("chunk_bytes", [1, 200])
def test_tiny_groups_in_several_pieces(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, ptr, weight = draw(SIZES["mixed"], None)
    whole = segment_matmul(x, ptr, weight)
    gradients = pulled(whole, x, weight)
    monkeypatch.setattr(_segment_matmul, "_CHUNK_BYTES", chunk_bytes)
    pieces = segment_matmul(x, ptr, weight)
    assert_close(pieces, whole)
    assert_close(pulled(pieces, x, weight), gradients)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_stay_in_their_rows_and_groups(bad: float) -> None:
    x, ptr, weight = (t.detach().clone() for t in draw(SIZES["mixed"], None))
    weight[3] = bad  # a group of one row
    x[0, 0] = bad  # in a group of three
    out = segment_matmul(x, ptr, weight)
    assert_close(out, loop(x, ptr, weight), equal_nan=True)
    assert int((~out.isfinite()).any(1).sum()) == 2


@pytest.mark.parametrize("heads", [None, 2])
@pytest.mark.parametrize("name", ["tiny", "large", "no rows"])
def test_derivatives_match_finite_differences(name: str, heads: int | None) -> None:
    sizes = {"tiny": [2, 0, 1], "large": [9, 0, 10], "no rows": [0, 0]}[name]
    x, ptr, weight = draw(sizes, heads, 2, 2)
    assert gradcheck(lambda x, w: segment_matmul(x, ptr, w), (x, weight), fast_mode=True)
    assert gradgradcheck(lambda x, w: segment_matmul(x, ptr, w), (x, weight), fast_mode=True)


def test_only_what_is_asked_for_is_kept_and_computed() -> None:
    x, ptr, weight = draw(SIZES["mixed"], None)
    out = segment_matmul(x.detach(), ptr, weight)
    assert_close(pulled(out, weight), pulled(loop(x.detach(), ptr, weight), weight))
    out = segment_matmul(x, ptr, weight.detach())
    assert_close(pulled(out, x), pulled(loop(x, ptr, weight.detach()), x))


def test_strides_and_int32_pointers() -> None:
    x, ptr, weight = (t.detach() for t in draw(SIZES["mixed"], 2, dtype=torch.float32))
    expected = segment_matmul(x, ptr, weight)
    columns = x.permute(2, 1, 0).contiguous().permute(2, 1, 0).requires_grad_()
    turned = weight.transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_()
    out = segment_matmul(columns, ptr.int().repeat_interleave(2)[::2], turned)
    assert_close(out, expected)
    assert_close(pulled(out, columns, turned), pulled(loop(x := x.clone().requires_grad_(), ptr, turned), x, turned))
    constant = torch.ones(1, 1, 1).expand_as(x)
    assert_close(segment_matmul(constant, ptr, weight), loop(constant, ptr, weight))
    every_second = torch.randn(2 * len(x), 2, 5)[::2]
    assert_close(segment_matmul(every_second, ptr, weight), loop(every_second, ptr, weight))


def test_compiles_without_a_break() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(segment_matmul, fullgraph=True, backend="aot_eager", dynamic=True)
    for name in ("tiny", "mixed"):
        x, ptr, weight = draw(SIZES[name], None)
        out = compiled(x, ptr, weight)
        assert_close(out, loop(x, ptr, weight))
        assert_close(pulled(out, x, weight), pulled(loop(x, ptr, weight), x, weight))
    torch._dynamo.reset()


@pytest.mark.cuda
@pytest.mark.parametrize("name", SIZES)
def test_on_a_gpu(name: str) -> None:
    x, ptr, weight = draw(SIZES[name], 2)
    expected = segment_matmul(x, ptr, weight)
    for pointers in (ptr, ptr.cuda()):
        rows, matrices = (t.detach().cuda().requires_grad_() for t in (x, weight))
        out = segment_matmul(rows, pointers, matrices)
        assert_close(out.cpu(), expected)
        if len(x):
            pull = torch.ones_like(expected)
            ours = torch.autograd.grad(out, (rows, matrices), pull.cuda())
            theirs = torch.autograd.grad(expected, (x, weight), pull, retain_graph=True)
            assert_close(tuple(t.cpu() for t in ours), theirs)


# ------------------------------------------------------------------ what a caller can get wrong


@pytest.mark.parametrize("pointers", [[0, 1, 2], [0, 2, 4], [1, 2, 3], [0, 4, 3], [0, -1, 3]], ids=str)
def test_pointers_that_do_not_cut_the_rows_are_value_errors(pointers: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^ptr: expected .* \(got .*\)$"):
        segment_matmul(torch.ones(3, 2), torch.tensor(pointers), torch.ones(2, 2, 2))


PTR = torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("x", "ptr", "weight", "message"),
    [
        (torch.ones(2), PTR, torch.ones(1, 2, 2), r"x: .*2-D or 3-D.*\[2\]"),
        (torch.ones(2, 2).long(), PTR, torch.ones(1, 2, 2), "x: .*int64"),
        (torch.ones(2, 2).to_sparse(), PTR, torch.ones(1, 2, 2), "x: .*sparse"),
        ([[1.0]], PTR, torch.ones(1, 2, 2), "x: .*list"),
        (torch.ones(2, 2), PTR, torch.ones(2, 2), r"weight: .*3-D or 4-D.*\[2, 2\]"),
        (torch.ones(2, 2), PTR, torch.ones(1, 3, 2), r"weight: .*\[T, K, M\] for rows of shape \[2\].*\[1, 3, 2\]"),
        (torch.ones(2, 2), PTR, torch.ones(1, 1, 2, 2), r"weight: .*\[1, 1, 2, 2\]"),
        (torch.ones(2, 3, 2), PTR, torch.ones(1, 3, 2), r"weight: .*\[T, H, K, M\].*\[1, 3, 2\]"),
        (torch.ones(2, 3, 2), PTR, torch.ones(1, 2, 2, 2), r"weight: .*rows of shape \[3, 2\]"),
        (torch.ones(2, 2), PTR, torch.ones(1, 2, 2).double(), "x and weight: .*one dtype .*float32.*float64"),
        (torch.ones(2, 2), PTR, torch.ones(1, 2, 2, device="meta"), "x and weight: .*one device .*cpu, meta"),
        (torch.ones(2, 2), PTR.to("meta"), torch.ones(1, 2, 2), "x and ptr: .*one device .*cpu, meta"),
        (torch.ones(2, 2), PTR.float(), torch.ones(1, 2, 2), "ptr: .*float32"),
        (torch.ones(2, 2), [0, 2], torch.ones(1, 2, 2), "ptr: .*list"),
        (torch.ones(2, 2), torch.tensor([0, 1, 2]), torch.ones(1, 2, 2), r"ptr: .*T \+ 1 = 2 entries.*\(got 3"),
        (torch.ones(2, 2), torch.tensor([], dtype=torch.int64), torch.ones(1, 2, 2), r"ptr: .*\(got 0"),
    ],
)
def test_wrong_arguments_are_value_errors_that_say_what_came(x: Any, ptr: Any, weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}.*\)$"):
        segment_matmul(x, ptr, weight)
