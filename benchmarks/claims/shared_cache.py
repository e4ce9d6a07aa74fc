"""Claim: two ranks that share one cache read every row from storage once in an epoch.

Two processes (gloo) train on halves of the seeds: they sample neighbourhoods and read the rows from one file, through
`gnnkit.data.Sharded`. Each holds the rows that it owns, by their number in a random order, with room for exactly these.
All reads from the file are counted, row by row, and every row that comes back is compared with what was written.

Thresholds: in the first epoch every row that either rank wants is read once, by one of them; in the second only those
that nobody wanted before; the two ranks read within 5 % of equally many rows.

Controls, counted alike: each rank with a cache of its own, of the same size (the sum of both is the same memory) and of
twice the size. Both have to read rows more than once in the first epoch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gnnkit import Adjacency
from gnnkit.data import Cached, MemoryMapped, Sharded, write_features
from gnnkit.data._hops import sample_hops
from gnnkit.datasets.synthetic import power_law

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, show, write

RANKS, EPOCHS, WIDTH = 2, 2, 25  # float32 numbers a row
DEFAULTS = {"nodes": 100_000, "edges": 1_000_000, "batch": 256}
MODES = {"shared": "one cache of both ranks", "own": "a cache a rank", "own_twice": "a cache a rank, twice the memory"}
UNEVEN = 0.05


class Counting:
    """A table on disk that counts how often each row is read."""

    def __init__(self, path: Path) -> None:
        self.table = MemoryMapped(path)
        self.shape, self.dtype = self.table.shape, self.table.dtype
        self.count = torch.zeros(self.shape[0], dtype=torch.int64)

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See FeatureStore."""
        self.count.index_add_(0, ids.long(), torch.ones(len(ids), dtype=torch.int64))
        return self.table.read(ids, out)


def features(num_nodes: int) -> Tensor:
    """Rows that say whose they are."""
    return torch.arange(num_nodes, dtype=torch.float32)[:, None] + torch.arange(WIDTH) / 32


# ------------------------------------------------------------------ a rank


def rank_main(rank: int, folder: Path, batch: int) -> None:
    """Run both epochs in every mode; leave the counts in the folder."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=RANKS)
    edge_index = torch.load(folder / "edges.pt")
    num_nodes = MemoryMapped(folder / "rows").shape[0]
    adj, row_bytes = Adjacency.from_edge_index(edge_index, num_nodes), 4 * WIDTH
    batches = [sample(adj, rank, epoch, batch) for epoch in range(EPOCHS)]
    shard_bytes = -(-num_nodes // RANKS) * row_bytes
    found: dict[str, Any] = {}
    for mode in MODES:
        file = Counting(folder / "rows")
        store: Any
        if mode == "shared":
            store = Sharded(file, cache=lambda shard: Cached(shard, "lru", shard_bytes), seed=0)
        else:
            store = Cached(file, "lru", shard_bytes if mode == "own" else RANKS * shard_bytes)
        counts, wrong = [], 0
        for epoch in batches:
            file.count.zero_()
            for ids in epoch:
                wrong += int((store.read(ids) != ids[:, None] + torch.arange(WIDTH) / 32).sum())
            counts.append(file.count.clone())
        found[mode] = {"counts": counts, "wrong": wrong}
    wanted = [torch.zeros(num_nodes, dtype=torch.bool).index_fill_(0, torch.cat(epoch), True) for epoch in batches]
    torch.save({"modes": found, "wanted": wanted}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def sample(adj: Adjacency, rank: int, epoch: int, batch: int) -> list[Tensor]:
    """The batches of a rank in an epoch: a tenth of the nodes are seeds, of which it has every second one."""
    num_seeds = adj.num_dst // 10
    seeds = torch.randperm(adj.num_dst, generator=torch.Generator().manual_seed(0))[:num_seeds][rank::RANKS]
    order = torch.randperm(len(seeds), generator=torch.Generator().manual_seed(epoch))
    steps = -(-num_seeds // (RANKS * batch)) + 1  # as many for all ranks; who has no seeds left reads nothing
    chunks = [seeds[order][step * batch : (step + 1) * batch] for step in range(steps)]
    keys = [(epoch * steps + step) * RANKS + rank for step in range(steps)]
    return [
        sample_hops(adj.indptr, adj.indices, ids, (10, 5), key).nodes for ids, key in zip(chunks, keys, strict=True)
    ]


# ------------------------------------------------------------------ both


def measure(nodes: int, edges: int, batch: int) -> list[dict[str, Any]]:
    """Start the ranks, add up what they counted."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_features(folder / "rows", features(nodes))
        torch.save(power_law(nodes, edges), folder / "edges.pt")
        command = [sys.executable, __file__, "--batch", str(batch), "--folder", str(folder), "--rank"]
        ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(RANKS)]
        try:
            if sum(process.wait(600) != 0 for process in ranks):
                raise SystemExit("a rank failed: its own error stands above")
        finally:
            for process in ranks:
                process.kill()
        results = [torch.load(folder / f"rank{rank}.pt") for rank in range(RANKS)]
    return [row(mode, results, nodes) for mode in MODES]


