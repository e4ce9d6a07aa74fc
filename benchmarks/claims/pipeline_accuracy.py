"""Claim: training in chunks on historical rows reaches the accuracy of full-graph training, 32 layers deep.

GCNII and ResGCN+ on cora, squirrel-filtered and physics, each seed trained full-graph (one chunk), with 4 and with 16
chunks of METIS, test accuracy at best validation. The two controls read zeros, or the rows of before the first step, of
chunks still to come; their chunks are drawn at random, and so are those they are compared with: few edges leave METIS's
chunks, and what lies behind them matters little. Every finished run is stored beside the results, so that the same
command goes on after an interruption; runs of other sources of the pipeline or the kernels are not counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor, nn

import gnnkit
from gnnkit.datasets import load
from gnnkit.pipeline import PipelineTrainer, adapters, plan

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import RESULTS, Claim, show, write
from _stored import finish

LAYERS, WIDTH, LOWEST, EVERY, CONTROL_SEEDS = 32, 64, -1.5, 5, 5
GCNII_ON_CORA = 84.0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained on a graph, in every variant alike."""

    lr: float = 0.01
    dropout: float = 0.5
    hop_decay: float = 5e-4
    end_decay: float = 5e-4
    max_epochs: int = 600
    patience: int = 100
    seeds: int = 10
    alpha: float = 0.1
    theta: float = 0.5
    scaled: bool = False


# GCNII: the authors' settings for cora, for squirrel those of their heterophilous graphs with a smaller step and no
# decay, with which 32 layers leave the largest class. ResGCN+ is from the paper of the layer, which has none of these
# graphs. Squirrel has 445 test nodes, one seed's difference is off by 2.5 points and only many show one: its ten splits
# three times. Two seeds of physics would leave Student's t 9 deviations, three leave 2.5. Three of ResGCN+ were not
# enough: the differences were -0.2 and +0.9 points, with intervals of 2.7 and 7 points; so it has ten.
# Two of the controls left intervals of 18 and 7 points over all, reaching 0; so they have five. Both were decided after
# these figures were seen.
SQUIRREL: dict[str, Any] = {"max_epochs": 150, "patience": 50, "seeds": 30}
RECIPES: dict[tuple[str, str], Recipe] = {
    ("cora", "gcnii"): Recipe(dropout=0.6, hop_decay=0.01, scaled=True),
    ("physics", "gcnii"): Recipe(max_epochs=40, patience=20, seeds=3),
    ("squirrel-filtered", "gcnii"): Recipe(lr=3e-3, hop_decay=0.0, end_decay=0.0, alpha=0.5, theta=1.5, **SQUIRREL),
    ("cora", "resgcn"): Recipe(lr=5e-3, scaled=True),
    ("physics", "resgcn"): Recipe(lr=5e-3, max_epochs=40, patience=20),
    ("squirrel-filtered", "resgcn"): Recipe(lr=5e-3, scaled=True, **SQUIRREL),
}
# chunks, epochs between refreshes, whether an exact pass fills the historical rows before the first step
VARIANTS: dict[str, tuple[int, int | None, bool]] = {
    "full graph": (1, 1, True),
    "4 chunks": (4, 1, True),
    "16 chunks": (16, 1, True),
    "random chunks": (16, 1, True),
    "random chunks, history zero": (16, None, False),
    "random chunks, never refreshed": (16, None, True),
}
CHUNKED, RANDOM = ("4 chunks", "16 chunks"), "random chunks"
CONTROLS = (f"{RANDOM}, history zero", f"{RANDOM}, never refreshed")


class Words(nn.Module):
    """dropout(features[ids]) W + b, of features that are mostly zeros: exactly nn.Linear, at the cost of the others.

    Args:
        linear: The map, whose numbers it starts with.
        features: ``[N, F]``.
        dropout: Of the features; a zero that is dropped stays zero.
    """

    def __init__(self, linear: nn.Linear, features: Tensor, dropout: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous())  # [F, D]
        self.bias = nn.Parameter(linear.bias.detach().clone())
        rows = features.to_sparse_csr()
        self.register_buffer("indptr", rows.crow_indices())
        self.register_buffer("indices", rows.col_indices())
        self.register_buffer("values", rows.values())
        self.dropout = dropout

    def forward(self, ids: Tensor) -> Tensor:
        """``[n, 1]`` ids of nodes, as floats ``-> [n, D]``."""
        nodes = ids[:, 0].long().clamp(0, len(self.indptr) - 2)  # what tries a network hands over any numbers
        low, count = self.indptr[nodes], self.indptr.diff()[nodes]
        starts = count.cumsum(0) - count
        place = torch.arange(int(count.sum())) + (low - starts).repeat_interleave(count)
        values = nn.functional.dropout(self.values[place], self.dropout, self.training)
        words = self.indices[place]
        return self.bias + nn.functional.embedding_bag(
            words, self.weight, starts, mode="sum", per_sample_weights=values
        )


