"""norm_relu: PyTorch's layers one after the other, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from gnnkit.kernels import norm_relu
from gnnkit.kernels._norm_relu import norm_relu_op

SHAPES = [(0, 5), (1, 2), (7, 16), (300, 37), (513, 48)]
PARTS = [(), ("bias",), ("weight", "shift"), ("bias", "weight", "shift")]


def draw(shape: tuple[int, int], parts: tuple[str, ...], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A table and the rows that are given."""
    generator = torch.Generator().manual_seed(shape[0])
    sizes = {"x": shape} | dict.fromkeys(parts, shape[1:])
    drawn = {name: torch.randn(size, generator=generator, dtype=dtype) for name, size in sizes.items()}
    return {name: value.requires_grad_() for name, value in drawn.items()}


def with_gradients(out: Tensor, given: dict[str, Tensor]) -> list[Tensor]:
    """The result and the gradients of all tensors."""
    factor = torch.arange(1.0, out.numel() + 1, dtype=out.dtype).view_as(out).cos()
    return [out.detach(), *torch.autograd.grad((out * factor).sum(), [*given.values()])]


def layers(x: Tensor, bias: Tensor | None = None, weight: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """What it stands for, without dropout."""
    y = x if bias is None else x + bias
    return (y if weight is None else F.layer_norm(y, y.shape[1:], weight, shift)).relu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_pytorchs_layers(
    shape: tuple[int, int], parts: tuple[str, ...], dtype: torch.dtype, backend: str
) -> None:
    given = draw(shape, parts, dtype)
    mine, theirs = with_gradients(norm_relu(**given), given), with_gradients(layers(**given), given)
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-9}[dtype]
    for found, expected in zip(mine, theirs, strict=True):
        assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_backends_drop_the_same(
    shape: tuple[int, int], parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = draw(shape, parts)
    found = []
    for name in ("torch", "numba"):
        monkeypatch.setenv("GNNKIT_BACKEND", name)
        found.append(with_gradients(norm_relu(**given, dropout=0.3, seed=2**62 + 5), given))
    for first, second in zip(*found, strict=True):
        assert_close(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("parts", PARTS)
def test_gradients_are_those_of_differences(parts: tuple[str, ...], backend: str) -> None:
    given = draw((7, 5), parts)

    def function(*values: Tensor) -> Tensor:
        return norm_relu(**dict(zip(given, values, strict=True)), dropout=0.4, seed=3)

    assert torch.autograd.gradcheck(function, tuple(given.values()))
    assert torch.autograd.gradgradcheck(function, tuple(given.values()))


def test_elements_are_dropped_independently(backend: str) -> None:
    rate, rows, columns = 0.3, 4000, 250
    out = norm_relu(torch.ones(rows, columns), dropout=rate, seed=11)
    kept = out > 0
    assert out[kept].unique().tolist() == [pytest.approx(1 / (1 - rate))]
    deviation = (rate * (1 - rate)) ** 0.5
    assert float(kept.float().mean()) == pytest.approx(1 - rate, abs=5 * deviation / (rows * columns) ** 0.5)
    # as far apart as independent draws are: sums of rows, of columns, and of neighbours that are both kept
    for sums, size in ((kept.sum(1), columns), (kept.sum(0), rows)):
        assert float(sums.float().std()) == pytest.approx(deviation * size**0.5, rel=0.2)
    other = norm_relu(torch.ones(rows, columns), dropout=rate, seed=12) > 0
    for one, two in ((kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1]), (kept, other)):
        assert float((one & two).float().mean()) == pytest.approx((1 - rate) ** 2, abs=3e-3)


@pytest.mark.parametrize("width", [3, 64])
def test_threads_do_not_change_it(width: int, set_threads: Callable[[int], None]) -> None:
    given = draw((20_000, width), ("bias", "weight", "shift"), torch.float32)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        found.append(with_gradients(norm_relu(**given, dropout=0.1, seed=1), given))
    for other in found[1:]:
        assert all(torch.equal(first, second) for first, second in zip(found[0], other, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_in_place_it_gives_the_same(shape: tuple[int, int], backend: str) -> None:
    given = {name: value.detach() for name, value in draw(shape, ("bias", "weight", "shift")).items()}
    expected = norm_relu(**given, dropout=0.2, seed=9)
    before = given["x"].clone()
    found = norm_relu(**given, dropout=0.2, seed=9, inplace=True)
    assert torch.equal(found, expected)
    if backend == "numba" and shape[0]:
        assert found.data_ptr() == given["x"].data_ptr()
        assert not torch.equal(given["x"], before)


def test_rows_with_gaps_are_not_written_to_in_place(backend: str) -> None:
    x = torch.randn(6, 8)[:, ::2]
    before = x.clone()
    assert torch.equal(norm_relu(x, inplace=True), before.relu())
    assert torch.equal(x, before)


def test_nan_stays(backend: str) -> None:
    out = norm_relu(torch.tensor([[torch.nan, 1.0], [2.0, -1.0]]))
    assert out.isnan().tolist() == [[True, False], [False, False]]
    assert out[1].tolist() == [2.0, 0.0]


def test_what_is_below_zero_takes_no_gradient_however_large(backend: str) -> None:
    x = torch.tensor([[-1.0, 2.0, torch.nan]], requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)
    for given in (layers, norm_relu):
        x.grad = bias.grad = None
        given(x, bias).backward(torch.tensor([[torch.inf, 3.0, 4.0]]))
        assert x.grad is not None
        assert bias.grad is not None
        assert x.grad.tolist() == [[0.0, 3.0, 4.0]]
        assert bias.grad.tolist() == [0.0, 3.0, 4.0]


def test_a_saved_tensor_that_is_written_to_is_noticed() -> None:
    factor, x = torch.tensor(1.0, requires_grad=True), torch.tensor([[-3.0, 2.0]])
    product = (x * factor).sum()
    assert norm_relu(x, inplace=True) is x
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("row", ["bias", "weight", "shift"])
def test_a_row_of_x_itself_is_not_added_in_place(row: str, backend: str) -> None:
    x = torch.randn(4, 3)
    rows = {"weight": torch.ones(3), "shift": torch.zeros(3)} | {row: x[1]}
    with pytest.raises(ValueError, match=rf"^inplace: expected x to share no memory with {row} \(got two views"):
        norm_relu(x, **rows, inplace=True)


@pytest.mark.parametrize("weighted", [False, True])
def test_columns_first_is_laid_out_as_torch_is_told(weighted: bool, backend: str) -> None:
    x, row = torch.randn(5, 3).t().requires_grad_(), torch.randn(5, requires_grad=True)
    more = (row, row) if weighted else (None, None)
    torch.library.opcheck(norm_relu_op, (x, row, *more, 1e-5, 0, 0))


def test_it_is_compiled_without_a_break(backend: str) -> None:
    x, bias = torch.randn(4, 5), torch.randn(5)
    compiled = torch.compile(lambda *given: norm_relu(*given, inplace=True), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, bias), layers(x, bias))


ROW = torch.ones(3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": ROW}, r"^x: expected .* \(got .*\)$"),
        ({"x": torch.ones(2, 3).half()}, r"^x: expected .*float.* \(got .*\)$"),
        ({"bias": torch.ones(2)}, r"^bias: expected .*\[3\].* \(got .*\)$"),
        ({"weight": ROW}, r"^weight and shift: expected both or none \(got one\)$"),
        ({"weight": ROW.double(), "shift": ROW}, r"^weight: expected .* \(got .*\)$"),
        ({"dropout": 1.0}, r"^dropout: expected a number in \[0, 1\) \(got 1\.0\)$"),
        ({"dropout": -0.1}, r"^dropout: expected a number in \[0, 1\) \(got -0\.1\)$"),
        ({"eps": float("nan")}, r"^eps: expected a number in \[0, inf\) \(got nan\)$"),
        ({"seed": -1}, r"^seed: expected .* \(got -1\)$"),
        ({"seed": 2**63}, r"^seed: expected a whole number below 2\^63 \(got 9223372036854775808\)$"),
        (
            {"x": torch.ones(2, 3, requires_grad=True), "inplace": True},
            r"^inplace: expected no gradient .* \(got .*\)$",
        ),
    ],
)
def test_bad_input(given: dict[str, Any], message: str, backend: str) -> None:
    with pytest.raises(ValueError, match=message):
        norm_relu(**({"x": torch.ones(2, 3)} | given))
