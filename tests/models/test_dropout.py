"""Dropout: rates, means, independence of neighbours in one draw, gradients."""

from __future__ import annotations

import pytest
import torch

from gnnkit.models._dropout import Dropout, keep_at_random


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("inplace", [False, True])
def test_the_rate_and_the_mean_are_those_asked_for(rate: float, inplace: bool) -> None:
    torch.manual_seed(0)
    x = torch.full((401, 501), 3.0)
    out = Dropout(rate, inplace)(x)
    assert (out is x) == (inplace or rate == 0)
    spread = (rate * (1 - rate) / out.numel()) ** 0.5
    assert abs(float((out == 0).double().mean()) - rate) <= 5 * spread + 2**-16
    kept = out[out > 0]
    assert (kept == kept[0]).all()
    assert float(kept[0]) == pytest.approx(3 / (1 - rate), rel=1e-3)
    assert abs(float(out.double().mean()) - 3) <= 5 * 3 * spread / (1 - rate)


def test_the_elements_of_one_draw_are_independent() -> None:
    torch.manual_seed(0)
    kept = keep_at_random(torch.Size([100_000]), 0.3, torch.device("cpu")).view(-1, 4).double()
    assert (kept.T.corrcoef() - torch.eye(4)).abs().max() < 5 / len(kept) ** 0.5


def test_a_rate_next_to_one_leaves_numbers_finite_and_no_elements_are_no_fault() -> None:
    assert torch.isfinite(Dropout(1 - 1e-9)(torch.ones(1000))).all()
    assert Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_pass_where_elements_did(inplace: bool) -> None:
    x = torch.ones(7, 9, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.4, inplace)(x * 1)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_evaluation_leaves_all_as_it_is() -> None:
    x = torch.rand(5)
    assert Dropout(0.5).eval()(x) is x
