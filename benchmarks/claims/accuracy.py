"""Claim: the benchmark reaches the published accuracies, mean over 10 seeds within one point.

The control is the same protocol without edges: an MLP has to miss the graph models' targets.
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
    ("digits", "gcn", 97.0, "gnnkit's own graph"),
    ("digits", "mlp", 91.0, "gnnkit's own graph"),
    ("cora", "gcn", 81.5, "Kipf and Welling 2017"),
    ("citeseer", "gcn", 70.3, "Kipf and Welling 2017"),
    ("pubmed", "gcn", 79.0, "Kipf and Welling 2017"),
    ("cora", "gat", 83.0, "Velickovic et al. 2018"),
)
CONTROLS = (("digits", 97.0), ("cora", 81.5))
WITHIN = 1.0  # points


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
        missed = {dataset: get(dataset, "mlp", args.seeds) for dataset, _ in CONTROLS}
    controls = [not reaches(missed[dataset], target, WITHIN) for dataset, target in CONTROLS]
    figures = ", ".join(f"{dataset} {100 * summary.test_mean:.2f}" for dataset, summary in missed.items())
    claim = Claim(
        name="accuracy",
        statement="Test accuracy at best validation, mean ± std over seeds 0 … 9, against the published figure",
        command="python benchmarks/claims/accuracy.py",
        result="; ".join(f"{r['dataset']} {r['model']} {r['test_percent']} (target {r['target']})" for r in rows),
        rows=rows,
        passed=all(each["within"] == "yes" for each in rows) and all(controls),
        commit=", ".join(sorted({each["commit"] for each in rows})),
        control=f"an MLP misses every graph model's target ({figures}): {'yes' if all(controls) else 'NO'}",
    )
    (write if all(each["seeds"] == 10 for each in rows) else show)(claim)
    return 0 if claim.passed else 1


if __name__ == "__main__":
    sys.exit(main())
