"""Claim: the benchmark reaches the published figures of the other datasets, mean over 10 seeds within two points.

The control is the same protocol without edges: an MLP has to miss the graph model's target on minesweeper.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _figures import reaches, row, stored, trained
from _rows import Claim, show, write

# dataset, model, target in percent, who says so
TARGETS = (
    ("computers", "gcn", 82.6, "Shchur et al. 2018"),
    ("photo", "gcn", 91.2, "Shchur et al. 2018"),
    ("minesweeper", "sage", 93.51, "Platonov et al. 2023"),
    ("squirrel-filtered", "gcn", 39.47, "Platonov et al. 2023"),
    ("proteins", "gin", 73.3, "Errica et al. 2020"),
    # GIN's own figure, 89.4 (Xu et al. 2019), takes the epoch that is best on average over the test folds; this one,
    # of another model, chooses none on them
    ("mutag", "gin", 85.83, "DGCNN, Zhang et al. 2018"),
)
CONTROL, CONTROL_SEEDS = ("minesweeper", 93.51), 3
WITHIN = 2.0  # points


def main() -> int:
    """Run the benchmarks, judge them, write the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="fewer make a quick run, which is not written")
    parser.add_argument("--out", type=Path, help="keep the runs here, and continue them")
    parser.add_argument("--stored", type=Path, help="judge the runs stored here by `gnnkit bench`, train nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        get = stored(args.stored) if args.stored else trained(args.out or Path(scratch))
        rows = [
            row(get(dataset, model, args.seeds), target, source, WITHIN) for dataset, model, target, source in TARGETS
        ]
        control = get(CONTROL[0], "mlp", CONTROL_SEEDS)
    missed = not reaches(control, CONTROL[1], WITHIN)
    claim = Claim(
        name="datasets",
        statement="Test metric at best validation, mean ± std over seeds 0 … 9 (fixed splits or folds where the "
        "protocol has ten), against the published figure",
        command="python benchmarks/claims/datasets.py",
        result="; ".join(f"{r['dataset']} {r['model']} {r['test_percent']} (target {r['target']})" for r in rows),
        rows=rows,
        passed=all(each["within"] == "yes" for each in rows) and missed,
        commit=", ".join(sorted({each["commit"] for each in rows})),
        control=f"an MLP misses the target of minesweeper ({100 * control.test_mean:.2f}): {'yes' if missed else 'NO'}",
    )
    (write if all(each["seeds"] == 10 for each in rows) else show)(claim)
    return 0 if claim.passed else 1


if __name__ == "__main__":
    sys.exit(main())
