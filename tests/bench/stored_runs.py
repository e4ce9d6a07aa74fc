"""Stored runs for the report, with every awkward name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NASTY = "<b>&_%$x$"
TEST = [0.815, 0.809, 0.822]


@dataclass(frozen=True)
class FakeRun:
    """Answers like a stored run and reads its histories from its folder, one file a seed."""

    folder: Path
    spec: dict[str, Any]
    results: list[dict[str, Any]]

    def history(self, seed: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads((self.folder / f"{seed}.json").read_text())
        return rows


def write_run(
    root: Path,
    dataset: str = "cora",
    model: str = "gcn",
    test: list[float] = TEST,
    overrides: tuple[str, ...] = (),
    key: str = "0a1b2c3d",
    epochs: int = 4,
    **spec: Any,
) -> Any:
    """Write a run whose seed s trained for ``epochs + s`` epochs, and give its record."""
    folder = root / f"{re.sub(r'[^a-z]', '', dataset)}-{model}-{key}"
    folder.mkdir(parents=True)
    shared = {"commit": "3f0c9a1", "versions": {"torch": "2.13.0"}, "device": "cpu", "backend": "numba"}
    results = []
    for seed, score in enumerate(test):
        rows = [
            {
                "epoch": epoch,
                "loss": 1.0,
                "valid_loss": 1.0,
                "train": 0.9,
                "valid": 0.1 * epoch + 0.01 * seed,
                "test": 0.5,
            }
            for epoch in range(1, epochs + seed + 1)
        ]
        (folder / f"{seed}.json").write_text(json.dumps(rows))
        results.append(
            {
                "seed": seed,
                "test": score,
                "valid": score + 0.01,
                "train": 0.99,
                "best_epoch": 3,
                "epochs_run": epochs + seed,
                "wall_seconds": 1.5,
                "peak_memory_bytes": (100 - seed) * 2**20,
                **shared,
            }
        )
    return FakeRun(
        folder,
        {
            "dataset": dataset,
            "model": model,
            "task": "node classification",
            "metric": "accuracy",
            "config": {"train": {"lr": 0.01}, "loader": {"fanout": [10, 5]}},
            "overrides": list(overrides),
            "recipe": "gcn",
            "hardware": "two cores",
            "key": key,
            **shared,
            **spec,
        },
        results,
    )
