"""Stages on a GPU: two processes share one through host memory, and NCCL carries a world of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import run_ranks
from trainer_ranks import Case, train, train_all

pytestmark = pytest.mark.cuda
ON_GPU: dict[str, Any] = {"device": "cuda:0"}
CASES: dict[str, Case] = {
    "pipeline": ("shared", (2, 1, 4), ON_GPU),
    "graph": ("attention", (1, 2, 1), ON_GPU),
    "recomputation": ("shared", (2, 1, 4), {**ON_GPU, "recompute": True}),
    "states of edges": ("edges", (2, 1, 4), ON_GPU),
}


def close(got: Any, expected: Any) -> None:
    """Compare losses, weights and outputs."""
    assert got[0] == pytest.approx(expected[0], rel=1e-9)
    for key, value in expected[1].items():
        torch.testing.assert_close(got[1][key].cpu(), value.cpu(), rtol=1e-8, atol=1e-10, msg=key)
    torch.testing.assert_close(got[2].cpu(), expected[2].cpu(), rtol=1e-8, atol=1e-10)


def test_two_stages_on_one_gpu() -> None:
    """gloo carries the rows of a GPU through pinned host memory."""
    ranks = run_ranks(2, train_all, CASES, seconds=300)
    for name, case in CASES.items():
        close(ranks[0][name], train(case))


def test_nccl_in_a_world_of_one(tmp_path: Path) -> None:
    case: Case = ("shared", (1, 1, 4), ON_GPU)
    expected = train(case)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        close(train(case), expected)
    finally:
        dist.destroy_process_group()


def test_a_gpu_computes_what_the_cpu_does() -> None:
    """Without random numbers, which differ between devices."""
    case: Case = ("quiet", (1, 1, 4), {})
    close(train(("quiet", (1, 1, 4), ON_GPU)), train(case))
