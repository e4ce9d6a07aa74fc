"""Historical rows: which are read, what becomes of gradients, when they turn."""

from __future__ import annotations

import pytest
import torch

from gnnkit.pipeline import HistoricalEmbeddings


def filled(refresh: int | None) -> HistoricalEmbeddings:
    history = HistoricalEmbeddings(4, 2, refresh=refresh, dtype=torch.float64)
    history.publish(0, torch.full((4, 2), -1.0, dtype=torch.float64))
    history.prime()
    return history


@pytest.mark.parametrize(("refresh", "seen"), [(1, [-1, 0, 1, 2, 3]), (2, [-1, -1, 1, 1, 3]), (None, [-1] * 5)])
def test_when_rows_become_historical(refresh: int | None, seen: list[int]) -> None:
    history = filled(refresh)
    found = []
    for epoch in range(5):
        found.append(int(history.historical[0, 0]))
        history.publish(0, torch.full((4, 2), float(epoch), dtype=torch.float64))
        history.end_epoch(epoch)
    assert found == seen


def test_fresh_rows_and_others() -> None:
    history = filled(1)
    history.publish(1, torch.tensor([[5.0, 6.0]], dtype=torch.float64))
    ids = history.ids(torch.tensor([2, 1]), torch.tensor([False, True]))
    assert history.read(ids).tolist() == [[-1.0, -1.0], [5.0, 6.0]]


def test_gradients_begin_anew_with_each_publication() -> None:
    history = filled(1)
    history.add_gradients(torch.tensor([3, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64))
    history.add_gradients(torch.tensor([0]), torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    assert history.gradients.tolist() == [[4.0, 5.0], [0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]
    history.publish(0, torch.zeros(1, 2, dtype=torch.float64))
    history.expect(3, 4)
    assert not history.gradients.any()


def test_gradients_of_half_rows_are_wider() -> None:
    history = HistoricalEmbeddings(1, 1, dtype=torch.bfloat16)
    assert history.gradients.dtype == torch.float32
    for _ in range(1000):
        history.add_gradients(torch.tensor([0]), torch.ones(1, 1, dtype=torch.bfloat16))
    assert float(history.gradients) == 1000  # bfloat16 stops at 256


def test_refused() -> None:
    for refresh in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match=r"refresh: expected a number of epochs >= 1, or None for never \(got"):
            HistoricalEmbeddings(1, 1, refresh=refresh)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"history: expected rows of shape \[1, 1\] \(got \[2, 1\]\)"):
        HistoricalEmbeddings(1, 1).restore(torch.zeros(2, 1))
