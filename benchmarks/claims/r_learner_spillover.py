"""Claim: where neighbours' treatments act too, direct and indirect effects are told apart without bias.

100 simulated networks of 2,000 nodes a kind of exposure: the share of neighbours that are treated, whether any is, how
many are; one unit of exposure adds 1.5 to the outcome. The default learner with ``exposure``: bias and RMSE of the
average direct effect and of the indirect one, and how often their 95 % intervals cover them. Bias may be three standard
errors, and at least 90 % have to be covered.

The control: exposure along the edges of other nodes, drawn at random, has to find no effect of neighbours: its mean
is less than three standard errors from 0, and more from the truth.
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
from gnnkit.causal import GraphRLearner, simulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, show, write
from _stored import finish, source_of

SOURCE = source_of(gnnkit.causal, gnnkit.kernels, gnnkit.adjacency)
SIMULATIONS, NODES, FIRST, SPILLOVER = 100, 2000, 15000, 1.5
EXPOSURES, ERRORS, COVERED = ("share", "any", "count"), 3.0, 0.9


@dataclass(frozen=True)
class Run:
    """One network."""

    exposure: str
    seed: int
    rewired: bool = False

    @property
    def key(self) -> str:
        """Its name in the store."""
        return json.dumps([*asdict(self).values(), NODES, SOURCE])


def execute(run: Run) -> dict[str, Any]:
    """Errors of both effects, and whether they are covered."""
    torch.set_num_threads(1)
    data = simulate("er", run.seed, num_nodes=NODES, spillover=SPILLOVER, exposure=run.exposure)
    edge_index = data.edge_index
    if run.rewired:
        order = torch.randperm(NODES, generator=torch.Generator().manual_seed(run.seed))
        edge_index = order[edge_index]
    learner = GraphRLearner(exposure=run.exposure, random_state=run.seed)
    learner.fit(data.x, data.treatment, data.outcome, edge_index)
    direct, indirect = learner.average_effect(), learner.spillover_effect()
    return {
        **asdict(run),
        "direct": direct.estimate - data.average_effect,
        "direct_covered": direct.low < data.average_effect < direct.high,
        "indirect": indirect.estimate - SPILLOVER,
        "indirect_covered": indirect.low < SPILLOVER < indirect.high,
    }


def summary(rows: list[dict[str, Any]], exposure: str) -> list[dict[str, Any]]:
    """A line for each of the two effects."""
    lines = []
    for effect in ("direct", "indirect"):
        errors = [row[effect] for row in rows if row["exposure"] == exposure]
        covered = [row[f"{effect}_covered"] for row in rows if row["exposure"] == exposure]
        lines.append(
            {
                "exposure": exposure,
                "effect": effect,
                "networks": len(errors),
                "bias": statistics.fmean(errors),
                "standard_errors": abs(statistics.fmean(errors)) / statistics.stdev(errors) * math.sqrt(len(errors)),
                "rmse": math.sqrt(statistics.fmean(error**2 for error in errors)),
                "covered": statistics.fmean(covered),
            }
        )
    return lines


def main() -> int:
    """Run, judge, write the row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--store", type=Path, default=Path("runs/r_learner_spillover.jsonl"), help="finished networks")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    seeds = range(FIRST, FIRST + args.simulations)
    wanted = [Run(exposure, seed) for exposure in EXPOSURES for seed in seeds]
    wanted += [Run("share", seed, rewired=True) for seed in seeds[: max(args.simulations // 5, 2)]]
    rows = finish(wanted, execute, lambda run: run.key, args.store, args.processes)
    real = [row for row in rows if not row["rewired"]]
    lines = [line for exposure in EXPOSURES for line in summary(real, exposure)]
    broken = summary([row for row in rows if row["rewired"]], "share")[1]
    nothing = broken["standard_errors"] * abs(SPILLOVER + broken["bias"]) / abs(broken["bias"])
    claim = Claim(
        name="r_learner_spillover",
        statement=f"Direct and indirect effects, {args.simulations} networks of {NODES:,} nodes for each exposure",
        command="python benchmarks/claims/r_learner_spillover.py",
        result="; ".join(
            f"{line['exposure']}, {line['effect']}: bias {line['bias']:+.3f}, RMSE {line['rmse']:.3f}, "
            f"{100 * line['covered']:.0f} % covered"
            for line in lines
        ),
        rows=lines,
        passed=all(line["standard_errors"] <= ERRORS and line["covered"] >= COVERED for line in lines)
        and broken["standard_errors"] > ERRORS > nothing,
        control=f"edges of other nodes: indirect effect {SPILLOVER + broken['bias']:+.2f} in place of {SPILLOVER}",
    )
    if args.simulations == SIMULATIONS:
        write(claim)
    else:
        show(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
