"""Claim: errors of the nuisances reach the R-learner's effects less than those of T and S learners.

Nuisances are degraded on purpose: networks trained for 3 to 300 steps. Every learner gets the same stage for outcomes
(and treatment), R and DR learners a final stage that is not degraded. Twenty networks of 2,000 nodes; the slope is that
of the effects' RMSE on the RMSE of the degraded model of E[Y | X, G], over steps and networks, with its standard error.
The R-learner's has to be below those of T and S by two standard errors of the difference.

The control: with the final stage degraded as well, the R-learner's slope has to rise.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import gnnkit.adjacency
import gnnkit.causal
import gnnkit.kernels
from gnnkit.causal import (
    GraphDRLearner,
    GraphRLearner,
    GraphSLearner,
    GraphTLearner,
    NetworkStage,
    simulate,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, show, write
from _stored import finish, source_of

SOURCE = source_of(gnnkit.causal, gnnkit.kernels, gnnkit.adjacency)
NETWORKS, NODES, FIRST, NOISE = 20, 2000, 17000, 0.5
STEPS = (3, 10, 30, 100, 300)
LEARNERS = ("r-learner", "dr-learner", "t-learner", "s-learner", "r-learner, degraded effect")


@dataclass(frozen=True)
class Run:
    """One network and one degree of degradation."""

    steps: int
    seed: int

    @property
    def key(self) -> str:
        """Its name in the store."""
        return json.dumps([*asdict(self).values(), NODES, SOURCE])


def execute(run: Run) -> dict[str, Any]:
    """RMSE of the degraded outcome model and of every learner's effects."""
    torch.set_num_threads(1)
    data = simulate("ba", run.seed, num_nodes=NODES, noise=0.0)  # so that expected outcomes are known
    assert data.propensity is not None
    expected = data.outcome + (data.propensity - data.treatment) * data.effect  # E[Y | X, G]
    noise = NOISE * torch.randn(NODES, generator=torch.Generator().manual_seed(run.seed))
    given = (data.x, data.treatment, data.outcome + noise, data.edge_index)
    bad = NetworkStage("sign", epochs=run.steps, lr=0.01, weight_decay=0.0, patience=None, start="constant")
    learners = {
        "r-learner": GraphRLearner(bad, bad, "sign", random_state=run.seed),
        "dr-learner": GraphDRLearner(bad, bad, "sign", random_state=run.seed),
        "t-learner": GraphTLearner(bad, random_state=run.seed),
        "s-learner": GraphSLearner(bad, random_state=run.seed),
        "r-learner, degraded effect": GraphRLearner(bad, bad, bad, random_state=run.seed),
    }
    errors = {name: _rmse(each.fit(*given).effect(data), data.effect) for name, each in learners.items()}
    return {**asdict(run), "nuisance": _rmse(learners["r-learner"].outcome_, expected), "errors": errors}


def _rmse(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    return float((estimate - truth).square().mean().sqrt())


def slope(rows: list[dict[str, Any]], learner: str) -> tuple[float, float]:
    """Least squares over steps within each network; mean over networks and its standard error."""
    slopes = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        points = [(row["nuisance"], row["errors"][learner]) for row in rows if row["seed"] == seed]
        fit = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
        slopes.append(fit.slope)
    return statistics.fmean(slopes), statistics.stdev(slopes) / math.sqrt(len(slopes))


def main() -> int:
    """Run, judge, write the row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", type=int, default=NETWORKS)
    parser.add_argument("--store", type=Path, default=Path("runs/r_learner_robustness.jsonl"), help="finished runs")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    wanted = [Run(steps, seed) for seed in range(FIRST, FIRST + args.networks) for steps in STEPS]
    rows = finish(wanted, execute, lambda run: run.key, args.store, args.processes)
    slopes = {learner: slope(rows, learner) for learner in LEARNERS}
    lines = []
    for steps in STEPS:
        chosen = [row for row in rows if row["steps"] == steps]
        line = {"steps": str(steps), "nuisance_rmse": statistics.fmean(row["nuisance"] for row in chosen)}
        lines.append(line | {name: statistics.fmean(row["errors"][name] for row in chosen) for name in LEARNERS})
    lines.append({"steps": "slope", **{name: value for name, (value, _) in slopes.items()}})
    lines.append({"steps": "standard error", **{name: error for name, (_, error) in slopes.items()}})

    def below(one: str, other: str) -> bool:
        (a, error), (b, other_error) = slopes[one], slopes[other]
        return b - a > 2 * math.hypot(error, other_error)

    claim = Claim(
        name="r_learner_robustness",
        statement=f"RMSE of effects against that of degraded nuisances, {args.networks} networks of {NODES:,}: slopes",
        command="python benchmarks/claims/r_learner_robustness.py",
        result=", ".join(f"{name} {slopes[name][0]:.2f} ± {slopes[name][1]:.2f}" for name in LEARNERS[:4]),
        rows=lines,
        passed=below("r-learner", "t-learner") and below("r-learner", "s-learner") and below(LEARNERS[0], LEARNERS[4]),
        control=f"effect degraded too: {slopes[LEARNERS[4]][0]:.2f} ± {slopes[LEARNERS[4]][1]:.2f}",
    )
    if args.networks == NETWORKS:
        write(claim)
    else:
        show(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
