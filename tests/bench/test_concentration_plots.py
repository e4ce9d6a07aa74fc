"""Pictures of performance by topological concentration and by degree."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from torch import Tensor

from gnnkit.bench import write_concentration
from gnnkit.bench._concentration_plots import _figure
from gnnkit.links import buckets, correlation


def nodes() -> tuple[Tensor, dict[str, Tensor]]:
    """Draw the recall of 200 nodes, half of which rises with one number, none with the other."""
    draw = torch.Generator().manual_seed(0)
    shared, degree = torch.rand(200, generator=draw), torch.randint(1, 30, (200,), generator=draw)
    recall = (shared + torch.rand(200, generator=draw)) / 2
    recall[::9] = math.nan
    return recall, {"TC": shared, "Degree": degree}


def test_a_panel_shows_the_buckets_and_the_correlations() -> None:
    recall, by = nodes()
    figure = _figure(recall, by, "Recall@100", "cora", {"TC": [0, 0.25, 0.5, 1]})
    for axes, (name, numbers), bounds in zip(figure.axes, by.items(), ([0, 0.25, 0.5, 1], 10), strict=True):
        found = buckets(recall, numbers, bounds)
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [bar.get_height() for bar in bars] == pytest.approx(found.mean.tolist())
        assert [label.get_text().split("(")[1] for label in axes.get_xticklabels()] == [
            f"{n})" for n in found.num_nodes
        ]
        assert axes.get_xlabel().startswith(name)
        assert f"Spearman {correlation(recall, numbers).spearman:.2f}" in axes.get_title()
    assert "Recall@100" in figure.axes[0].get_ylabel()


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    recall, by = nodes()
    write_concentration(recall, by, tmp_path / "recall.png", title="cora · NCN")
    assert imread(tmp_path / "recall.png").shape[1] > 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": {}}, r"by: expected at least one number of the nodes \(got none\)"),
        ({"bounds": {"Age": 3}}, r"bounds: expected names among TC, Degree \(got Age\)"),
        ({"bounds": 0}, r"bounds: expected a whole number >= 1 \(got 0\)"),
        ({"performance": torch.zeros(3)}, r"expected one number for each node \(got"),
    ],
)
def test_bad_input_is_told_and_leaves_no_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    recall, by = nodes()
    valid: dict[str, Any] = {"performance": recall, "by": by, "path": tmp_path / "recall.png"}
    with pytest.raises(ValueError, match=message):
        write_concentration(**{**valid, **change})
    assert list(tmp_path.iterdir()) == []
