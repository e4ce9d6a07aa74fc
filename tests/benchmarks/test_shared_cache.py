"""The claim that ranks share one cache: what it judges. tests/data/test_sharded.py runs two ranks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "claims" / "shared_cache.py"


@pytest.fixture(scope="module")
def claim() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_shared_cache", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranks(*reads: tuple[list[int], list[int]]) -> list[dict[str, Any]]:
    """Two ranks of four rows: the first wants 0 and 1, then 3; the second 1 and 2, then 2."""
    wanted = [[[1, 1, 0, 0], [0, 0, 0, 1]], [[0, 1, 1, 0], [0, 0, 1, 0]]]
    return [
        {
            "modes": {"shared": {"counts": [torch.tensor(epoch) for epoch in counts], "wrong": 0}},
            "wanted": [torch.tensor(epoch) > 0 for epoch in wanted[rank]],
        }
        for rank, counts in enumerate(reads)
    ]


@pytest.mark.parametrize(
    ("reads", "right"),
    [
        ((([1, 0, 1, 0], [0, 0, 0, 0]), ([0, 1, 0, 0], [0, 0, 0, 1])), True),
        ((([1, 1, 1, 0], [0, 0, 0, 0]), ([0, 1, 0, 0], [0, 0, 0, 1])), False),  # row 1 by both
        ((([1, 0, 1, 0], [0, 0, 1, 0]), ([0, 1, 0, 0], [0, 0, 0, 1])), False),  # row 2 again in the second epoch
        ((([2, 0, 0, 0], [0, 0, 0, 0]), ([0, 1, 0, 0], [0, 0, 0, 1])), False),  # as many reads, of other rows
    ],
)
def test_once_is_once(claim: ModuleType, reads: Any, right: bool) -> None:
    row = claim.row("shared", ranks(*reads), 4)
    assert (row["wanted_rows"], row["new_rows_epoch_2"]) == (3, 1)
    assert claim.once(row) is right
