"""What several tests of the benchmark take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share
from stored_runs import write_run


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that holds nothing yet."""
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def square(tmp_path: Path) -> list[Any]:
    """Two datasets by two models, the second model better on each."""
    return [
        write_run(tmp_path / "runs", dataset, model, [base, base + 0.01])
        for dataset in ("cora", "pubmed")
        for model, base in (("gcn", 0.80), ("sage", 0.85))
    ]


@pytest.fixture
def errors(tmp_path: Path) -> list[Any]:
    """Two runs whose metric is an error, the first the better."""
    return [
        write_run(tmp_path / "runs", "zinc", model, [base, base + 0.01], metric="mae")
        for model, base in (("gin", 0.4123), ("mlp", 0.7))
    ]
