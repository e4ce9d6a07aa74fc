"""Claim: the 95 % interval of the average effect covers the truth 19 times in 20, and is not much longer than needed.

400 simulated networks of 2,000 nodes, effects that vary through the graph, the default learner; the truth is the mean
of the simulated effects. The oracle knows outcomes, effects and propensities: its interval is as long as the noise of
the outcome makes it. Wilson's 95 % interval of the share that is covered has to contain 95 %, the mean length may be
1.3 times the oracle's.

The control: the difference of the arms' mean outcomes, with its usual interval, ignores who was treated and has to
fail.
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
from scipy.stats import binomtest

import gnnkit.adjacency
import gnnkit.causal
import gnnkit.kernels
from gnnkit.causal import CausalData, GraphRLearner, simulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, show, write
from _stored import finish, source_of

SOURCE = source_of(gnnkit.causal, gnnkit.kernels, gnnkit.adjacency)
SIMULATIONS, NODES, FIRST, NOISE, LONGEST, LEVEL = 400, 2000, 13000, 0.5, 1.3, 0.95


@dataclass(frozen=True)
class Run:
    """One network."""

    graph: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the store."""
        return json.dumps([*asdict(self).values(), NODES, SOURCE])


def execute(run: Run) -> dict[str, Any]:
    """The interval of one network, the oracle's length, and the naive interval."""
    torch.set_num_threads(1)
    data = simulate(run.graph, run.seed, num_nodes=NODES, noise=NOISE)
    interval = GraphRLearner(random_state=run.seed).fit(data).average_effect(LEVEL)
    arms = [data.outcome[data.treatment == arm].double() for arm in (0, 1)]
    naive = float(arms[1].mean() - arms[0].mean())
    reach = 1.96 * math.sqrt(sum(float(arm.var()) / len(arm) for arm in arms))
    truth = data.average_effect
    return {
        **asdict(run),
        "error": interval.estimate - truth,
        "covered": interval.low < truth < interval.high,
        "length": interval.high - interval.low,
        "oracle_length": oracle_length(data),
        "naive_covered": abs(naive - truth) < reach,
    }


def oracle_length(data: CausalData) -> float:
    """Of the interval of one who knows all but the noise: 2 z sd((T - e) / (e (1 - e)) noise) / sqrt(N)."""
    assert data.propensity is not None
    e = data.propensity.double()
    variance = (NOISE**2 / (e * (1 - e))).mean()  # the mean of the squared weights is 1 / (e (1 - e))
    return 2 * 1.96 * math.sqrt(float(variance) / data.num_nodes)


def wilson(rows: list[dict[str, Any]], name: str) -> tuple[float, float, float]:
    """The share of rows, and the ends of its interval."""
    hits = sum(bool(row[name]) for row in rows)
    ends = binomtest(hits, len(rows)).proportion_ci(method="wilson")
    return hits / len(rows), float(ends.low), float(ends.high)


def main() -> int:
    """Run, judge, write the row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--store", type=Path, default=Path("runs/r_learner_coverage.jsonl"), help="finished networks")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    wanted = [Run("ba", seed) for seed in range(FIRST, FIRST + args.simulations)]
    rows = finish(wanted, execute, lambda run: run.key, args.store, args.processes)
    share, low, high = wilson(rows, "covered")
    naive, _, naive_high = wilson(rows, "naive_covered")
    longer = statistics.fmean(row["length"] for row in rows) / statistics.fmean(row["oracle_length"] for row in rows)
    errors = [row["error"] for row in rows]
    claim = Claim(
        name="r_learner_coverage",
        statement=f"Average effect by GraphRLearner(), {args.simulations} networks of {NODES:,} nodes: 95 % intervals",
        command="python benchmarks/claims/r_learner_coverage.py",
        result=(
            f"{100 * share:.1f} % covered (Wilson {100 * low:.1f} to {100 * high:.1f}), {longer:.2f}× the oracle's "
            f"length, bias {statistics.fmean(errors):+.4f}"
        ),
        rows=[
            {
                "simulations": len(rows),
                "covered": share,
                "wilson_low": low,
                "wilson_high": high,
                "length_over_oracle": longer,
                "bias": statistics.fmean(errors),
                "rmse": math.sqrt(statistics.fmean(error**2 for error in errors)),
            }
        ],
        passed=low <= LEVEL <= high and longer <= LONGEST and naive_high < LEVEL,
        control=f"difference of means: {100 * naive:.1f} % covered",
    )
    if args.simulations == SIMULATIONS:
        write(claim)
    else:
        show(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