def row(mode: str, results: list[dict[str, Any]], nodes: int) -> dict[str, Any]:
    """What was read in a mode, in each epoch."""
    mine = [result["modes"][mode] for result in results]
    per_epoch = [sum(rank["counts"][epoch] for rank in mine) for epoch in range(EPOCHS)]  # [N] a row
    wanted = results[0]["wanted"][0] | results[1]["wanted"][0]
    new = [results[0]["wanted"][epoch] | results[1]["wanted"][epoch] for epoch in range(1, EPOCHS)]
    shares = [int(rank["counts"][0].sum()) for rank in mine]
    return {
        "cache": MODES[mode],
        "held_rows": RANKS * (-(-nodes // RANKS)) * (1 + (mode == "own_twice")),
        "wanted_rows": int(wanted.sum()),
        "read_rows_epoch_1": int(per_epoch[0].sum()),
        "most_reads_of_a_row": int(per_epoch[0].max()),
        "wanted_but_not_read": int((wanted & (per_epoch[0] == 0)).sum()),
        "new_rows_epoch_2": int((new[0] & ~wanted).sum()),
        "read_rows_epoch_2": int(per_epoch[1].sum()),
        "read_by_rank": " + ".join(map(str, shares)),
        "uneven_percent": 100 * (max(shares) / (sum(shares) / RANKS) - 1),
        "wrong_numbers": sum(rank["wrong"] for rank in mine),
    }


def once(row: dict[str, Any]) -> bool:
    """Whether every wanted row was read once: in the first epoch, or in the second if only that one wants it."""
    first = row["read_rows_epoch_1"] == row["wanted_rows"] and row["most_reads_of_a_row"] == 1
    return first and row["wanted_but_not_read"] == 0 and row["read_rows_epoch_2"] == row["new_rows_epoch_2"]


def main(arguments: list[str] | None = None) -> int:
    """Measure, judge, write the rows; with --rank, be one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = vars(parser.parse_args(arguments))
    rank, folder = options.pop("rank"), options.pop("folder")
    if rank is not None:
        rank_main(rank, folder, options["batch"])
        return 0
    rows = measure(**options)
    shared, *others = rows
    seen = sum(each["most_reads_of_a_row"] > 1 for each in others)
    claim = Claim(
        name="shared_cache",
        statement=(
            f"Two processes read sampled neighbourhoods through one cache, {EPOCHS} epochs over a power-law graph of "
            f"{options['nodes']:,} nodes; rows read from the file, counted row by row"
        ),
        command="python benchmarks/claims/shared_cache.py",
        result=(
            f"{shared['wanted_rows']:,} rows wanted, {shared['read_rows_epoch_1']:,} read, at most "
            f"{shared['most_reads_of_a_row']} time each; with a cache a rank "
            + " and ".join(f"{each['read_rows_epoch_1']:,}" for each in others)
            + f" (with twice the memory); in the second epoch {shared['read_rows_epoch_2']:,}, the rows that it is the "
            "first to want"
        ),
        rows=rows,
        passed=once(shared)
        and not any(each["wrong_numbers"] for each in rows)
        and shared["uneven_percent"] <= 100 * UNEVEN
        and seen == len(others),
        control=f"{seen} of {len(others)} private caches read rows more than once",
    )
    (write if options == DEFAULTS else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
