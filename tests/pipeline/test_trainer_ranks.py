"""Several processes compute what one does: every mode, every kind of layer, every option."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from processes import run_ranks
from trainer_ranks import Case, disagree, interrupt, train, train_all

HYBRID = (2, 2, 3)
CASES: dict[str, Case] = {
    "pipeline of 2": ("shared", (2, 1, 4), {}),
    "pipeline of 4": ("shared", (4, 1, 3), {}),
    "graph of 2": ("shared", (1, 2, 1), {}),
    "graph of 4": ("shared", (1, 4, 1), {}),
    "hybrid": ("shared", HYBRID, {}),
    "no shared rows": ("plain", HYBRID, {}),
    "random numbers while rows are gathered": ("attention", HYBRID, {}),
    "states of edges": ("edges", HYBRID, {}),
    "states of edges, no ways": ("edges", (4, 1, 3), {}),
    "random numbers for sources": ("drops first", HYBRID, {}),
    "no row-wise ends": ("bare", HYBRID, {}),
    "recomputation": ("shared", HYBRID, {"recompute": True}),
    "recomputation of edges' states": ("edges", HYBRID, {"recompute": True}),
    "refresh every second epoch": ("shared", HYBRID, {"refresh": 2}),
    "never refreshed": ("shared", HYBRID, {"refresh": None}),
    "not primed": ("shared", HYBRID, {"prime": False}),
}


@cache
def together(world_size: int) -> list[dict[str, Any]]:
    """Train all cases of so many processes, on each rank."""
    cases = {name: case for name, case in CASES.items() if case[1][0] * case[1][1] == world_size}
    return run_ranks(world_size, train_all, cases)


@pytest.mark.parametrize("name", CASES)
def test_processes_compute_what_one_does(name: str) -> None:
    case = CASES[name]
    losses, state, outputs, _ = train(case)
    ranks = [rank[name] for rank in together(case[1][0] * case[1][1])]
    for got, *_ in ranks:
        assert got == pytest.approx(losses, rel=1e-11)
    assert ranks[0][1].keys() == state.keys()
    for key, expected in state.items():
        torch.testing.assert_close(ranks[0][1][key], expected, rtol=1e-9, atol=1e-11, msg=key)
    torch.testing.assert_close(ranks[0][2], outputs, rtol=1e-9, atol=1e-11)
    assert all(rank[1] is None and rank[2] is None for rank in ranks[1:])


def test_ranks_that_would_train_something_else_are_refused() -> None:
    for found in run_ranks(2, disagree):
        assert (
            found
            == [
                "plan: expected the same plan, weights, edges, training nodes and settings on every rank "
                "(got 1 that differ from rank 0)"
            ]
            * 3
        )


def test_a_process_out_of_step_does_not_go_on() -> None:
    assert run_ranks(2, interrupt)[0].startswith("expected processes in step: go on from a checkpoint in new ones")