@dataclass(frozen=True)
class Run:
    """One training."""

    graph: str
    model: str
    variant: str
    seed: int

    @property
    def key(self) -> str:
        """Name the run by all that makes its number, the source included."""
        recipe = replace(RECIPES[self.graph, self.model], seeds=0)  # how many there are changes none of them
        settings = [asdict(self), asdict(recipe), VARIANTS[self.variant], SOURCE]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def execute(run: Run) -> dict[str, Any]:
    """Train, and return the run's row."""
    torch.set_num_threads(1)
    recipe, (chunks, refresh, prime) = RECIPES[run.graph, run.model], VARIANTS[run.variant]
    data = load(run.graph)
    split = data.card.split(data, run.seed)
    x = data.x / data.x.sum(1, keepdim=True).clamp(min=1) if recipe.scaled else data.x
    torch.manual_seed(run.seed)
    options = {"alpha": recipe.alpha, "theta": recipe.theta} if run.model == "gcnii" else {}
    network = adapters.MODELS[run.model](
        x.shape[1], WIDTH, data.card.out_channels, LAYERS, dropout=recipe.dropout, **options
    )
    if run.model == "gcnii":
        network.first = nn.Sequential(Words(network.first[1], x, recipe.dropout), nn.ReLU())
    else:
        network.first = Words(network.first, x, 0.0)
    hops = {id(parameter) for parameter in network.layers.parameters()}

    def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        groups = [
            {"params": [p for p in parameters if id(p) in hops], "weight_decay": recipe.hop_decay},
            {"params": [p for p in parameters if id(p) not in hops], "weight_decay": recipe.end_decay},
        ]
        return torch.optim.Adam(groups, lr=recipe.lr)

    cells = torch.randperm(len(x), generator=torch.Generator().manual_seed(run.seed)) % chunks  # [N]
    partitioner = cells if run.variant.startswith(RANDOM) else "auto"
    cut = plan(gnnkit.Adjacency.from_pyg(data), LAYERS, chunks=chunks, seed=run.seed, partitioner=partitioner)
    trainer = PipelineTrainer(
        network,
        cut,
        data.edge_index,
        torch.arange(len(x), dtype=x.dtype)[:, None],  # what `Words` takes
        data.y,
        split.train,
        optimizer=adam,
        refresh=refresh,
        prime=prime,
        seed=run.seed,
    )
    best, test, when = (-math.inf, -math.inf), math.nan, 0
    while trainer.epoch < recipe.max_epochs and trainer.epoch - when < recipe.patience:
        for _ in range(EVERY):
            trainer.train_epoch()
        outputs = trainer.infer()
        assert outputs is not None
        valid = accuracy(outputs, data.y, split.valid)
        loss = float(nn.functional.cross_entropy(outputs[split.valid], data.y[split.valid]))
        if (valid, -loss) > best:
            best, test, when = (valid, -loss), accuracy(outputs, data.y, split.test), trainer.epoch
    return {**asdict(run), "test": test, "valid": best[0], "best_epoch": when, "epochs": trainer.epoch}


def accuracy(outputs: Tensor, y: Tensor, ids: Tensor) -> float:
    """Share of nodes, in percent."""
    return 100 * float((outputs[ids].argmax(1) == y[ids]).double().mean())


def runs(graphs: list[str], models: list[str]) -> Iterator[Run]:
    """List the trainings, all variants of a seed one after the other."""
    for (graph, model), recipe in RECIPES.items():
        if graph in graphs and model in models:
            for seed in range(recipe.seeds):
                variants = [variant for variant in VARIANTS if seed < seeds_of(graph, model, variant)]
                yield from (Run(graph, model, variant, seed) for variant in variants)


def seeds_of(graph: str, model: str, variant: str) -> int:
    """How many seeds a variant is trained with."""
    seeds = RECIPES[graph, model].seeds
    return min(seeds, CONTROL_SEEDS) if variant.startswith(RANDOM) else seeds


