"""Print the table of docs/pipeline.md of what `gnnkit plan` predicts: python benchmarks/plan_table.py

Nothing is measured: seconds on any machine.
"""

from __future__ import annotations

from gnnkit.pipeline import HARDWARE, Job, search
from gnnkit.pipeline._search_text import gigabytes
from gnnkit.pipeline._verdict import split_sizes

# nodes, edges with both directions counted, features, classes
GRAPHS = {
    "ogbn-products": (2_449_029, 123_718_280, 100, 47),
    "ogbn-papers100M": (111_059_956, 3_231_371_744, 128, 172),
}
HEADER = """\
| graph | N | E | F | C | layers | GPUs | best split | s an epoch | graph mode | GB sent | GB a GPU | crossover |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
WIDTH = 256


def row(name: str, layers: int, gpus: int) -> list[str]:
    """Predict one line."""
    nodes, edges, features, classes = GRAPHS[name]
    found = search(Job(layers, WIDTH, nodes, edges, features, classes, "gcn"), gpus, HARDWARE["a100"])
    best, alone = found.best, next(split for split in found.splits if split.stages == 1)
    sizes = split_sizes(best).replace(" x ", " × ") + (" (R)" if best.recompute else "")
    return [
        name,
        *(f"{size:,}" for size in (nodes, edges, features, classes)),
        str(layers),
        str(gpus),
        sizes if best.fits else f"none fits; smallest: {sizes}",
        f"{best.epoch_seconds:.3g}",
        f"{alone.epoch_seconds:.3g}" + ("" if alone.fits else " (does not fit)"),
        gigabytes(best.sent_bytes),
        gigabytes(best.memory.total),
        "none" if found.crossover_layers is None else str(found.crossover_layers),
    ]


def main() -> None:
    """Print it as Markdown."""
    rows = [row(name, layers, gpus) for name in GRAPHS for layers in (8, 64) for gpus in (8, 64, 256, 1024)]
    print(HEADER)
    for line in rows:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
