"""Hits@K and MRR equal OGB's Evaluator, ties included."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnkit.datasets import _ogb
from gnnkit.links import hits_at, mrr, ranks


def scores(seed: int, *shape: int, levels: int | None = None) -> Tensor:
    """Random scores, with ``levels`` of so few values that many are tied."""
    draw = torch.Generator().manual_seed(seed)
    if levels is None:
        return torch.randn(shape, generator=draw)
    return torch.randint(levels, shape, generator=draw).float() / levels


def evaluator(name: str) -> Any:
    """OGB's own."""
    if find_spec("ogb") is None:
        pytest.skip("needs the extra ogb")
    return _ogb.package("ogbl").Evaluator(name=name)


@pytest.mark.parametrize("levels", [None, 2, 5, 40])
@pytest.mark.parametrize(("name", "k"), [("ogbl-ddi", 20), ("ogbl-collab", 50), ("ogbl-ppa", 100)])
def test_hits_equal_ogbs(name: str, k: int, levels: int | None) -> None:
    judge = evaluator(name)
    for seed, num_neg in enumerate((k - 1, k, k + 1, 500)):
        pos, neg = scores(seed, 200, levels=levels), scores(seed + 9, num_neg, levels=levels)
        assert hits_at(pos, neg, k) == judge.eval({"y_pred_pos": pos, "y_pred_neg": neg})[f"hits@{k}"]


@pytest.mark.parametrize("levels", [None, 2, 5, 40])
def test_mrr_and_hits_among_own_negatives_equal_ogbs(levels: int | None) -> None:
    judge = evaluator("ogbl-citation2")
    for seed in range(5):
        pos, neg = scores(seed, 100, levels=levels), scores(seed + 9, 100, 37, levels=levels)
        expected = judge.eval({"y_pred_pos": pos, "y_pred_neg": neg})
        torch.testing.assert_close(ranks(pos, neg).reciprocal().float(), expected["mrr_list"], rtol=0, atol=0)
        assert mrr(pos, neg) == pytest.approx(float(expected["mrr_list"].double().mean()), abs=1e-7)
        for k in (1, 3, 10):
            assert hits_at(pos, neg, k) == pytest.approx(float(expected[f"hits@{k}_list"].double().mean()), abs=1e-12)


def test_all_scores_alike_is_no_success() -> None:
    pos, neg = torch.zeros(3), torch.zeros(3, 9)
    assert hits_at(pos, neg[0], 5) == 0
    assert ranks(pos, neg).tolist() == [5.5] * 3


def test_infinite_scores_are_ordered_and_nan_is_no_success() -> None:
    infinite = torch.tensor([math.inf, -math.inf])
    assert ranks(infinite, torch.tensor([[0.0], [0.0]])).tolist() == [1, 2]
    pos, neg = torch.tensor([math.nan, 1.0]), torch.tensor([[0.0], [0.0]])
    assert ranks(pos, neg).isnan().tolist() == [True, False]
    for value in (mrr(pos, neg), hits_at(pos, neg, 1), hits_at(pos, neg[0], 1), mrr(neg[:, 0], pos[:, None])):
        assert math.isnan(value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hits_at(torch.ones(2), torch.ones(3), 0), r"^k: expected a whole number >= 1 \(got 0\)$"),
        (lambda: hits_at(torch.ones(2), torch.ones(3), 1.0), r"^k: expected a whole number >= 0 \(got 1.0\)$"),  # type: ignore[arg-type]
        (lambda: hits_at(torch.ones(0), torch.ones(3), 1), r"^pos: expected at least one positive \(got none\)$"),
        (lambda: mrr(torch.ones(0), torch.ones(0, 3)), r"^pos: expected at least one positive \(got none\)$"),
        (lambda: mrr(torch.ones(2), torch.ones(3, 3)), r"^neg: expected a row for each of 2 positives \(got 3\)$"),
        (lambda: mrr(torch.ones(2), torch.ones(2)), r"^neg: expected a 2-D .*\(got float32 tensor of shape \[2\]\)$"),
        (lambda: hits_at(torch.ones(2).long(), torch.ones(3), 1), r"^pos: expected a 1-D float32 .*\(got int64 "),
        (lambda: hits_at(torch.ones(2).double(), torch.ones(3), 1), r"^pos and neg: expected one dtype"),
    ],
)
def test_other_shapes_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
