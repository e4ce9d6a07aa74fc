"""Show how Hits@20 of ogbl-ddi hangs on where its threshold falls, from checkpoints: the table of docs/links.md.

gnnkit bench ogbl-ddi --model ncn --seeds 1 --set train.checkpoint_every=1   # leaves seed-0.ckpt while it runs
python benchmarks/ddi_thresholds.py runs/ogbl-ddi-ncn-*/seed-0.ckpt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from gnnkit.bench import recipe
from gnnkit.bench._links import build_link, link_task
from gnnkit.datasets import load
from gnnkit.train._checkpoint import load_checkpoint

THRESHOLD = 20  # the metric's
RANKS = (5, 10, 15, 20, 25, 50)
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


def main(arguments: list[str] | None = None) -> int:
    """Print a line for validation and test of each checkpoint."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--dataset", default="ogbl-ddi")
    parser.add_argument("--root", help="where raw data lie; default as for gnnkit")
    args = parser.parse_args(arguments)
    config, data = recipe(args.dataset, "ncn", args.root), load(args.dataset, root=args.root)
    model: Any = build_link("ncn", data, config.link)
    task = link_task(data, data.card.split(data, 0), config.link, config.train.batch_size, torch.device("cpu"))
    hits = " | ".join(f"Hits@{rank}" for rank in RANKS)
    print(f"| epoch | part | {hits} | the {THRESHOLD}th negative's score | the links' 10, 25, 50, 75, 90 % |")
    print("|---|---|" + "---:|" * len(RANKS) + "---:|---|")
    for path in args.checkpoints:
        state = load_checkpoint(path)
        model.load_state_dict(state["model"])
        for part in ("valid", "test"):
            print(f"| {len(state['history'])} | {part} | " + " | ".join(line(model, task, part)) + " |", flush=True)
    return 0


@torch.no_grad()
def line(model: Any, task: Any, part: str) -> list[str]:
    """The cells of one part: a link is hit where it scores above the K-th best negative."""
    model.eval()
    adj = task.graph.adj
    h = model.encode(task.x, adj)

    def score(pairs: torch.Tensor) -> torch.Tensor:
        return torch.cat([model.score(h, adj, block) for block in torch.split(pairs, task.eval_batch_size, dim=1)])

    links, best = score(getattr(task.split, part)), score(getattr(task.split, f"{part}_neg")).topk(max(RANKS)).values
    found = [f"{100 * float((links > best[rank - 1]).double().mean()):.1f}" for rank in RANKS]
    spread = ", ".join(f"{float(links.quantile(share)):.2f}" for share in SHARES)
    return [*found, f"{float(best[THRESHOLD - 1]):.2f}", spread]


if __name__ == "__main__":
    sys.exit(main())
