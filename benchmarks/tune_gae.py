"""Search settings of the graph auto-encoder on validation edges, as those of NCN were searched for, and print the best.

python benchmarks/tune_gae.py [--datasets cora citeseer pubmed] [--draws N]

Settings are drawn at random; the first are NCN's own. Each is trained on two splits that no claim reads (seeds 1000 and
1001), and the one with the best mean validation Hits@100, of equal ones the first drawn, is the recipe in
gnnkit/bench/_link_recipes.py. Test edges are not looked at. Finished trainings are stored: the same command goes on
after an interruption.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _link_runs import SOURCE, fit_unseen, settings
from _rows import RESULTS
from _stored import finish

from gnnkit.bench import BenchConfig, recipe
from gnnkit.bench._links import build_link, link_task
from gnnkit.datasets import load
from gnnkit.train import override, seed_everything

SPLITS = (1000, 1001)
SPACE: dict[str, tuple[Any, ...]] = {
    "link.encoder": ("puregcn", "gcn"),
    "link.num_layers": (1, 2, 3),
    "link.jumping_knowledge": ("true", "false"),
    "link.input_dropout": (0.0, 0.3, 0.5, 0.7),
    "link.dropout": (0.0, 0.1, 0.3, 0.5),
    "link.predictor_dropout": (0.0, 0.1, 0.3, 0.5),
    "train.lr": (1e-3, 3e-3, 1e-2),
    "train.predictor_lr": (1e-3, 3e-3, 1e-2),
    "train.batch_size": (512, 1024, 2048),
}
DRAWS = {"cora": 24, "citeseer": 24, "pubmed": 12}  # two trainings each, on pubmed of five minutes
FIXED = {"pubmed": {"train.batch_size": (2048,)}}  # a step runs the encoder on the whole graph: 60 an epoch by 512


@dataclass(frozen=True)
class Run:
    """Settings on a split."""

    dataset: str
    settings: tuple[str, ...]
    seed: int

    @property
    def key(self) -> str:
        """Its name in the store."""
        return json.dumps([*asdict(self).values(), settings(self.config), SOURCE])

    @property
    def config(self) -> BenchConfig:
        """NCN's settings, but for those drawn."""
        return override(recipe(f"{self.dataset}:link", "ncn"), *self.settings)


def draws(dataset: str, count: int) -> list[tuple[str, ...]]:
    """NCN's settings, and others drawn at random."""
    draw = random.Random(f"gae {dataset}")
    space = SPACE | FIXED.get(dataset, {})
    drawn = [tuple(f"{name}={draw.choice(values)}" for name, values in space.items()) for _ in range(count - 1)]
    return [(), *dict.fromkeys(drawn)]


def ranked(rows: list[dict[str, Any]], dataset: str) -> list[tuple[float, tuple[str, ...]]]:
    """The mean of each draw, best first; of equal ones the first drawn stays before the others."""
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if row["dataset"] == dataset:
            found.setdefault(tuple(row["settings"]), []).append(row["valid"])
    means = [(statistics.fmean(values), drawn) for drawn, values in found.items()]
    return sorted(means, key=lambda mean: -mean[0])


def execute(run: Run) -> dict[str, Any]:
    """The best validation Hits@100 of a training on one thread."""
    torch.set_num_threads(1)
    data = load(f"{run.dataset}:link")
    config = run.config
    seed_everything(run.seed)
    model = build_link("gae", data, config.link)
    task = link_task(data, data.card.split(data, run.seed), config.link, config.train.batch_size, torch.device("cpu"))
    return {**asdict(run), "valid": 100 * fit_unseen(model, task, config)[0]["valid"]}


def main() -> int:
    """Search and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--datasets", nargs="+", default=list(DRAWS), choices=list(DRAWS))
    parser.add_argument("--draws", type=int, help=f"settings a dataset; without, {DRAWS}")
    parser.add_argument("--store", type=Path, default=RESULTS / "tune_gae.jsonl", help="finished trainings")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.draws is not None and args.draws < 1:
        parser.error(f"--draws: expected 1 or more (got {args.draws})")
    wanted = [
        Run(dataset, settings, seed)
        for dataset in args.datasets
        for settings in draws(dataset, args.draws or DRAWS[dataset])
        for seed in SPLITS
    ]
    rows = finish(wanted, execute, lambda run: run.key, args.store, args.processes)
    for dataset in args.datasets:
        print(f"\n{dataset}: mean validation Hits@100 of {len(SPLITS)} splits")
        for mean, drawn in ranked(rows, dataset):
            print(f"{mean:6.2f}  {' '.join(drawn) or 'as NCN'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
