"""What the claims about published figures share: trained or stored runs, judged against a target in percent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gnnkit.bench import Summary, find_runs, run_benchmark, summarise

Get = Callable[[str, str, int], Summary]  # dataset, model, number of seeds


def trained(out: Path) -> Get:
    """Train what is asked for, and keep the runs in a folder."""
    return lambda dataset, model, seeds: summarise(
        run_benchmark(dataset, model, seeds=range(seeds), device="cpu", out=out)
    )


def stored(folder: Path) -> Get:
    """Read what `gnnkit bench` stored in a folder, by the recipes alone."""
    recipes = [r for r in find_runs([folder]) if r.results and not r.spec["overrides"]]
    runs = {(r.spec["dataset"], r.spec["model"]): summarise(r) for r in recipes}
    return lambda dataset, model, seeds: runs[dataset, model]


def reaches(summary: Summary, target: float, within: float) -> bool:
    """Whether the mean is at most ``within`` points below the target; better is no failure to reproduce."""
    return 100 * summary.test_mean >= target - within


def row(summary: Summary, target: float, source: str, within: float) -> dict[str, Any]:
    """One line of the claim's table."""
    return {
        "dataset": summary.dataset,
        "model": summary.model,
        "metric": summary.metric,
        "test_percent": f"{100 * summary.test_mean:.2f} ± {100 * (summary.test_std or 0):.2f}",
        "target": target,
        "source": source,
        "within": "yes" if reaches(summary, target, within) else "no",
        "seeds": len(summary.seeds),
        "commit": summary.commit,
        "epochs_run": summary.epochs_run,
        "wall_seconds": round(summary.wall_seconds, 1),
    }
