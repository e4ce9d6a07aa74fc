"""Blocks of NCN's MLPs: one pass where it is their layers, and the layers themselves where it would not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close

from gnnkit.kernels import norm_relu
from gnnkit.models import _mlp
from gnnkit.models._mlp import Block, SumMLP


def by_layers(block: Block, x: Tensor) -> Tensor:
    """The modules one after the other, out of place."""
    y = block.linear(x)
    return F.relu(y if block.norm is None else block.norm(y))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of each pass."""
    seen: list[dict[str, Any]] = []

    def noted(*tensors: Any, **options: Any) -> Tensor:
        seen.append(options)
        return norm_relu(*tensors, **options)

    monkeypatch.setattr(_mlp, "norm_relu", noted)
    return seen


@pytest.mark.parametrize("norm", [False, True])
def test_a_block_is_its_layers_in_one_pass(norm: bool, passes: list[dict[str, Any]]) -> None:
    block, x = Block(5, 7, 0.0, norm), torch.randn(9, 5)
    assert_close(block(x), by_layers(block, x))
    with torch.no_grad():
        assert_close(block(x), by_layers(block, x))
    assert [each["inplace"] for each in passes] == [False, True]


def test_a_block_drops_in_training_alone(passes: list[dict[str, Any]]) -> None:
    block, x = Block(5, 40, 0.5, norm=True), torch.randn(50, 5)
    expected = by_layers(block, x)
    torch.manual_seed(3)
    first, second = block(x), block(x)
    torch.manual_seed(3)
    assert torch.equal(block(x), first)
    assert not torch.equal(second, first)
    kept = first > 0
    assert_close(first[kept], 2 * expected[kept])
    assert 0.4 < float(kept.sum() / (expected > 0).sum()) < 0.6
    assert len(passes) == 3
    assert_close(block.eval()(x), expected)


def hooked(block: Block) -> None:
    block.activation.register_forward_hook(lambda *_: torch.full((4, 6), 2.0))


def pruned(block: Block) -> None:
    prune.l1_unstructured(block.linear, "weight", 0.5)
    with torch.no_grad():
        block.linear.weight_orig.mul_(3)


def normalised(block: Block) -> None:
    parametrizations.weight_norm(block.linear)


def replaced(block: Block) -> None:
    block.linear = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh())  # type: ignore[assignment]


@pytest.mark.parametrize("change", [pruned, normalised, replaced])
def test_a_changed_layer_is_called(change: Callable[[Block], None], passes: list[dict[str, Any]]) -> None:
    block, x = Block(5, 6, 0.0, norm=True), torch.randn(4, 5)
    change(block)
    assert_close(block(x), by_layers(block, x))
    assert not passes


def test_a_hook_is_called() -> None:
    block = Block(5, 6, 0.0, norm=True)
    hooked(block)
    assert torch.equal(block(torch.randn(4, 5)), torch.full((4, 6), 2.0))


def test_a_pruned_block_learns() -> None:
    block, x = Block(5, 6, 0.1, norm=True), torch.randn(4, 5)
    pruned(block)
    step = torch.optim.SGD(block.parameters(), lr=0.1)
    for _ in range(2):
        step.zero_grad()
        block(x).sum().backward()
        step.step()


def test_other_inputs_go_through_the_layers(passes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = Block(5, 6, 0.0, norm=True), torch.randn(2, 3, 5)
    assert_close(block(x), by_layers(block, x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(block(x[0]), by_layers(block, x[0]))
    monkeypatch.setenv("GNNKIT_BACKEND", "torch")
    assert_close(block(x[0]), by_layers(block, x[0]))
    monkeypatch.delenv("GNNKIT_BACKEND")
    block.dropout.p = 1.0
    block(x[0])
    assert not passes


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changed", [False, True])
def test_rows_are_taken_after_the_first_map(training: bool, changed: bool) -> None:
    model = SumMLP(5, 6, 0.0 if not training else 0.5, norm=True).train(training)
    if changed:
        model.first.linear.register_forward_hook(lambda _, __, out: 2 * out)
    sums, place = torch.randn(2, 5), torch.tensor([2, 0, 2, 1])
    whole = torch.cat([sums, sums.new_zeros(1, 5)])[place]
    torch.manual_seed(1)
    expected = model(whole)
    torch.manual_seed(1)
    assert_close(model(sums, place), expected)
