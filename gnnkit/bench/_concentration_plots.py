"""Pictures of link performance at nodes, by topological concentration and by degree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from gnnkit.bench._plots import _COLOURS, _DPI, STYLE
from gnnkit.links import buckets, correlation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from gnnkit.links import Buckets


def write_concentration(
    performance: Tensor,
    by: Mapping[str, Tensor],
    path: Path | str,
    *,
    metric: str = "Recall",
    title: str = "",
    bounds: int | Mapping[str, int | Sequence[float]] = 10,
) -> None:
    """Draw the mean performance of nodes in buckets, a panel for each number of nodes, with its correlations.

    Bars are as wide as each other and say below how many nodes they hold; whiskers are standard errors of the mean.

    Args:
        performance: ``[N]``, what `gnnkit.links.per_node` gives; NaN where unknown.
        by: Numbers of nodes by the name under which a panel shows them, ``[N]`` each: topological concentration, the
            degree, the density.
        path: The PNG file to write; its suffix does not matter.
        metric: What the performance is.
        title: Above the panels.
        bounds: The buckets, as `gnnkit.links.buckets` takes them, of all panels or by name.

    Raises:
        ValueError: There is nothing to draw by, bounds for a name that has no panel, or what
            `gnnkit.links.buckets` refuses.

    Example:
        >>> import torch
        >>> from pathlib import Path
        >>> from gnnkit.bench import write_concentration
        >>> recall, degree = torch.rand(100), torch.arange(100)
        >>> write_concentration(recall, {"Degree": degree}, "recall.png", bounds=4)
        >>> Path("recall.png").read_bytes()[1:4]
        b'PNG'
    """
    if not by:
        raise ValueError("by: expected at least one number of the nodes (got none)")
    if not isinstance(bounds, int) and not set(bounds) <= set(by):
        raise ValueError(f"bounds: expected names among {', '.join(by)} (got {', '.join(bounds)})")
    with rc_context(STYLE):
        _figure(performance, by, metric, title, bounds).savefig(path, format="png", dpi=_DPI)


def _figure(
    performance: Tensor,
    by: Mapping[str, Tensor],
    metric: str,
    title: str,
    bounds: int | Mapping[str, int | Sequence[float]],
) -> Figure:
    """Draw on a bare Figure, which leaves pyplot's global state and the user's backend alone."""
    figure = Figure(figsize=(1 + 4.2 * len(by), 3.6), layout="constrained")
    panels = figure.subplots(1, len(by), squeeze=False, sharey=True)[0]
    for index, (axes, (name, numbers)) in enumerate(zip(panels, by.items(), strict=True)):
        chosen = bounds if isinstance(bounds, int) else bounds.get(name, 10)
        found = correlation(performance, numbers)
        _bars(axes, buckets(performance, numbers, chosen), _COLOURS[index % len(_COLOURS)])
        axes.set_title(f"Spearman {found.spearman:.2f}, Pearson {found.pearson:.2f}", fontsize=9.5)
        axes.set_xlabel(f"{name} (nodes)")
    panels[0].set_ylabel(f"{metric}, mean")
    panels[0].set_ylim(bottom=0)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    return figure


def _bars(axes: Axes, found: Buckets, colour: str) -> None:
    places = np.arange(len(found.num_nodes))
    axes.bar(places, np.nan_to_num(found.mean), width=0.86, color=colour, alpha=0.75, linewidth=0)
    known = ~np.isnan(found.error)
    axes.errorbar(places[known], found.mean[known], yerr=found.error[known], fmt="none", ecolor="#333333", capsize=2)
    bounds = [f"{bound:.2g}" if bound < 10 else f"{bound:.0f}" for bound in found.bounds]
    labels = [
        f"{low}–{high}\n({count})" for low, high, count in zip(bounds[:-1], bounds[1:], found.num_nodes, strict=True)
    ]
    axes.set_xticks(places, labels, fontsize=7)
    if len(labels) > 6:
        axes.tick_params(axis="x", rotation=90)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=True, axis="y")