def interval(differences: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval, Student's t."""
    mean, count = statistics.fmean(differences), len(differences)
    spread = statistics.stdev(differences) / math.sqrt(count)
    return mean, float(student.ppf(0.975, count - 1)) * spread


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each graph, model and variant, against the same seeds' full-graph training."""
    tests = {(r["graph"], r["model"], r["variant"], r["seed"]): r["test"] for r in rows}
    lines = []
    for graph, model in dict.fromkeys((r["graph"], r["model"]) for r in rows):
        for variant in VARIANTS:
            seeds = range(seeds_of(graph, model, variant))
            full = [tests[graph, model, "full graph", seed] for seed in seeds]
            mine = [tests[graph, model, variant, seed] for seed in seeds]
            mean, half = interval([a - b for a, b in zip(mine, full, strict=True)])
            held = mean - half > LOWEST if variant in CHUNKED else None
            lines.append(
                {
                    "graph": graph,
                    "model": model,
                    "variant": variant,
                    "seeds": len(mine),
                    "test_percent": f"{statistics.fmean(mine):.2f} ± {statistics.stdev(mine):.2f}",
                    "difference_points": round(mean, 2),
                    "interval_points": f"{mean - half:+.2f} to {mean + half:+.2f}",
                    "holds": {True: "yes", False: "NO", None: ""}[held],
                }
            )
    return lines


def of_controls(rows: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Mean difference and half its interval of each control to refreshed chunks, over all graphs, models, seeds."""
    tests = {(r["graph"], r["model"], r["seed"], r["variant"]): r["test"] for r in rows}
    found = {}
    for control in CONTROLS:
        pairs = [(test, tests[*case, RANDOM]) for (*case, variant), test in tests.items() if variant == control]
        found[control] = interval([a - b for a, b in pairs])
    return found


def _digest_of_loaded() -> str:
    """Return a digest of the code that makes the numbers: what of the pipeline and the kernels is loaded for it."""
    total = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        if name.startswith(("gnnkit.pipeline.", "gnnkit.kernels.")) and module.__file__ is not None:
            total.update(name.encode() + Path(module.__file__).read_bytes())
    return total.hexdigest()


SOURCE = _digest_of_loaded()  # at once, for more is loaded later


def main() -> int:
    """Train, judge, write the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", nargs="+", default=sorted({graph for graph, _ in RECIPES}))
    parser.add_argument("--models", nargs="+", default=sorted({model for _, model in RECIPES}))
    parser.add_argument("--store", type=Path, default=RESULTS / "pipeline_accuracy.jsonl", help="finished runs")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    wanted = list(runs(args.graphs, args.models))
    rows = finish(wanted, execute, lambda run: run.key, args.store, args.processes)
    lines = judge(rows)
    controls = of_controls(rows)
    cora = [
        row["test"] for row in rows if (row["graph"], row["model"], row["variant"]) == ("cora", "gcnii", "full graph")
    ]
    complete = {(row["graph"], row["model"]) for row in rows} == set(RECIPES)
    claim = Claim(
        name="pipeline_accuracy",
        statement=f"Test accuracy of {LAYERS}-layer GCNII and ResGCN+ trained in 4 and 16 chunks on historical rows, "
        f"less that of full-graph training of the same seeds; the 95 % interval has to lie above {LOWEST} points, and "
        f"GCNII's full-graph accuracy on cora's public split reach {GCNII_ON_CORA}",
        command="python benchmarks/claims/pipeline_accuracy.py",
        result="; ".join(
            f"{e['graph']} {e['model']} {e['variant']}: {e['interval_points']}" for e in lines if e["holds"]
        )
        + (f"; GCNII on cora {statistics.fmean(cora):.1f}" if cora else ""),
        rows=lines,
        passed=all(each["holds"] != "NO" for each in lines)
        and all(mean + half < 0 for mean, half in controls.values())
        and (not cora or statistics.fmean(cora) >= GCNII_ON_CORA),
        control="over all graphs and models, less refreshed random chunks of the same seeds: "
        + "; ".join(f"{name} {mean - half:+.2f} to {mean + half:+.2f}" for name, (mean, half) in controls.items())
        + " points, which has to lie below 0",
    )
    (write if complete else show)(claim)
    return 0 if claim.passed else 1


if __name__ == "__main__":
    sys.exit(main())
